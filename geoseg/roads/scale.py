"""At which resolution roads are traced, and how far a tile must look beyond its border for that."""

from __future__ import annotations

import math
from dataclasses import dataclass

from geoseg.errors import InputError, OptionError
from geoseg.grid import GeoGrid, Window

CELL_M = 0.5
MAX_WIDTH_M = 30.0
FILL_M = 5.0

SMOOTHINGS = 2
"""Rounds of smoothing of the mask; each reaches one cell far."""

BLOCK = 4
"""Cells along the side of a block, in which places too wide for a road are thinned."""


@dataclass(frozen=True, slots=True)
class RoadScale:
    """Cells of whole pixels on one lattice anchored at the raster's origin, and the reach of what is done on them.

    A cell is about half a metre high and wide, or one pixel where pixels are larger. It belongs to the tile that holds
    its first pixel. Around the raster lies one ring of cells more: what a road needs to end at the raster's border.

    Args:
        factors: pixels of a cell, (rows, cols).
        cell_m: (height, width) of a cell in ground metres.
        iterations: rounds of thinning; roads up to twice as many cells wide become lines by them.
        hole_cells: holes that fit into a square of so many cells are filled.
        grid_shape: (rows, cols) of the raster in pixels.
    """

    factors: tuple[int, int]
    cell_m: tuple[float, float]
    iterations: int
    hole_cells: int
    grid_shape: tuple[int, int]

    @classmethod
    def of(cls, grid: GeoGrid, *, max_width_m: float = MAX_WIDTH_M, fill_m: float = FILL_M) -> RoadScale:
        """The scale for a grid.

        Args:
            grid: where the class raster lies.
            max_width_m: what is wider is no road but a place: it gets lines from road to road through its middle, and
                widths stop here.
            fill_m: holes that fit into a square of this side are filled.

        Raises:
            InputError: pixels of the grid have no size on the ground.
            OptionError: a length is negative or the largest width zero.
        """
        if not (max_width_m > 0 and fill_m >= 0):
            raise OptionError(f"roads up to {max_width_m} m wide, holes of {fill_m} m", expected="positive lengths")
        height, width = grid.ground_resolution_m()
        if not (math.isfinite(height) and math.isfinite(width) and min(height, width) > 0):
            raise InputError(
                "pixels without a size on the ground",
                expected="a raster within the area of its CRS",
                remedy="reproject the raster, or switch the road network off",
            )
        side = max(CELL_M, height, width)
        factors = (max(1, round(side / height)), max(1, round(side / width)))
        cell_m = (factors[0] * height, factors[1] * width)
        # Sizes of pixels are never exact.
        iterations = max(2, math.ceil(max_width_m / 2 / min(cell_m) - 0.01))
        return cls(factors, cell_m, iterations, int(fill_m / max(cell_m) + 0.01), (grid.rows, grid.cols))

    @property
    def reach(self) -> int:
        """Cells around a cell on which its part of the network depends.

        Each round of thinning has two steps that look one cell far; a place is a 3 x 3 square beside the cell, and the
        ring of cells around a tile is its own to compute.
        """
        return 2 * self.iterations + 4 + SMOOTHINGS + self.hole_cells

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols) of the raster in cells; the last ones may be incomplete."""
        return -(-self.grid_shape[0] // self.factors[0]), -(-self.grid_shape[1] // self.factors[1])

    def halo_px(self) -> tuple[int, int]:
        """Pixels (rows, cols) that a tile must see around its core, where the raster has them."""
        return (self.reach + 1) * self.factors[0], (self.reach + 1) * self.factors[1]

    def cells_of(self, core: Window) -> Window:
        """The cells that belong to a tile, those of the ring around the raster at its border included."""
        rows = _cells_between(core.row, core.row_stop, self.factors[0], self.grid_shape[0])
        cols = _cells_between(core.col, core.col_stop, self.factors[1], self.grid_shape[1])
        return Window(rows[0], cols[0], rows[1] - rows[0], cols[1] - cols[0])


def _cells_between(start: int, stop: int, factor: int, size: int) -> tuple[int, int]:
    return -1 if start == 0 else -(-start // factor), -(-stop // factor) + (stop == size)
