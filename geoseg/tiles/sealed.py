"""Files of finished tiles that tell whether they still hold what was written."""

from __future__ import annotations

import zlib
from pathlib import Path

from geoseg.errors import InputError

SEAL_BYTES = 4


def write_sealed(path: Path, content: bytes) -> None:
    """Write bytes and, behind them, their CRC-32."""
    with path.open("wb") as file:
        file.write(content)
        file.write(zlib.crc32(content).to_bytes(SEAL_BYTES, "little"))


def read_sealed(path: Path) -> bytes:
    """The bytes that `write_sealed` wrote. A file that holds others is removed: whoever needs it makes it anew.

    Raises:
        InputError: it was damaged since.
    """
    whole = path.read_bytes()
    content = whole[:-SEAL_BYTES]
    if zlib.crc32(content).to_bytes(SEAL_BYTES, "little") != whole[-SEAL_BYTES:]:
        path.unlink(missing_ok=True)
        raise InputError(
            f"the finished tile {path} was damaged on the disk, and is removed",
            expected="the bytes that geoseg wrote",
            remedy="run the same command again, which makes this tile anew; check the disk",
        )
    return content
