"""Model packages: found by name, directory or zip, checked, written."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import replace
from importlib import resources
from pathlib import Path

from geoseg.errors import ModelError, OutputError
from geoseg.files import replace_file
from geoseg.models.archive import PICKLES, unpack_archive
from geoseg.models.fields import REMEDY, matching
from geoseg.models.manifest import (
    CARD,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    PICTURE,
    ModelPackage,
    PackageFile,
    format_manifest,
    is_package_name,
    limit_file,
    name_files,
    parse_manifest,
)
from geoseg.models.weights import check_finite, read_weights_header

__all__ = ["ModelPackage", "PackageFile", "list_packages", "load_package", "write_package"]


def list_packages() -> tuple[str, ...]:
    """Names of the shipped packages, sorted."""
    library = _find_library()
    found = library.iterdir() if library.is_dir() else ()
    return tuple(sorted(entry.name for entry in found if is_package_name(entry.name) and (entry / MANIFEST).is_file()))


def load_package(name_or_path: str | Path, *, refine: bool = True) -> ModelPackage:
    """The shipped package of that name or the package in that directory or zip, its files checked against checksums.

    A shipped name wins over a directory of the same name; write `./name` for the directory.

    Args:
        name_or_path: name, directory or zip.
        refine: whether a refiner in the package is used.

    Raises:
        ModelError: there is none, it is incomplete or altered, or it is a pickle, which geoseg never opens.
        OutputError: a zip cannot be unpacked into the cache.
    """
    found = find_package(name_or_path)
    if found.is_dir():
        return replace(_load_folder(found), refine=refine)
    folder = unpack_archive(found)
    try:
        package = _load_folder(folder)
    except ModelError:
        # Whether the zip is bad or its copy was damaged, the zip says.
        package = _load_folder(unpack_archive(found, anew=True))
    return replace(package, refine=refine)


def read_manifest(path: Path) -> ModelPackage:
    """The description of the package in a directory; nothing else is read.

    Raises:
        ModelError: it is missing or wrong.
    """
    return parse_manifest(_find_file(path, MANIFEST, MAX_MANIFEST_BYTES).read_bytes(), path)


def check_file(path: Path, expected: PackageFile) -> None:
    """Compare a file of the package in a directory with what its description says.

    Raises:
        ModelError: it is missing, leads out of the directory or is another.
    """
    size = _find_file(path, expected.name, limit_file(expected.name)).stat().st_size
    if size != expected.size_bytes:
        raise ModelError(
            f"{path / expected.name}: {size} bytes", expected=f"{expected.size_bytes} bytes", remedy=REMEDY
        )
    found = _measure_file(path, expected.name)
    if found != expected:
        raise ModelError(
            f"{path / expected.name}: checksum {found.sha256[:16]}...",
            expected=f"{expected.sha256[:16]}..., as {MANIFEST} says",
            remedy=REMEDY,
        )


def write_package(package: ModelPackage, *, card: str) -> ModelPackage:
    """Finish the directory `package.path`, which holds weights, graphs and pictures: card, checksums, description.

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
        (package.path / CARD).write_text(card, encoding="utf-8")
        pictures = sorted(f.name for f in package.path.glob("*.png") if matching(PICTURE)(f.name))
        files = tuple(_measure_file(package.path, name) for name in (*name_files(package.network), *pictures))
        text = format_manifest(replace(package, files=files)).encode()
        parse_manifest(text, package.path)
        with replace_file(package.path / MANIFEST) as draft:
            draft.write_bytes(text)
    except OSError as error:
        raise OutputError(f"{package.path}: {error}", expected="a writable directory") from error
    except (TypeError, ValueError) as error:
        raise ModelError(f"{package.name}: a description that is no JSON ({error})", expected="plain values") from error
    return load_package(package.path)


def find_package(name_or_path: str | Path) -> Path:
    """Directory or zip of a package, not looked into.

    Raises:
        ModelError: there is none, or it is a pickle.
    """
    names = list_packages()
    if isinstance(name_or_path, str) and name_or_path in names:
        return _find_library() / name_or_path
    path = Path(name_or_path)
    if path.suffix.lower() in PICKLES:
        raise ModelError(
            f"{path}: a pickle, which can run any program when it is opened",
            expected="a model package (safetensors and ONNX), as directory or zip",
            remedy="where you trust it, load it with torch.load(..., weights_only=True), save its state dict with "
            "safetensors.torch.save_file, and package that; or export it to ONNX and use `geoseg models import`",
        )
    if path.is_dir() or (path.is_file() and path.suffix.lower() == ".zip"):
        return path
    if path.exists():
        raise ModelError(
            f"{path}: a file",
            expected=f"a model package: a directory that holds {MANIFEST}, or a .zip of one",
            remedy="make a package of an ONNX file with `geoseg models import`" if path.suffix == ".onnx" else "",
        )
    near = difflib.get_close_matches(str(name_or_path), names, n=1, cutoff=0.4)
    raise ModelError(
        f"no model {str(name_or_path)!r}",
        expected=f"a directory, a zip, or one of: {', '.join(names) or 'none is shipped'}",
        remedy=f"did you mean {near[0]!r}?" if near else "name a shipped model, or the directory or zip of a package",
    )


def _load_folder(path: Path) -> ModelPackage:
    package = read_manifest(path)
    for file in package.files:
        check_file(path, file)
    check_finite(package.weights, read_weights_header(package.weights))
    return package


def _find_library() -> Path:
    return Path(str(resources.files("geoseg.models").joinpath("library")))


def _find_file(path: Path, name: str, limit: int) -> Path:
    file = path / name
    if not file.is_file():
        raise ModelError(f"{file}: missing", expected=f"{MANIFEST} and all files that it names", remedy=REMEDY)
    # A link could lend a file of the user's to whoever made the package.
    if file.resolve().parent != path.resolve():
        raise ModelError(f"{file}: leads out of the package", expected="a file in the package", remedy=REMEDY)
    size = file.stat().st_size
    if size > limit:
        raise ModelError(f"{file}: {size} bytes", expected=f"at most {limit}", remedy=REMEDY)
    return file


def _measure_file(path: Path, name: str) -> PackageFile:
    file = _find_file(path, name, limit_file(name))
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return PackageFile(name, digest, file.stat().st_size)
