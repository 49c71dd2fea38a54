"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from geoseg.errors import InputError, OutputError

# What SQLite and GDAL keep beside a file while they write it. SQLite's journals carry the data base's name; one left
# behind would be played back into the next one.
SIDE_FILES = ("", "-journal", "-wal", "-shm", ".aux.xml", ".ovr.tmp", ".blocks", ".blocks.aux.xml")


@contextmanager
def replace_file(path: Path, *, tag: str = "", sides: tuple[str, ...] = (), lasting: bool = True) -> Iterator[Path]:
    """Give a temporary name beside `path`; on leaving it becomes `path`, or vanishes if an exception was raised.

    What it held before stays until the new content is complete and on the disk. Temporary files that killed processes
    of this machine left beside it are removed.

    Args:
        path: the file to write.
        tag: makes the temporary name unique where one process may write a file twice at a time.
        sides: endings of files that lie beside `path` and belong to it. Those written beside the temporary name take
            their places, all others go: whatever happens, a file never has another one's side file.
        lasting: whether to wait for the disk; what need not is missing or empty after a power cut, at worst.

    Raises:
        OutputError: the file cannot be written, or the disk is full.
    """
    host = socket.gethostname()
    temporary = path.with_name(f".{path.stem}.{host}.{os.getpid()}{tag}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not tag:
            _remove_abandoned(path, host)
        try:
            yield temporary
            new = [end for end in sides if os.path.exists(f"{temporary}{end}")]
            for end in ("", *new) if lasting else ():
                _flush(Path(f"{temporary}{end}"))
            for end in sides:
                Path(f"{path}{end}").unlink(missing_ok=True)
            for end in ("", *new):
                os.replace(f"{temporary}{end}", f"{path}{end}")
            if lasting:
                # Without this a power cut may undo the change of the name.
                _flush(path.parent)
        finally:
            _remove(temporary)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}",
            expected="a folder that can be written, with room for the output",
            remedy="choose another folder or free some space",
        ) from error


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside `path`; on leaving it becomes `path`, or vanishes if an exception was raised.

    What was there stays until the new folder is complete, and is put aside, not deleted, before that takes its place.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent, ignore_cleanup_errors=True) as place:
        # What tempfile makes is for the owner's eyes only; a folder inside is as any other.
        new, old = Path(place) / "new", Path(place) / "old"
        new.mkdir()
        yield new
        with suppress(FileNotFoundError):
            path.rename(old)
        try:
            new.rename(path)
        except OSError:
            with suppress(OSError):
                old.rename(path)
            raise


def gdal_name(path: Path) -> str:
    """The name under which GDAL opens a file that may be compressed."""
    return f"/vsigzip/{path.absolute()}" if path.suffix.lower() == ".gz" else str(path)


def check_whole(path: Path) -> None:
    """Refuse a FlatGeobuf that is cut off: of such files GDAL leaves features out, or all of them, without a word.

    Raises:
        InputError: the last of the features that its header counts cannot be read.
    """
    if path.suffix.lower() != ".fgb":
        return
    import pyogrio.raw  # noqa: PLC0415  (keeps `geoseg --help` light)

    features = pyogrio.read_info(path)["features"]  # below 1: not counted
    try:
        if features > 0:
            pyogrio.raw.read(path, fids=[features - 1], columns=[])
    except Exception as error:  # of several kinds
        raise InputError(
            f"{path} is cut off: it counts {features} features, and the last one cannot be read",
            expected="a complete file",
            remedy="make or download it again",
        ) from error


def _flush(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _remove_abandoned(path: Path, host: str) -> None:
    # Whatever lies beside a temporary file begins with its name: GDAL has many endings.
    temporary = re.compile(rf"{re.escape(f'.{path.stem}.{host}.')}(\d+){re.escape(f'.part{path.suffix}')}.*")
    for name in os.listdir(path.parent):
        found = temporary.fullmatch(name)
        if found and not _is_alive(int(found[1])):
            path.with_name(name).unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove(temporary: Path) -> None:
    for end in SIDE_FILES:
        with suppress(FileNotFoundError):
            os.unlink(f"{temporary}{end}")
