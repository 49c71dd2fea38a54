"""Rasters of a computer: files, patterns, folders and lists."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from geoseg.catalog.scene import Candidate
from geoseg.errors import InputError
from geoseg.raster.categories import is_own_style
from geoseg.raster.opening import is_remote, open_dataset
from geoseg.raster.reader import GDAL_FAULTS, gdal_environment

RASTERS = frozenset(
    f".{end}"
    for end in "tif tiff gtif gtiff cog jp2 j2k jpx vrt img ecw sid ntf nitf nsf kea pix jxl bil bip bsq".split()  # noqa: SIM905
)
"""Endings of files that are taken from a folder."""

PICTURES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp"))
"""Endings of files that are taken if something beside them says where on Earth they are; others are previews."""

REGION = frozenset(("batch.json", "lock"))
"""What lies in a folder that `geoseg batch` made."""

LISTS = frozenset((".txt", ".lst"))


def list_folder(folder: Path, skip: Path | None = None) -> Iterator[Candidate]:
    """The rasters in a folder and those below it, by name, but hidden ones, parts of its VRTs and what geoseg made.

    Args:
        folder: where to look.
        skip: a folder below it that is left out, such as that of the output.
    """
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(
            one for one in folders if not one.startswith(".") and not (skip and _is_same(Path(place, one), skip))
        )
        if set(names) >= REGION:
            folders.clear()
            continue
        found += [Path(place, name) for name in names if not name.startswith(".") and is_scene(Path(place, name))]
    parts = {part for path in found if path.suffix.lower() == ".vrt" for part in _list_parts(path)}
    for path in sorted(found, key=lambda path: path.relative_to(folder).as_posix()):
        if os.path.realpath(path) not in parts:
            yield Candidate(os.path.abspath(path), path.relative_to(folder).as_posix())


def is_scene(path: Path) -> bool:
    """Whether a file of a folder is a raster, and none of classes that geoseg wrote."""
    return is_raster(path) and not is_own_style(path.with_suffix(".qml"))


def is_raster(path: Path) -> bool:
    """Whether a file of a folder is taken for a raster, by its name and its neighbours'."""
    suffix = path.suffix.lower()
    if suffix in RASTERS:
        return path.is_file()
    if suffix not in PICTURES:
        return False
    worlds = {f"{suffix[:2]}{suffix[-1]}w", f"{suffix}w", ".wld"}
    return any(path.with_suffix(end).exists() for end in worlds) or Path(f"{path}.aux.xml").exists()


def expand_pattern(pattern: str) -> Iterator[Candidate]:
    """The files that match a pattern (`*`, `?`, `[...]`, `**`), by name, all of them whatever their ending.

    Raises:
        InputError: there is none.
    """
    paths = sorted(path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path))
    if not paths:
        raise InputError(
            f"{pattern}: no file matches", expected="a pattern of raster files", remedy="check folder and ending"
        )
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed]) if fixed else Path()
    for path in paths:
        if not path.endswith((".aux.xml", ".ovr", ".msk")):
            yield Candidate(os.path.abspath(path), Path(path).relative_to(root).as_posix())


def read_list(path: Path) -> list[str]:
    """The lines of a list of sources, without blank ones and comments (`#`), files relative to the list's folder.

    Raises:
        InputError: it is no text, or names nothing.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: not readable as a list of scenes ({error})",
            expected="a text file in UTF-8 that names a file, folder, pattern or URL in each line",
            remedy="write the paths of the scenes into it, one in each line",
        ) from error
    lines = [line.strip().strip('"') for line in text.splitlines()]
    entries = [line for line in lines if line and not line.startswith("#")]
    if not entries:
        raise InputError(
            f"{path}: an empty list",
            expected="a file, folder, pattern or URL in each line",
            remedy="write the paths of the scenes into it, one in each line",
        )
    base = path.absolute().parent
    foreign = [is_remote(one) or (is_dataset_name(one) and not os.path.exists(base / one)) for one in entries]
    return [one if alone else str(base / one) for one, alone in zip(entries, foreign, strict=True)]


def is_dataset_name(text: str) -> bool:
    """Whether it looks like a name that only GDAL knows, such as NETCDF:file.nc:red; a drive of Windows is none."""
    head, colon, _ = text.partition(":")
    return text.startswith("<") or (bool(colon) and len(head) > 1 and head.isidentifier())


def _list_parts(vrt: Path) -> set[str]:
    try:
        with gdal_environment(str(vrt)), open_dataset(vrt) as dataset:
            return {os.path.realpath(part) for part in dataset.files} - {os.path.realpath(vrt)}
    except GDAL_FAULTS:
        return set()  # the run will say what is wrong with it


def _is_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
