"""Model packages: found by name or directory, checked, written."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import replace
from importlib import resources
from pathlib import Path

from geoseg.errors import ModelError, OutputError
from geoseg.files import replace_file
from geoseg.models.manifest import (
    FILE_LIMITS,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    REMEDY,
    ModelPackage,
    PackageFile,
    format_manifest,
    is_package_name,
    parse_manifest,
)
from geoseg.models.weights import read_weights_header

__all__ = ["ModelPackage", "PackageFile", "list_packages", "load_package", "write_package"]

PICKLE_SUFFIXES = {".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin"}


def list_packages() -> tuple[str, ...]:
    """Names of the shipped packages, sorted."""
    library = _find_library()
    found = library.iterdir() if library.is_dir() else ()
    return tuple(sorted(entry.name for entry in found if is_package_name(entry.name) and (entry / MANIFEST).is_file()))


def load_package(name_or_dir: str | Path) -> ModelPackage:
    """The shipped package of that name or the package in that directory, its files checked against their checksums.

    A shipped name wins over a directory of the same name; write `./name` for the directory.

    Raises:
        ModelError: there is none, it is incomplete or altered, or it is a pickle, which geoseg never opens.
    """
    path = _find_package(name_or_dir)
    text = _find_file(path, MANIFEST, MAX_MANIFEST_BYTES).read_bytes()
    package = parse_manifest(text, path)
    for file in package.files:
        _check_file(path, file)
    read_weights_header(package.weights)
    return package


def write_package(package: ModelPackage, *, card: str) -> ModelPackage:
    """Finish the directory `package.path`, which holds weights and graph already: card, checksums, description.

    Args:
        package: the description; its `files` are replaced.
        card: text of README.md.

    Returns:
        The package as `load_package` gives it.

    Raises:
        ModelError: weights or graph are missing, or the description would not be read back.
        OutputError: the directory cannot be written to.
    """
    try:
        (package.path / "README.md").write_text(card, encoding="utf-8")
        files = tuple(_measure_file(package.path, name, limit) for name, limit in FILE_LIMITS.items())
        text = format_manifest(replace(package, files=files)).encode()
        parse_manifest(text, package.path)
        with replace_file(package.path / MANIFEST) as draft:
            draft.write_bytes(text)
    except OSError as error:
        raise OutputError(f"{package.path}: {error}", expected="a writable directory") from error
    except (TypeError, ValueError) as error:
        raise ModelError(f"{package.name}: a description that is no JSON ({error})", expected="plain values") from error
    return load_package(package.path)


def _find_library() -> Path:
    return Path(str(resources.files("geoseg.models").joinpath("library")))


def _find_package(name_or_dir: str | Path) -> Path:
    names = list_packages()
    if isinstance(name_or_dir, str) and name_or_dir in names:
        return _find_library() / name_or_dir
    path = Path(name_or_dir)
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise ModelError(
            f"{path}: a pickle, which can run any program when it is opened",
            expected="the directory of a model package (safetensors and ONNX)",
            remedy="where you trust it, load it with torch.load(..., weights_only=True), save its state dict with "
            "safetensors.torch.save_file, and package that with geoseg.models.export",
        )
    if path.is_dir():
        return path
    if path.exists():
        raise ModelError(f"{path}: a file", expected=f"the directory of a model package, which holds {MANIFEST}")
    near = difflib.get_close_matches(str(name_or_dir), names, n=1, cutoff=0.4)
    raise ModelError(
        f"no model {str(name_or_dir)!r}",
        expected=f"a directory, or one of: {', '.join(names) or 'none is shipped'}",
        remedy=f"did you mean {near[0]!r}?" if near else "name a shipped model, or the directory of a package",
    )


def _find_file(path: Path, name: str, limit: int) -> Path:
    file = path / name
    if not file.is_file():
        raise ModelError(f"{file}: missing", expected=f"{MANIFEST}, {', '.join(FILE_LIMITS)}", remedy=REMEDY)
    # A link could lend a file of the user's to whoever made the package.
    if file.resolve().parent != path.resolve():
        raise ModelError(f"{file}: leads out of the package", expected="a file in the package", remedy=REMEDY)
    size = file.stat().st_size
    if size > limit:
        raise ModelError(f"{file}: {size} bytes", expected=f"at most {limit}", remedy=REMEDY)
    return file


def _measure_file(path: Path, name: str, limit: int) -> PackageFile:
    file = _find_file(path, name, limit)
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return PackageFile(name, digest, file.stat().st_size)


def _check_file(path: Path, expected: PackageFile) -> None:
    size = _find_file(path, expected.name, FILE_LIMITS[expected.name]).stat().st_size
    if size != expected.size_bytes:
        raise ModelError(
            f"{path / expected.name}: {size} bytes", expected=f"{expected.size_bytes} bytes", remedy=REMEDY
        )
    found = _measure_file(path, expected.name, expected.size_bytes)
    if found != expected:
        raise ModelError(
            f"{path / expected.name}: checksum {found.sha256[:16]}...",
            expected=f"{expected.sha256[:16]}..., as {MANIFEST} says",
            remedy=REMEDY,
        )
