"""A checksum of pixels that come in any order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import GeoGrid, Window

PIECE_ROWS = 512


class PixelChecksum:
    """Sum of all pixels, each weighted by its row and its column, modulo 2^64.

    It is the same however the pixels were cut into windows and in which order these came. Two rasters that differ have
    the same one with a probability below 2^-50.

    Source: Freivalds, Probabilistic Machines Can Use Less Running Time (IFIP Congress 1977): u^T A v for random u, v.

    Args:
        grid: where the pixels are.
        blank: value of the pixels that are never added.
    """

    def __init__(self, grid: GeoGrid, blank: int) -> None:
        weights = np.random.default_rng(0).integers(2**64, size=grid.rows + grid.cols, dtype=np.uint64)
        self._rows, self._cols, self._blank = weights[: grid.rows], weights[grid.rows :], np.uint8(blank)
        self._sum = 0

    def add(self, window: Window, values: NDArray[np.uint8]) -> None:
        """Add uint8 (rows, cols) values of a window inside the grid; every pixel may be added once."""
        cols = self._cols[window.col : window.col_stop]
        for row in range(0, window.rows, PIECE_ROWS):
            piece = values[row : row + PIECE_ROWS] - self._blank
            rows = self._rows[window.row + row :][: len(piece)]
            self._sum += int(rows @ (piece.astype(np.uint64) @ cols))

    @property
    def value(self) -> int:
        """The checksum of what was added so far."""
        return self._sum % 2**64
