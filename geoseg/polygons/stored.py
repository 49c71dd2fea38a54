"""Arrays in files, read again from the first to the last or here and there.

Plain reads, no memory maps: what was mapped would count as the process's memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.polygons.rings import Int32, Int64


class RecordFile:
    """Records of arrays one after the other.

    Args:
        path: a file, emptied.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sizes: list[int] = []
        path.write_bytes(b"")

    def append(self, arrays: Collection[NDArray[Any]]) -> None:
        """Write the arrays of a record behind the others."""
        with self._path.open("ab") as file:
            for array in arrays:
                np.save(file, array, allow_pickle=False)
        self._sizes.append(len(arrays))

    def read(self) -> Iterator[list[NDArray[Any]]]:
        """All records in the order in which they were written."""
        with self._path.open("rb") as file:
            for size in self._sizes:
                yield [np.load(file, allow_pickle=False) for _ in range(size)]


class CornerFile:
    """Corners, (row, col) int32, one after the other.

    Args:
        path: a file, emptied.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0
        path.write_bytes(b"")

    def append(self, coords: Int32) -> int:
        """Write (n, 2) int32 corners behind the others; returns how many were there."""
        with self._path.open("ab") as file:
            coords.tofile(file)
        first, self._size = self._size, self._size + len(coords)
        return first

    def read(self, starts: Int64, offsets: Int64) -> Int32:
        """Slices laid end to end: where each starts in the file ((n,)), and their (n + 1,) offsets in the result."""
        coords = np.empty((offsets[-1], 2), np.int32)
        with self._path.open("rb", buffering=0) as file:
            for start, first, stop in zip(starts.tolist(), offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
                file.seek(start * coords.itemsize * 2)
                file.readinto(coords[first:stop].data)
        return coords
