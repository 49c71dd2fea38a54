"""Outlines with fewer corners: every common boundary is generalised once, out of core, and no topology changes.

In four passes: polygons are stored, and regular outlines proposed for those that shall have them; arcs are thinned,
each arc by itself, and the chords go to the cells that they touch; cell by cell, chords in conflict are split and
proposals in conflict revoked until none is left, in rounds in which all cells look at the same state; then the stored
polygons are drawn with what came out. Before that, the middle passes come once more, for proposals that were revoked,
with the walls that were in the way moved back. No step depends on tiles, batches or cells.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from geoseg.polygons.cells import PieceCells, clip_boxes, touch_boxes
from geoseg.polygons.chains import FloatArray
from geoseg.polygons.conflicts import SPLIT, Window4, find_conflicts
from geoseg.polygons.coverage import Coverage, Outlines
from geoseg.polygons.junctions import REVOKE_FIRST, REVOKE_SECOND
from geoseg.polygons.pieces import Pieces, bound_pieces, choose_splits, split_pieces, take_pieces
from geoseg.polygons.rings import Int32, Int64, PolygonBatch
from geoseg.polygons.thinning import Splits

CELL_BUCKETS = 256


def generalise_coverage(
    batches: Iterable[PolygonBatch],
    directory: Path,
    *,
    tolerance_m: float,
    pixel_m: tuple[float, float],
    smooth: Collection[int] = (),
    regularize: Collection[int] = (),
    detail_m: float = 0.0,
    cell_buckets: int = CELL_BUCKETS,
) -> Iterator[PolygonBatch]:
    """Replace pixel staircases by few straight edges; neighbours keep their common boundary.

    No boundary crosses or touches another one, nothing changes sides, no polygon and no hole is lost, and what lies
    along the raster's border stays there. No boundary moves by more than the tolerance, but for the rings that get
    straight walls: their corners lie within four pixels of the staircase, or twice the tolerance if that is more, and
    what ends at them follows. Memory: a batch, a cell, 16 bytes for each split that a conflict demands, and what
    `Proposals` holds.

    Args:
        batches: all polygons of a raster, with marks (`trace_tile(..., marked=True)`).
        directory: an existing directory, in which polygons and chords are kept until the iteration ends.
        tolerance_m: the farthest that any point of a boundary may move, in metres.
        pixel_m: (height, width) of a pixel in metres.
        smooth: ids of classes with curved outlines: boundaries between them are smoothed before they are thinned.
        regularize: ids of classes whose polygons get few straight walls, right-angled where the staircase allows it.
        detail_m: size of the smallest thing that the classes show, in metres, where that is larger than a pixel: walls
            are judged by it.
        cell_buckets: length of a cell's side, in units of 8 pixels; without influence on what comes out.

    Yields:
        The batches in their order, without marks; coordinates are in 1/256 pixels (`SUBPIXELS`), so that
        `batch.geometries(transform * Affine.scale(1 / SUBPIXELS))` gives world coordinates.
    """
    outlines = Outlines(tolerance_m, pixel_m, smooth, regularize, detail_m)
    with TemporaryDirectory(dir=directory, prefix="generalise-") as folder:
        coverage = Coverage(Path(folder), outlines)
        for batch in batches:
            coverage.add(batch)
        coverage.propose(without=np.zeros(0, np.int64))
        splits = _settle(coverage, cell_buckets, Splits.none())
        if coverage.propose_again():
            splits = _settle(coverage, cell_buckets, splits)
        yield from coverage.draw(splits)


class _Found(NamedTuple):
    """What has to change: vertices that arcs must keep; proposals to revoke, and where they are in the way; boxes."""

    keys: Int64
    positions: Int64
    revoked: Int64
    hits: Int32
    boxes: Int32


def _settle(coverage: Coverage, cell_buckets: int, splits: Splits) -> Splits:
    with TemporaryDirectory(dir=coverage.folder, prefix="cells-") as folder:
        cells, changed = coverage.list_pieces(PieceCells(Path(folder), cell_buckets)), None
        while changed is None or len(changed):
            splits = _resolve_conflicts(cells, coverage, splits, changed)
            changed = coverage.revoke_turned(splits)
    return splits


def _find_hits(pieces: Pieces, depths: FloatArray, chosen: Int64, slot: int) -> tuple[Int64, Int32]:
    """Where what chosen pieces depend on is in the way: numbers of proposals ((n,)), and (n, 2) places.

    Beside the middles of walls, as far off as what is in their way, or on them; of other pieces the end that moves.
    """
    first, last = pieces.coords[pieces.first[chosen]], pieces.coords[pieces.last[chosen]]
    is_wall = (pieces.positions[chosen] < 0)[:, None]
    depth = np.where(is_wall, depths[chosen], [0.0, np.nan, np.nan])
    along = (last - first) / np.maximum(np.hypot(*(last - first).T), 1)[:, None]
    across = np.stack([along[:, 1], -along[:, 0]], axis=1)
    start = np.where(is_wall, (first + last) / 2, last if slot else first)
    piece, kind = np.nonzero(~np.isnan(depth))
    places = np.rint(start[piece] + depth[piece, kind, None] * across[piece]).astype(np.int32)
    return pieces.needs[chosen, slot][piece] >> 1, places


def _resolve_conflicts(cells: PieceCells, coverage: Coverage, splits: Splits, changed: Int32 | None) -> Splits:
    # What a split changes lies within the box of the piece that was split. Elsewhere nothing new can be in conflict.
    while changed is None or len(changed):
        found = []
        for number, window in cells.windows():
            near = None if changed is None else clip_boxes(changed, window)
            if near is None or len(near):
                found.append(_check_cell(cells.read(number), window, near, splits, coverage))
        if not found:
            break
        all_found = _Found(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
        # Splits wait until no proposal has to go: many of them are then no longer needed.
        if len(all_found.revoked):
            changed = np.concatenate([all_found.boxes, coverage.revoke(all_found.revoked, all_found.hits)])
        else:
            places = np.unique(np.stack([all_found.keys, all_found.positions], axis=1), axis=0)
            splits, changed = splits.add(places[:, 0], places[:, 1]), all_found.boxes
    return splits


def _check_cell(pieces: Pieces, window: Window4, changed: Int32 | None, splits: Splits, coverage: Coverage) -> _Found:
    outlines, active = coverage.outlines, coverage.proposals.active
    pieces = pieces.select(active)
    if changed is not None:
        pieces = take_pieces(pieces, touch_boxes(bound_pieces(pieces), changed, window))
    pieces = split_pieces(pieces, splits, outlines.limits)
    failed, depths = find_conflicts(pieces, window, outlines.reach)
    split = np.flatnonzero(failed & SPLIT)
    to_revoke = (np.flatnonzero(failed & flag) for flag in (REVOKE_FIRST, REVOKE_SECOND))
    hits = [_find_hits(pieces, depths, chosen, slot) for slot, chosen in enumerate(to_revoke)]
    revoked, places = (np.concatenate(parts) for parts in zip(*hits, strict=True))
    return _Found(
        pieces.keys[split],
        choose_splits(pieces, split, outlines.limits),
        revoked,
        places,
        np.unique(bound_pieces(pieces)[split], axis=0),
    )
