"""How a raster is cut into tiles, as plain data, before anything is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from geoseg.grid import GeoGrid, Window


@dataclass(frozen=True, slots=True)
class Tile:
    """One block of work: its (row, col) among the tiles, the pixels it answers for, the pixels it reads."""

    id: tuple[int, int]
    core: Window
    padded: Window

    @property
    def name(self) -> str:
        """The tile's name in file names; sorts row-major."""
        return f"r{self.id[0]:06d}_c{self.id[1]:06d}"


@dataclass(frozen=True)
class TilePlan:
    """The raster's grid cut into cores of `core_px` (rows, cols), each read with `halo_px` (rows, cols) around it.

    Cores are anchored at the raster's origin and cover it without overlap; the last row and column are partial.
    """

    grid: GeoGrid
    core_px: tuple[int, int]
    halo_px: tuple[int, int] = (0, 0)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of tiles (down, across)."""
        return -(-self.grid.rows // self.core_px[0]), -(-self.grid.cols // self.core_px[1])

    def tile(self, row: int, col: int) -> Tile:
        """The tile at (row, col)."""
        rows, cols = self.core_px
        core = Window(row * rows, col * cols, rows, cols).intersect(self.grid.window)
        return Tile((row, col), core, core.pad(*self.halo_px))

    def tiles(self, area: Window | None = None) -> Iterator[Tile]:
        """Row-major, those that touch `area` (default: all)."""
        block = self.grid.window if area is None else self.grid.window.intersect(area)
        if block.is_empty:
            return
        rows, cols = self.core_px
        for row in range(block.row // rows, -(-block.row_stop // rows)):
            for col in range(block.col // cols, -(-block.col_stop // cols)):
                yield self.tile(row, col)

    def neighbours(self, tile: Tile) -> tuple[Tile, ...]:
        """The up to eight tiles that touch a tile's core."""
        down, across = self.shape
        row, col = tile.id
        return tuple(
            self.tile(r, c)
            for r in range(max(0, row - 1), min(down, row + 2))
            for c in range(max(0, col - 1), min(across, col + 2))
            if (r, c) != tile.id
        )

    def peak_bytes(self, *, bytes_per_core_px: float, bytes_per_padded_px: float = 0.0, fixed_bytes: int = 0) -> int:
        """The most memory that one tile's task holds at once, in bytes.

        Args:
            bytes_per_core_px: bytes held for each pixel of the core.
            bytes_per_padded_px: bytes held for each pixel of the padded window.
            fixed_bytes: bytes held whatever the tile's size.
        """
        core = Window(0, 0, min(self.core_px[0], self.grid.rows), min(self.core_px[1], self.grid.cols))
        padded = core.pad(*self.halo_px)
        return int(
            fixed_bytes + bytes_per_core_px * core.rows * core.cols + bytes_per_padded_px * padded.rows * padded.cols
        )
