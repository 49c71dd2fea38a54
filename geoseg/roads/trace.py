"""One tile of classes into pieces of centreline that neighbours will continue."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from geoseg.errors import InputError, OptionError
from geoseg.grid import Window
from geoseg.roads.lines import Int16, Int32, Int64, Lines
from geoseg.roads.mask import SMOOTH, Uint8, count_majority, fill_holes, smooth_once
from geoseg.roads.pieces import PLACE, mark_places, measure_width, order_offsets, trace_pieces
from geoseg.roads.scale import BLOCK, SMOOTHINGS, RoadScale
from geoseg.roads.thin import LINKS, THIN, thin_cells
from geoseg.tiles.sealed import read_sealed, write_sealed


@dataclass(frozen=True, eq=False)
class RoadTile(Lines):
    """What tracing leaves of a tile: pieces of lines of cells, flat arrays only.

    Args:
        offsets: (n + 1,) int64, where each of the n pieces starts in the arrays of cells.
        points: (k, 2) int32, (row, col) in half cells of the whole raster: centres of cells are even, those of blocks
            odd. Pieces share the points at which they meet.
        width_m: (k,) float32, width of the road there.
        confidence: (k,) int16, 0 to 255, -1 where unknown.
        blocks: (b, 2) int32, (row, col) of the blocks of `BLOCK` x `BLOCK` cells that touch places too wide for a road;
            a piece that leads into one ends at its centre.
    """

    blocks: Int32

    @classmethod
    def blank(cls) -> RoadTile:
        """A tile without roads."""
        pair = np.zeros((0, 2), np.int32)
        return cls(np.zeros(1, np.int64), pair, np.zeros(0, np.float32), np.zeros(0, np.int16), pair)

    @property
    def is_blank(self) -> bool:
        """Whether there is no road."""
        return not (len(self.points) or len(self.blocks))

    def to_bytes(self) -> bytes:
        """The tile as the content of a safetensors file."""
        return bytes(save({f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)}))

    @classmethod
    def from_bytes(cls, content: bytes) -> RoadTile:
        """The tile that `to_bytes` wrote.

        Raises:
            InputError: the bytes are no road tile.
        """
        try:
            return cls(**{name: array.copy() for name, array in load(content).items()})
        except (SafetensorError, TypeError) as error:
            raise InputError(
                f"bytes that are no road tile ({error})",
                expected="the content of a file written by RoadTile.save",
                remedy="delete the file and trace the tile again",
            ) from error

    def save(self, path: Path) -> None:
        """Write the tile as a sealed safetensors file."""
        write_sealed(path, self.to_bytes())

    @classmethod
    def load(cls, path: Path) -> RoadTile:
        """Read a file that `save` wrote.

        Raises:
            InputError: the file is no road tile, or was damaged.
        """
        return cls.from_bytes(read_sealed(path))


def to_points(blocks: NDArray[np.integer]) -> Int32:
    """(n, 2) int32, the centre in half cells of each of (n, 2) blocks."""
    return (2 * BLOCK * blocks + BLOCK - 1).astype(np.int32)


def trace_road_tile(
    classes: Uint8, confidence: Uint8 | None = None, *, class_id: int, window: Window, core: Window, scale: RoadScale
) -> RoadTile:
    """Trace the centrelines of one tile.

    Pixels become cells by majority. Small holes are filled, notches and bumps of single cells smoothed, and the mask,
    mirrored at the border of the raster, is thinned by a fixed number of rounds. All of this looks no further than
    `scale.reach` cells, so that the pieces of all tiles together do not depend on how the raster was cut.

    Args:
        classes: (h, w) uint8, the tile with its halo.
        confidence: (h, w) uint8, 0 to 255, or None where there is none.
        class_id: the class of roads.
        window: where the h x w pixels lie; at least `scale.halo_px` more than the core, within the raster.
        core: the tile.
        scale: of the raster.

    Raises:
        OptionError: shapes do not fit one another, or the halo is too small.

    Source: thinning by Guo and Hall, Parallel thinning with two-subiteration algorithms (1989), algorithm A1.
    """
    _check_tile(classes, confidence, window=window, core=core, scale=scale)
    own = scale.cells_of(core)
    if own.is_empty or not (classes == class_id).any():
        return RoadTile.blank()
    mask, mean = _read_cells(classes, confidence, class_id=class_id, window=window, own=own, scale=scale)
    fill_holes(mask, scale.hole_cells)
    for _ in range(SMOOTHINGS):
        mask = smooth_once(mask, SMOOTH)
    cells = mask.copy()
    cells[[0, -1]], cells[:, [0, -1]] = 0, 0
    thin_cells(cells, THIN, scale.iterations)
    marks = mark_places(cells)
    reach = scale.reach
    offsets, path = trace_pieces(marks, LINKS, (reach, reach + own.rows, reach, reach + own.cols))
    places = np.stack(np.divmod(path, marks.shape[1]), axis=1)
    shift = np.array([own.row - reach, own.col - reach])
    steps = order_offsets(scale.cell_m, scale.iterations * min(scale.cell_m))
    width = measure_width(mask, places, *steps, scale.cell_m)
    cell = places + shift
    in_place = (marks.ravel()[path] == PLACE)[:, None]
    points = np.where(in_place, to_points(cell // BLOCK), 2 * cell).astype(np.int32)
    thick = np.argwhere(marks[reach:-reach, reach:-reach] == PLACE) + np.array([own.row, own.col])
    blocks = np.unique(thick // BLOCK, axis=0).astype(np.int32)
    return RoadTile(offsets, points, width, mean[places[:, 0], places[:, 1]], blocks)


def _read_cells(
    classes: Uint8, confidence: Uint8 | None, *, class_id: int, window: Window, own: Window, scale: RoadScale
) -> tuple[Uint8, Int16]:
    """Mask and confidence of a tile's cells and of `scale.reach` cells around them, mirrored at the raster's border."""
    needed = own.pad(scale.reach, scale.reach)
    inside = needed.intersect(Window(0, 0, *scale.shape))
    rows, cols = scale.factors
    pixels = Window(inside.row * rows, inside.col * cols, inside.rows * rows, inside.cols * cols)
    part = pixels.intersect(Window(0, 0, *scale.grid_shape)).within(window)
    conf = np.zeros((0, 0), np.uint8) if confidence is None else np.ascontiguousarray(confidence[part])
    mask, mean = count_majority(np.ascontiguousarray(classes[part]), conf, class_id, rows, cols)
    if needed != inside:
        index = np.ix_(
            _mirror(needed.row, needed.row_stop, scale.shape[0]) - inside.row,
            _mirror(needed.col, needed.col_stop, scale.shape[1]) - inside.col,
        )
        mask, mean = mask[index], mean[index]
    return mask, mean


def _mirror(start: int, stop: int, size: int) -> Int64:
    index = np.arange(start, stop) % (2 * size)
    return np.minimum(index, 2 * size - 1 - index)


def _check_tile(classes: Uint8, confidence: Uint8 | None, *, window: Window, core: Window, scale: RoadScale) -> None:
    if classes.dtype != np.uint8 or (confidence is not None and confidence.dtype != np.uint8):
        raise OptionError("a tile that is not uint8", expected="uint8 classes and uint8 confidence")
    if classes.shape != window.shape or (confidence is not None and confidence.shape != window.shape):
        raise OptionError(f"a tile of {classes.shape} pixels for a window of {window.shape}", expected="equal shapes")
    needed = core.pad(*scale.halo_px()).intersect(Window(0, 0, *scale.grid_shape))
    if core.is_empty or needed.intersect(window) != needed:
        raise OptionError(
            f"a tile whose window {window} does not hold its halo", expected=f"at least {needed}", remedy="read more"
        )
