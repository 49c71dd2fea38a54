"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geoseg.errors import OutputError


@contextmanager
def replace_file(path: Path, *, tag: str = "part") -> Iterator[Path]:
    """Give a temporary name beside `path`; on leaving it becomes `path`, or vanishes if an exception was raised.

    Args:
        path: the file to write; what it held before stays until the new content is complete.
        tag: part of the temporary name. With the default, what a killed process left behind is replaced by the next
            one; writers that may race for one file give a tag of their own.

    Raises:
        OutputError: the file cannot be written, or the disk is full.
    """
    temporary = path.with_name(f".{path.stem}.{tag}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            _remove(temporary)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}",
            expected="a folder that can be written, with room for the output",
            remedy="choose another folder or free some space",
        ) from error


def _remove(temporary: Path) -> None:
    # SQLite's journals carry the data base's name; one left behind would be played back into the next one.
    for name in (temporary, *(temporary.with_name(temporary.name + end) for end in ("-journal", "-wal", "-shm"))):
        name.unlink(missing_ok=True)
