"""Where pixels are on Earth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer

GEOD = Geod(ellps="WGS84")


@dataclass(frozen=True, slots=True)
class Window:
    """A block of pixels: first row and column (may be negative), then height and width, all in pixels."""

    row: int
    col: int
    rows: int
    cols: int

    @property
    def row_stop(self) -> int:
        """First row below the window."""
        return self.row + self.rows

    @property
    def col_stop(self) -> int:
        """First column right of the window."""
        return self.col + self.cols

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return self.rows, self.cols

    @property
    def is_empty(self) -> bool:
        """Whether it holds no pixel."""
        return self.rows <= 0 or self.cols <= 0

    def intersect(self, other: Window) -> Window:
        """The common block; empty (0 rows or 0 cols) where there is none."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        return Window(
            row,
            col,
            max(0, min(self.row_stop, other.row_stop) - row),
            max(0, min(self.col_stop, other.col_stop) - col),
        )

    def pad(self, rows: int, cols: int) -> Window:
        """The window grown by `rows` above and below and `cols` left and right."""
        return Window(self.row - rows, self.col - cols, self.rows + 2 * rows, self.cols + 2 * cols)

    def shift(self, rows: int, cols: int) -> Window:
        """The window moved down and right."""
        return Window(self.row + rows, self.col + cols, self.rows, self.cols)

    def within(self, outer: Window) -> tuple[slice, slice]:
        """Slices that cut this window out of an array that covers `outer`."""
        row, col = self.row - outer.row, self.col - outer.col
        return slice(row, row + self.rows), slice(col, col + self.cols)


@dataclass(frozen=True)
class GeoGrid:
    """The pixel grid of a raster: CRS as WKT, affine transform (col, row) -> (x, y), size in pixels.

    The transform may be rotated or sheared; every measure below honours it.
    """

    crs: str
    transform: Affine
    rows: int
    cols: int

    @property
    def window(self) -> Window:
        """The whole grid."""
        return Window(0, 0, self.rows, self.cols)

    def to_world(
        self, rows: NDArray[np.float64], cols: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(x, y) in the CRS of pixel corners given as (row, col), any shape; (0, 0) is the upper left corner."""
        t = self.transform
        return t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f

    @cached_property
    def to_lonlat(self) -> Transformer:
        """From the CRS to WGS 84 longitude, latitude in degrees."""
        return _make_transformer(self.crs)

    def ground_resolution_m(self) -> tuple[float, float]:
        """Geodesic (height, width) in metres of the pixel at the grid's centre."""
        r, c = self.rows / 2, self.cols / 2
        rows = np.array([r - 0.5, r + 0.5, r, r])
        cols = np.array([c, c, c - 0.5, c + 0.5])
        lon, lat = self.to_lonlat.transform(*self.to_world(rows, cols))
        if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
            return math.nan, math.nan
        _, _, size = GEOD.inv(lon[[0, 2]], lat[[0, 2]], lon[[1, 3]], lat[[1, 3]])
        return float(size[0]), float(size[1])

    def __getstate__(self) -> dict[str, object]:
        return {k: v for k, v in self.__dict__.items() if k != "to_lonlat"}


@lru_cache(64)
def _make_transformer(crs: str) -> Transformer:
    # Thousands of grids share few CRSs, and looking for the way between two takes milliseconds.
    return Transformer.from_crs(CRS.from_wkt(crs), CRS.from_epsg(4326), always_xy=True)
