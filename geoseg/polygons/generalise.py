"""Outlines with fewer corners: every common boundary is generalised once, out of core, and no topology changes.

In four passes: polygons are stored and their arcs thinned, each arc by itself; the chords go to the cells that they
touch; cell by cell, chords in conflict are split until none is left, in rounds in which all cells look at the same
state; then the stored polygons are thinned again, with these splits. No step depends on tiles, batches or cells.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from geoseg.polygons.arcs import SUBPIXELS, Arcs, cut_arcs, link_arcs
from geoseg.polygons.cells import PieceCells, clip_boxes, touch_boxes
from geoseg.polygons.conflicts import Window4, find_conflicts
from geoseg.polygons.drawing import draw_arcs, find_radius
from geoseg.polygons.pieces import Pieces, bound_pieces, choose_splits, list_pieces, split_pieces, take_pieces
from geoseg.polygons.rings import Int32, Int64, PolygonBatch, Uint8
from geoseg.polygons.stored import BatchFile
from geoseg.polygons.thinning import Limits, Splits, thin_arcs

CELL_BUCKETS = 256
# Smooth outlines are thinned with a quarter of the tolerance, so that they still look curved.
SMOOTH_SHARE = 4


def generalise_coverage(
    batches: Iterable[PolygonBatch],
    directory: Path,
    *,
    tolerance_m: float,
    pixel_m: tuple[float, float],
    smooth: Collection[int] = (),
    cell_buckets: int = CELL_BUCKETS,
) -> Iterator[PolygonBatch]:
    """Replace pixel staircases by few straight edges; neighbours keep their common boundary.

    No boundary moves by more than the tolerance, none crosses or touches another one, nothing changes sides, no polygon
    and no hole is lost. What lies along the raster's border stays there. Memory: a batch, a cell, and 16 bytes for each
    split that a conflict demands.

    Args:
        batches: all polygons of a raster, with marks (`trace_tile(..., marked=True)`).
        directory: an existing directory, in which polygons and chords are kept until the iteration ends.
        tolerance_m: the farthest that any point of a boundary may move, in metres.
        pixel_m: (height, width) of a pixel in metres.
        smooth: ids of classes with curved outlines: boundaries between them are smoothed before they are thinned.
        cell_buckets: length of a cell's side, in units of 8 pixels; without influence on what comes out.

    Yields:
        The batches in their order, without marks; coordinates are in 1/256 pixels (`SUBPIXELS`), so that
        `batch.geometries(transform * Affine.scale(1 / SUBPIXELS))` gives world coordinates.
    """
    outlines = _Outlines(tolerance_m, pixel_m, smooth)
    with TemporaryDirectory(dir=directory, prefix="generalise-") as folder:
        stored = BatchFile(Path(folder) / "polygons")
        cells = PieceCells(Path(folder), cell_buckets)
        for batch in batches:
            stored.append(batch)
            cells.add(outlines.list_pieces(batch))
        cells.flush()
        splits = _resolve_conflicts(cells, outlines)
        for batch in stored.read():
            yield outlines.draw(batch, splits)


class _Outlines:
    """Arcs drawn from polygons alone: the same for both neighbours, in whatever batch they are."""

    def __init__(self, tolerance_m: float, pixel_m: tuple[float, float], smooth: Collection[int]) -> None:
        row_m, col_m = (size / SUBPIXELS for size in pixel_m)
        self.limits = (
            Limits(float(tolerance_m), float(tolerance_m), row_m, col_m),
            Limits(float(tolerance_m), tolerance_m / SMOOTH_SHARE, row_m, col_m),
        )
        # What is drawn lies within a pixel of the staircase, which lies within the tolerance of the chord.
        self.reach = (SUBPIXELS + math.ceil(tolerance_m / row_m), SUBPIXELS + math.ceil(tolerance_m / col_m))
        self._radius = find_radius(tolerance_m, pixel_m)
        self._smooth = tuple(smooth)

    def _thin(self, batch: PolygonBatch, splits: Splits) -> tuple[Arcs, Uint8]:
        arcs = cut_arcs(batch, self._smooth)
        if self._radius > 0:
            arcs = draw_arcs(arcs, self._radius)
        return arcs, thin_arcs(arcs, splits, self.limits)

    def list_pieces(self, batch: PolygonBatch) -> Pieces:
        return list_pieces(*self._thin(batch, Splits.none()))

    def draw(self, batch: PolygonBatch, splits: Splits) -> PolygonBatch:
        coords, ring_offsets = link_arcs(*self._thin(batch, splits))
        return replace(batch, coords=coords, ring_offsets=ring_offsets)


def _resolve_conflicts(cells: PieceCells, outlines: _Outlines) -> Splits:
    # What a split changes lies within the box of the piece that was split. Elsewhere nothing new can be in conflict.
    splits = Splits.none()
    changed: Int32 | None = None
    while changed is None or len(changed):
        found = []
        for number, window in cells.windows():
            near = None if changed is None else clip_boxes(changed, window)
            if near is None or len(near):
                found.append(_check_cell(cells.read(number), window, near, splits, outlines))
        keys, positions, boxes = (np.concatenate(parts) for parts in zip(*found, strict=True)) if found else _NOTHING
        places, first = np.unique(np.stack([keys, positions], axis=1), axis=0, return_index=True)
        splits, changed = splits.add(places[:, 0], places[:, 1]), boxes[first]
    return splits


_NOTHING = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4), np.int32))


def _check_cell(
    pieces: Pieces, window: Window4, changed: Int32 | None, splits: Splits, outlines: _Outlines
) -> tuple[Int64, Int64, Int32]:
    if changed is not None:
        pieces = take_pieces(pieces, touch_boxes(bound_pieces(pieces), changed, window))
    pieces = split_pieces(pieces, splits, outlines.limits)
    failed = np.flatnonzero(find_conflicts(pieces, window, outlines.reach))
    return pieces.keys[failed], choose_splits(pieces, failed, outlines.limits), bound_pieces(pieces)[failed]
