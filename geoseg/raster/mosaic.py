"""Many class rasters seen as one: per pixel the scene that takes precedence."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.errors import InputError, OptionError
from geoseg.grid import GeoGrid, Window
from geoseg.legend import ClassLegend
from geoseg.raster.aoi import AreaOfInterest
from geoseg.raster.member import MosaicMember, parse_datetime
from geoseg.raster.positions import find_bounds, find_offset, find_pixels

Precedence = Literal["newest", "first", "confidence"]
ALIGNED_PX = 1024
BLOCK_PX = 512
BLOCK_BYTES = 96 * 1024 * 1024
"""What warping a block holds beside the window: positions, and the pixels of a scene below it, at most."""

NONE = -1
"""Stands for a member where there is none."""

Uint8 = NDArray[np.uint8]
Int32 = NDArray[np.int32]


class MosaicBlock(NamedTuple):
    """Classes and confidence uint8, and the numbers of the members they are of, int32, all (rows, cols)."""

    classes: Uint8
    confidence: Uint8
    members: Int32


@dataclass(frozen=True)
class ClassMosaic:
    """Class rasters on one grid, each warped by nearest neighbour; picklable, holds no open file.

    A pixel has the class and the confidence of one pixel of the member that wins: with "newest" the one of the latest
    datetime (unknown ones are the oldest), with "first" the first one, with "confidence" the one of the highest
    confidence; of equals the first one given. What is unknown in a member never wins.

    Attributes:
        grid: of the mosaic.
        members: the scenes, in the order given; their legends agree.
        precedence: which of several wins.
        aoi: on `grid`; pixels whose centres lie outside are unknown.
        within: another grid; pixels whose centres lie outside of it are unknown.
    """

    grid: GeoGrid
    members: tuple[MosaicMember, ...]
    precedence: Precedence = "newest"
    aoi: AreaOfInterest | None = None
    within: GeoGrid | None = None

    def __post_init__(self) -> None:
        if self.precedence not in get_args(Precedence):
            raise OptionError(f"--precedence {self.precedence}", expected=", ".join(get_args(Precedence)))
        if not self.members:
            raise InputError("a mosaic of no scene", expected="at least one")
        first = self.members[0]
        for member in self.members:
            if member.legend.classes != first.legend.classes:
                raise InputError(
                    f"{member.classes.source.path} has other classes than {first.classes.source.path}",
                    expected="scenes segmented by models with the same legend",
                    remedy="segment all scenes with one model",
                )

    @cached_property
    def legend(self) -> ClassLegend:
        """The members' classes, and an id for unknown pixels that none of them has."""
        classes = self.members[0].legend.classes
        return ClassLegend(classes, max(set(range(256)) - {c.id for c in classes}))

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any member, their order, the grid and every choice above."""
        digest = hashlib.sha256()
        for member in self.members:
            parts = (member.classes.fingerprint, member.confidence.fingerprint, member.scene, member.datetime)
            digest.update(repr(parts).encode())
        chosen = (self.grid, self.precedence, self.within, self.aoi and self.aoi.fingerprint)
        digest.update(repr(chosen).encode())
        return digest.hexdigest()

    def read(self, window: Window) -> tuple[Uint8, Uint8] | None:
        """Class ids and confidence, uint8 (rows, cols) of a window; None where no pixel is known.

        Raises:
            InputError: a member cannot be read there.
        """
        block = self.read_block(window)
        return block and (block.classes, block.confidence)

    def read_block(self, window: Window) -> MosaicBlock | None:
        """The same, and which member each pixel is of, -1 where it is unknown. Safe from any thread.

        Raises:
            InputError: a member cannot be read there.
        """
        found = self._find_members(window)
        if not found:
            return None
        wanted = self._find_wanted(window)
        if not wanted.any():
            return None
        block = MosaicBlock(
            np.full(window.shape, self.legend.nodata, np.uint8),
            np.zeros(window.shape, np.uint8),
            np.full(window.shape, NONE, np.int32),
        )
        for number in found:
            common = window.intersect(self._bounds[number])
            inside = common.within(window)
            free = wanted[inside]
            if self.precedence != "confidence":
                free = free & (block.members[inside] == NONE)
            if free.any():
                self._lay(
                    number,
                    MosaicBlock(block.classes[inside], block.confidence[inside], block.members[inside]),
                    common,
                    free,
                )
        return block if (block.members != NONE).any() else None

    def find_tiles(self, core_px: tuple[int, int]) -> NDArray[np.bool_]:
        """Which tiles of the grid hold a pixel of a member's bounds, bool (down, across)."""
        rows, cols = core_px
        touched = np.zeros((-(-self.grid.rows // rows), -(-self.grid.cols // cols)), bool)
        for bounds in self._bounds:
            part = bounds if self.aoi is None else bounds.intersect(self.aoi.window)
            if not part.is_empty:
                touched[part.row // rows : -(-part.row_stop // rows), part.col // cols : -(-part.col_stop // cols)] = (
                    True
                )
        return touched

    def _lay(self, number: int, block: MosaicBlock, window: Window, free: NDArray[np.bool_]) -> None:
        """Put one member's pixels into the block, of a window within its bounds, where they win."""
        for part, classes, confidence, known in _read_member(self.members[number], self.grid, window, free):
            here = part.within(window)
            wins = known & free[here]
            if self.precedence == "confidence":
                wins &= (block.members[here] == NONE) | (confidence > block.confidence[here])
            np.copyto(block.classes[here], classes, where=wins)
            np.copyto(block.confidence[here], confidence, where=wins)
            np.copyto(block.members[here], np.int32(number), where=wins)

    def _find_members(self, window: Window) -> list[int]:
        """Those whose bounds touch a window, the ones that take precedence first."""
        near = self._tree.query(_to_box(window)).tolist()
        touching = (number for number in near if not window.intersect(self._bounds[number]).is_empty)
        return sorted(touching, key=self._ranks.__getitem__)

    def _find_wanted(self, window: Window) -> NDArray[np.bool_]:
        wanted = np.ones(window.shape, bool) if self.aoi is None else self.aoi.mask(window)
        if self.within is not None:
            for part in _cut_blocks(window, BLOCK_PX):
                rows, cols = find_pixels(self.grid, self.within, part)
                wanted[part.within(window)] &= _lie_on(self.within, rows, cols)
        return wanted

    @cached_property
    def _bounds(self) -> tuple[Window, ...]:
        return tuple(find_bounds(self.grid, member.classes.grid) for member in self.members)

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree([_to_box(bounds) for bounds in self._bounds])

    @cached_property
    def _ranks(self) -> list[int]:
        order = list(range(len(self.members)))
        if self.precedence == "newest":
            times = [parse_datetime(member.datetime) for member in self.members]
            order.sort(key=times.__getitem__, reverse=True)  # which keeps the order of equals
        ranks = [0] * len(order)
        for rank, number in enumerate(order):
            ranks[number] = rank
        return ranks

    def __getstate__(self) -> dict[str, object]:
        return {k: v for k, v in self.__dict__.items() if k != "_tree"}


def _read_member(
    member: MosaicMember, grid: GeoGrid, window: Window, free: NDArray[np.bool_]
) -> Iterator[tuple[Window, Uint8, Uint8, NDArray[np.bool_]]]:
    """Classes, confidence and which of them are known, of those parts of a window where a pixel is free."""
    source = member.classes.grid
    offset = find_offset(grid, source)
    for part in _cut_blocks(window, ALIGNED_PX if offset else _choose_side(grid, source)):
        if not free[part.within(window)].any():
            continue
        if offset is not None:
            taken = part.shift(*offset).intersect(source.window)
            if not taken.is_empty:
                yield taken.shift(-offset[0], -offset[1]), *member.read(taken)
            continue
        rows, cols = find_pixels(grid, source, part)
        there = _lie_on(source, rows, cols) & free[part.within(window)]
        if there.any():
            r, c = rows[there], cols[there]
            taken = Window(int(r.min()), int(c.min()), int(np.ptp(r)) + 1, int(np.ptp(c)) + 1)
            classes, confidence, known = (
                _spread(values[r - taken.row, c - taken.col], there) for values in member.read(taken)
            )
            yield part, classes, confidence, known


def _spread(values: NDArray[Any], there: NDArray[np.bool_]) -> NDArray[Any]:
    spread = np.zeros(there.shape, values.dtype)
    spread[there] = values
    return spread


def _choose_side(grid: GeoGrid, source: GeoGrid) -> int:
    """Side of the blocks below which a block of the source is of a size to be held."""
    fine, coarse = min(source.ground_resolution_m()), max(grid.ground_resolution_m())
    return max(16, int(BLOCK_PX / max(1.0, coarse / fine / 2)))


def _cut_blocks(window: Window, side: int) -> Iterator[Window]:
    for row in range(window.row // side * side, window.row_stop, side):
        for col in range(window.col // side * side, window.col_stop, side):
            yield Window(row, col, side, side).intersect(window)


def _lie_on(grid: GeoGrid, rows: Int32, cols: Int32) -> NDArray[np.bool_]:
    return (rows >= 0) & (rows < grid.rows) & (cols >= 0) & (cols < grid.cols)


def _to_box(window: Window) -> shapely.Polygon:
    return shapely.box(window.col, window.row, window.col_stop, window.row_stop)
