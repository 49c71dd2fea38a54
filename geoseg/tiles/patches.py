"""How a model's patches lie on a raster of another ground resolution."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from geoseg.errors import InputError
from geoseg.grid import GeoGrid, Window

LATTICE_PX = 32
"""Model pixels between two points where all strides of the networks agree."""

MAX_ENLARGEMENT = 16.0
MAX_REDUCTION = 20.0
MAX_PATCH_PX = 2880
"""Model pixels: with a halo of 192, at most 1.35 are predicted for each one of a raster of 50,000 px a side or more;
beyond, a smaller share of halo saves less time than the memory is worth, 2 GB a patch at 240 bytes a pixel."""
MAX_CORE_SOURCE_PX = 2**25
"""Source pixels of a core; those of fine imagery, many to a model pixel, take memory of their own."""
STRIP_PX = 2**21
"""Source pixels that are read at once, about; a patch of fine imagery is read in strips."""


@dataclass(frozen=True, slots=True)
class PatchLattice:
    """Patches of `patch_px` model pixels, of which `halo_px` on each side are context and dropped.

    32 model pixels are `unit_px` = (rows, cols) whole source pixels, so patches lie on whole source pixels, sample the
    source at the same positions as their neighbours, and meet the network's strides in the same phase.
    """

    patch_px: int
    halo_px: int
    unit_px: tuple[int, int]

    @property
    def core_px(self) -> tuple[int, int]:
        """(rows, cols) of source pixels that one patch answers for."""
        units = (self.patch_px - 2 * self.halo_px) // LATTICE_PX
        return units * self.unit_px[0], units * self.unit_px[1]

    @property
    def halo_source_px(self) -> tuple[int, int]:
        """(rows, cols) of source pixels read on each side of the core."""
        units = self.halo_px // LATTICE_PX
        return units * self.unit_px[0], units * self.unit_px[1]

    @property
    def strip_rows_px(self) -> int:
        """Rows of source pixels to read at once: whole units, since what shrinks can be averaged unit by unit."""
        rows, cols = (core + 2 * halo for core, halo in zip(self.core_px, self.halo_source_px, strict=True))
        if self.unit_px[0] < LATTICE_PX:
            return rows
        return min(rows, max(1, STRIP_PX // (cols * self.unit_px[0])) * self.unit_px[0])

    def count(self, grid: GeoGrid) -> int:
        """How many patches cover a raster."""
        rows, cols = self.core_px
        return -(-grid.rows // rows) * -(-grid.cols // cols)

    def predicted_px(self, grid: GeoGrid) -> int:
        """Model pixels to predict for a raster: its own, and the halos of its patches."""
        return math.prod(
            -(-size * LATTICE_PX // unit) + 2 * self.halo_px * -(-size // core)
            for size, unit, core in zip((grid.rows, grid.cols), self.unit_px, self.core_px, strict=True)
        )

    def fit(self, grid: GeoGrid) -> PatchLattice:
        """Patches of the size that takes one processor and two the least time together, of equal ones the smallest.

        At least as large as these, so that there are no more seams, or one patch for the whole raster. The size follows
        from the raster and the model: neither tiling nor machine can change a class.
        """

        def cost(lattice: PatchLattice) -> tuple[int, int]:
            alone_px = lattice.predicted_px(grid)
            # One of two processors has half of all pixels to predict, and one patch at least.
            halved_px = max(alone_px, 2 * lattice.patch_px**2)
            return alone_px + halved_px, lattice.patch_px

        smallest = 2 * self.halo_px + LATTICE_PX
        sizes = (replace(self, patch_px=side) for side in range(smallest, MAX_PATCH_PX + 1, LATTICE_PX))
        fitting = (
            size
            for size in sizes
            if math.prod(size.core_px) <= MAX_CORE_SOURCE_PX
            and (size.patch_px > self.patch_px or size.count(grid) == 1)
        )
        return min((self, *fitting), key=cost)

    def cores(self, block: Window) -> Iterator[Window]:
        """Row-major the cores that touch a block, uncut: each starts at a multiple of `core_px`."""
        rows, cols = self.core_px
        for row in range(block.row // rows * rows, block.row_stop, rows):
            for col in range(block.col // cols * cols, block.col_stop, cols):
                yield Window(row, col, rows, cols)

    def tile_px(self, wanted_px: int) -> tuple[int, int]:
        """The multiple of `core_px` nearest to a wanted tile size, at least one core."""
        rows, cols = self.core_px
        return max(1, round(wanted_px / rows)) * rows, max(1, round(wanted_px / cols)) * cols


def fit_patches(grid: GeoGrid, ground_resolution_m: float, *, patch_px: int, halo_px: int) -> PatchLattice:
    """Lay a model's patches on a raster.

    Args:
        grid: the raster's grid.
        ground_resolution_m: what one model pixel covers on the ground, in metres.
        patch_px: side of a patch in model pixels, a multiple of 32.
        halo_px: context on each side in model pixels, a multiple of 32.

    Raises:
        InputError: the raster's ground resolution cannot be measured or is out of the model's reach.
    """
    unit = []
    for size_m in grid.ground_resolution_m():
        ratio = ground_resolution_m / size_m if size_m > 0 else 0.0
        if not 1 / MAX_ENLARGEMENT <= ratio <= MAX_REDUCTION:
            raise InputError(
                f"a ground resolution of {size_m:g} m per pixel",
                expected=f"{ground_resolution_m / MAX_REDUCTION:.3g} to {ground_resolution_m * MAX_ENLARGEMENT:.3g} m "
                f"for a model of {ground_resolution_m:g} m",
                remedy="check the raster's CRS and transform with `geoseg info`, or resample it",
            )
        unit.append(max(1, round(LATTICE_PX * ratio)))
    return PatchLattice(patch_px, halo_px, (unit[0], unit[1]))
