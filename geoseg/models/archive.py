"""A model package as one zip file: packed the same way every time, unpacked without trusting it."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path

from platformdirs import user_cache_path

from geoseg.errors import ModelError, OutputError
from geoseg.files import replace_file, replace_folder
from geoseg.models.manifest import MANIFEST, MAX_PICTURES, ModelPackage, limit_file

CACHE = "GEOSEG_CACHE"
MAX_RATIO = 100
"""Bytes from one byte that are believed: text shrinks to a tenth, weights hardly at all."""
SMALL_BYTES = 2**20
CHUNK_BYTES = 2**20
EPOCH = (1980, 1, 1, 0, 0, 0)
PICKLES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin")
MAX_ENTRIES = MAX_PICTURES + 5


def pack_archive(package: ModelPackage, output: Path) -> None:
    """Write a package's files into one zip; equal packages give equal bytes.

    Raises:
        OutputError: it cannot be written.
    """
    with replace_file(output) as draft, zipfile.ZipFile(draft, "w") as archive:
        for name in (MANIFEST, *(f.name for f in package.files)):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o100644 << 16
            with (package.path / name).open("rb") as source, archive.open(entry, "w") as target:
                shutil.copyfileobj(source, target, CHUNK_BYTES)


def unpack_archive(path: Path, *, anew: bool = False) -> Path:
    """The folder that a zipped package was unpacked to; done once for a content, in the user's cache.

    A copy there is taken if it has the zip's description, unless it is to be made `anew`. The cache is the folder that
    the environment's GEOSEG_CACHE names, or the platform's own.

    Raises:
        ModelError: it is no zip, or holds anything but the plain files of a package.
        OutputError: the cache cannot be written.
    """
    try:
        with path.open("rb") as file:
            folder = find_cache() / hashlib.file_digest(file, "sha256").hexdigest()
            # From the file that was hashed: the path may name another by now.
            with zipfile.ZipFile(file) as archive:
                _check_entries(path, archive.infolist())
                if anew or not _is_copy(archive, folder):
                    _unpack_into(archive, folder)
    # Besides its own, zipfile lets through what decoding a name or seeking beyond the file raises.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OverflowError) as error:
        raise _fault(path, f"no zip that can be read ({error})"[:200]) from error
    except OSError as error:
        raise OutputError(
            f"{path} cannot be unpacked: {error}",
            expected="a cache folder that can be written",
            remedy=f"name one by the environment variable {CACHE}",
        ) from error
    return folder


def find_cache() -> Path:
    """The folder of unpacked packages."""
    named = os.environ.get(CACHE)
    return (Path(named) if named else user_cache_path("geoseg", appauthor=False)) / "models"


def _is_copy(archive: zipfile.ZipFile, folder: Path) -> bool:
    """Whether the folder has the zip's description; that holds the checksums of all else."""
    try:
        return (folder / MANIFEST).read_bytes() == archive.read(MANIFEST)
    except (OSError, KeyError):
        return False


def _unpack_into(archive: zipfile.ZipFile, folder: Path) -> None:
    try:
        with replace_folder(folder) as draft:
            for entry in archive.infolist():
                _extract(archive, entry, draft / entry.filename)
    except OSError:
        # Another process may have been faster.
        if not _is_copy(archive, folder):
            raise


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    names = {e.filename for e in entries}
    if len(entries) > MAX_ENTRIES or len(names) != len(entries):
        raise _fault(path, f"{len(entries)} entries, {len(names)} of different names")
    for entry in entries:
        _check_entry(path, entry)


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    # What was compared is the name in the file; zipfile cuts it at a zero byte and turns backslashes round.
    if not limit_file(name) or entry.orig_filename != name:
        kind = "a pickle, which can run any program" if name.lower().endswith(PICKLES) else "no such file in a package"
        raise _fault(path, f"{name[:80]!r}, {kind}")
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG) or entry.is_dir():
        raise _fault(path, f"{name!r}, which is no plain file but a link or a device")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _fault(path, f"{name!r}, compressed by method {entry.compress_type}, neither stored nor deflated")
    if entry.header_offset < 0:
        raise _fault(path, f"{name!r}, which begins before the file")
    if entry.file_size > limit_file(name):
        raise _fault(path, f"{name!r} of {entry.file_size} bytes, above {limit_file(name)}")
    if entry.file_size > SMALL_BYTES + MAX_RATIO * entry.compress_size:
        raise _fault(path, f"{name!r}, {entry.file_size} bytes from {entry.compress_size}")


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    written = 0
    with archive.open(entry) as source, target.open("xb") as file:
        while chunk := source.read(CHUNK_BYTES):
            written += len(chunk)
            if written > entry.file_size:
                raise zipfile.BadZipFile(f"{entry.filename} is larger than it says")
            file.write(chunk)


def _fault(path: Path, found: str) -> ModelError:
    return ModelError(
        f"{path}: {found}",
        expected=f"a zip of a package's files, {MANIFEST} and those it names, without folders",
        remedy="make it with `geoseg models export`, or zip the files and not their folder",
    )
