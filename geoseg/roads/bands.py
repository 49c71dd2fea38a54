"""Bands of rows, from the top of the raster to its bottom, and records that wait in a file for their band."""

from __future__ import annotations

import math
import os
from array import array
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from geoseg.roads.lines import Int64
from geoseg.roads.scale import RoadScale

BAND_CELLS = 512

OpenFile = Callable[[], IO[bytes]]
"""Opens an empty file for writing and reading."""


@dataclass(frozen=True, slots=True)
class Bands:
    """The rows of a raster, band by band; what lies above the first or below the last one belongs to these.

    Args:
        rows: half cells of a band.
        count: how many bands there are.
    """

    rows: int
    count: int

    @classmethod
    def of(cls, scale: RoadScale, cells: int = BAND_CELLS) -> Bands:
        """Bands of so many rows of cells."""
        return cls(2 * cells, -(-scale.shape[0] // cells))

    def find(self, row: NDArray[Any]) -> Int64:
        """(n,) int64 bands of rows (n,) in half cells."""
        return np.clip(np.floor(row / self.rows), 0, self.count - 1).astype(np.int64)

    def stop(self, band: int) -> float:
        """The row in half cells that all of the bands up to this one lie before; there is none after the last one."""
        return (band + 1) * self.rows if band + 1 < self.count else math.inf


class BandFile:
    """Records of one type, written in any order and read band by band.

    Args:
        file: an empty one, open for writing and reading.
        dtype: of a record.
    """

    def __init__(self, file: IO[bytes], dtype: np.dtype[Any]) -> None:
        self._file, self._dtype, self._length = file, dtype, 0
        self._parts: defaultdict[int, array[int]] = defaultdict(partial(array, "q"))

    def append(self, band: Int64, records: NDArray[Any]) -> None:
        """Write records (n,), each to its band (n,)."""
        self._file.write(records[np.argsort(band, kind="stable")].tobytes())
        self._file.flush()
        bands, counts = np.unique(band, return_counts=True)
        for number, size in zip(bands.tolist(), (counts * self._dtype.itemsize).tolist(), strict=True):
            self._parts[number].extend((self._length, size))
            self._length += size

    def read(self, band: int) -> NDArray[Any]:
        """(n,) records of a band, in the order in which they were written."""
        parts = self._parts[band]
        where = zip(parts[::2], parts[1::2], strict=True)
        return np.frombuffer(b"".join(os.pread(self._file.fileno(), size, at) for at, size in where), self._dtype)
