"""What geoseg keeps between runs, and the room that it has."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geoseg.doctor.findings import Finding
from geoseg.errors import GeosegError
from geoseg.progress import Progress

SECTION = "caches"
LITTLE_BYTES = 2**30


def find_caches(_: Progress) -> Iterator[Finding]:
    """Compiled kernels, shipped models, unpacked models, temporary files."""
    yield _find_kernels()
    yield from _find_models()
    yield _find_unpacked()
    yield _find_room("temporary files", Path(tempfile.gettempdir()), "set TMPDIR to a folder with more room")
    yield _find_room("this folder", Path.cwd(), "write outputs where there is more room")


def _find_kernels() -> Finding:
    from geoseg.polygons.runs import encode_runs

    kernel: Any = encode_runs  # numba's dispatcher, which looks like the function
    folder = Path(kernel.stats.cache_path or "")
    if not folder.name:
        remedy = "set NUMBA_CACHE_DIR to a folder that can be written"
        return Finding(SECTION, "kernels", "no folder can keep them: each run compiles them anew", "note", remedy)
    count = len(list(folder.glob("*.nbi")))
    told = f"{count} compiled" if count else "none compiled yet: the first run takes a minute longer"
    return Finding(SECTION, "kernels", f"{told}, in {folder}")


def _find_models() -> Iterator[Finding]:
    from geoseg.models.package import list_packages, load_package
    from geoseg.run.segment import DEFAULT_MODEL

    names = list_packages()
    for name in names:
        try:
            package = load_package(name)
        except GeosegError as error:
            yield Finding(SECTION, f"model {name}", error.found, "failed", "install geoseg again: its files changed")
        else:
            yield Finding(SECTION, f"model {name}", f"{package.version}, checksums hold")
    if DEFAULT_MODEL not in names:
        yield Finding(SECTION, f"model {DEFAULT_MODEL}", "missing", "failed", "install geoseg again, from a wheel")


def _find_unpacked() -> Finding:
    from geoseg.models.archive import CACHE, find_cache

    folder = find_cache()
    there = next(p for p in (folder, *folder.parents) if p.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return Finding(SECTION, "unpacked models", f"{folder}")
    remedy = f"set {CACHE} to a folder that can be written; only zipped models need it"
    return Finding(SECTION, "unpacked models", f"{folder} cannot be written", "note", remedy)


def _find_room(name: str, folder: Path, remedy: str) -> Finding:
    from geoseg.run.memory import format_bytes

    free = shutil.disk_usage(folder).free
    value = f"{format_bytes(free)} free in {folder}"
    if not os.access(folder, os.W_OK):
        return Finding(SECTION, name, f"{folder} cannot be written", "note", remedy)
    return Finding(SECTION, name, value, "note", remedy) if free < LITTLE_BYTES else Finding(SECTION, name, value)
