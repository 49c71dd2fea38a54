"""Which versions are installed, and whether geoseg's requirements are met; no library is loaded for it."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata

from geoseg import __version__
from geoseg.doctor.findings import Finding
from geoseg.progress import Progress

SECTION = "versions"


def find_versions(_: Progress) -> Iterator[Finding]:
    """Versions of geoseg, Python and every package that geoseg asks for, extras for users included."""
    yield Finding(SECTION, "geoseg", __version__)
    yield Finding(SECTION, "python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    try:
        texts = metadata.requires("geoseg") or []
    except metadata.PackageNotFoundError:
        texts = []
    if not texts:
        yield Finding(SECTION, "requirements", "unknown: geoseg runs uninstalled", "note", "pip install geoseg")
    yield from _judge(texts)


def _judge(texts: list[str]) -> Iterator[Finding]:
    from packaging.requirements import Requirement

    for requirement in sorted(map(Requirement, texts), key=lambda r: r.name.lower()):
        name, extra = requirement.name, _find_extra(str(requirement.marker or ""))
        if extra in ("test", "dev"):
            continue
        wanted = f"{name}{requirement.specifier}"
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            if extra:
                yield Finding(SECTION, name, f"not installed; geoseg[{extra}] brings it")
            else:
                yield Finding(SECTION, name, "not installed", "failed", f"pip install '{wanted}'")
            continue
        if requirement.specifier.contains(version, prereleases=True):
            yield Finding(SECTION, name, version)
        else:
            found = f"{version}, but {requirement.specifier} is needed"
            yield Finding(SECTION, name, found, "failed", f"pip install --upgrade '{wanted}'")


def _find_extra(marker: str) -> str:
    """The name in `extra == "name"`."""
    _, found, rest = marker.partition("extra == ")
    return rest.split('"')[1] if found else ""
