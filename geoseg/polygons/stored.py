"""Batches in one file, read again from the first to the last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geoseg.polygons.rings import PolygonBatch


class BatchFile:
    """Batches one after the other. Plain reads, no memory maps: what was mapped would count as the process's memory.

    Args:
        path: a file that does not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._count = path, 0
        path.touch()

    def append(self, batch: PolygonBatch) -> None:
        """Write a batch behind the others."""
        with self._path.open("ab") as file:
            for array in batch.arrays().values():
                np.save(file, array, allow_pickle=False)
        self._count += 1

    def read(self) -> Iterator[PolygonBatch]:
        """All batches in the order in which they were written."""
        with self._path.open("rb") as file:
            for _ in range(self._count):
                arrays = {name: np.load(file, allow_pickle=False) for name in PolygonBatch.__dataclass_fields__}
                yield PolygonBatch(**arrays)
