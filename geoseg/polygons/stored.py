"""Records of arrays in one file, read again from the first to the last."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class RecordFile:
    """Records one after the other. Plain reads, no memory maps: what was mapped would count as the process's memory.

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
