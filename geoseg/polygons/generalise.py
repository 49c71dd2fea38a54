"""Outlines with fewer corners: every common boundary is generalised once, out of core, and no topology changes.

In four passes: polygons are stored, and regular outlines proposed for those that shall have them; arcs are thinned,
each arc by itself, and the chords go to the cells that they touch; cell by cell, chords in conflict are split and
proposals in conflict revoked until none is left, in rounds in which all cells look at the same state; then the stored
polygons are drawn with what came out. Before that, the middle passes come once more, for proposals that were revoked,
with the walls that were in the way moved back. No step depends on tiles, batches or cells.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.polygons.arcs import SUBPIXELS, Arcs, cut_arcs, link_arcs, sign_rings
from geoseg.polygons.cells import PieceCells, clip_boxes, touch_boxes
from geoseg.polygons.chains import FloatArray
from geoseg.polygons.conflicts import SPLIT, Window4, find_conflicts
from geoseg.polygons.drawing import draw_arcs, find_radius
from geoseg.polygons.footprints import Footprints, Frame, Hits, Walls, draw_footprints
from geoseg.polygons.groups import Groups
from geoseg.polygons.junctions import REVOKE_FIRST, REVOKE_SECOND
from geoseg.polygons.listing import list_pieces, place_arcs
from geoseg.polygons.marks import MARK_BITS
from geoseg.polygons.pieces import Pieces, bound_pieces, choose_splits, split_pieces, take_pieces
from geoseg.polygons.proposals import Links, Proposals
from geoseg.polygons.rings import Int32, Int64, PolygonBatch, Uint8
from geoseg.polygons.stored import RecordFile
from geoseg.polygons.thinning import Limits, Splits, thin_arcs

CELL_BUCKETS = 256
# Smooth outlines are thinned with a quarter of the tolerance, so that they still look curved.
SMOOTH_SHARE = 4
# A regular corner may be this far from its staircase, or twice the tolerance; not for pixels less square than this.
REGULAR_PX, REGULAR_SHARE, LEAST_SQUARE = 4.0, 2.0, 2.0


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
    outlines = _Outlines(tolerance_m, pixel_m, smooth, regularize, detail_m)
    with TemporaryDirectory(dir=directory, prefix="generalise-") as folder:
        coverage = _Coverage(Path(folder), outlines)
        for batch in batches:
            coverage.add(batch)
        coverage.propose(without=np.zeros(0, np.int64))
        splits = _settle(coverage, cell_buckets, Splits.none())
        if coverage.propose_again():
            splits = _settle(coverage, cell_buckets, splits)
        yield from coverage.draw(splits)


class _Outlines:
    """Arcs drawn from polygons alone: the same for both neighbours, in whatever batch they are."""

    def __init__(
        self,
        tolerance_m: float,
        pixel_m: tuple[float, float],
        smooth: Collection[int],
        regularize: Collection[int],
        detail_m: float,
    ) -> None:
        row_m, col_m = (size / SUBPIXELS for size in pixel_m)
        self.limits = (
            Limits(float(tolerance_m), float(tolerance_m), row_m, col_m),
            Limits(float(tolerance_m), tolerance_m / SMOOTH_SHARE, row_m, col_m),
        )
        # What is drawn lies within a pixel of the staircase, which lies within the tolerance of the chord.
        self.reach = (SUBPIXELS + math.ceil(tolerance_m / row_m), SUBPIXELS + math.ceil(tolerance_m / col_m))
        self._radius = find_radius(tolerance_m, pixel_m)
        self._smooth = tuple(smooth)
        least = min(pixel_m)
        unit_m = max(least, detail_m)
        regular_px = max(REGULAR_PX, REGULAR_SHARE * tolerance_m / unit_m)
        self._regular = ((pixel_m[0] / unit_m, pixel_m[1] / unit_m), regular_px)
        self.regularize = tuple(regularize) if max(pixel_m) <= LEAST_SQUARE * least else ()

    def group(self, batches: Iterable[PolygonBatch], border: tuple[int, int, int, int]) -> Groups:
        groups = Groups(Frame(*self._regular, border))
        for batch in batches:
            groups.add(batch, self._find_wanted(batch), cut_arcs(batch, self._smooth))
        groups.settle()
        return groups

    def propose(self, batch: PolygonBatch, groups: Groups, hits: Hits) -> tuple[Footprints, Footprints | None]:
        arcs = cut_arcs(batch, self._smooth)
        grouped, found = groups.take(batch, arcs)
        alone = (self._find_wanted(batch) & ~grouped).astype(np.uint8)
        return draw_footprints(batch.coords, batch.ring_offsets, alone, arcs, groups.frame, hits), found

    def _find_wanted(self, batch: PolygonBatch) -> NDArray[np.bool_]:
        return np.isin(np.repeat(batch.class_id, np.diff(batch.polygon_offsets)), self.regularize)

    def draw(self, batch: PolygonBatch) -> Arcs:
        arcs = cut_arcs(batch, self._smooth)
        return draw_arcs(arcs, self._radius) if self._radius > 0 else arcs

    def thin(self, arcs: Arcs, splits: Splits, links: Links) -> Uint8:
        return thin_arcs(arcs, splits, self.limits, links.cuts)


class _Coverage:
    """All polygons on disk, and what is proposed for them."""

    def __init__(self, folder: Path, outlines: _Outlines) -> None:
        self.folder, self.outlines = folder, outlines
        self._polygons = RecordFile(folder / "polygons")
        self._last, self._is_open = [0, 0], [False, False]
        self._hits = Hits(np.zeros(0, np.int64), np.zeros((0, 2), np.int32))

    def add(self, batch: PolygonBatch) -> None:
        self._polygons.append(list(batch.arrays().values()))
        if len(batch):
            for axis, values in enumerate((batch.coords[:, 0], batch.coords[:, 1] >> MARK_BITS)):
                last = int(values.max())
                is_open = bool((batch.coords[values == last, 1] & 1 == 0).any())
                if last > self._last[axis]:
                    self._last[axis], self._is_open[axis] = last, is_open
                elif last == self._last[axis]:
                    self._is_open[axis] |= is_open

    def propose(self, *, without: Int64) -> None:
        """Propose outlines, but for groups and rings `without` ((n,) int64 keys)."""
        self.proposals = Proposals()
        self._walls = RecordFile(self.folder / "walls")
        # Along the border of the raster all vertices are junctions. Where one is not, there is no border.
        last_row, last_col = (2**30 if free else last for last, free in zip(self._last, self._is_open, strict=True))
        batches = (PolygonBatch(*arrays) for arrays in self._polygons.read())
        groups = self.outlines.group(batches, (0, 0, last_row, last_col))
        for arrays in self._polygons.read():
            alone, together = self.outlines.propose(PolygonBatch(*arrays), groups, self._hits)
            self._walls.append(self.proposals.add(alone))
            if together is not None:
                self.proposals.add(together)
        self.proposals.settle(without)

    def propose_again(self) -> bool:
        """Propose all outlines once more, those that were revoked with the walls that were in the way moved back.

        Returns:
            Whether any was revoked for a wall.
        """
        lost, hits = self.proposals.list_revoked(), self._hits
        order = np.argsort(hits.keys, kind="stable")
        self._hits = Hits(hits.keys[order], hits.places[order])
        self.propose(without=lost[~np.isin(lost, hits.keys)])
        return bool(len(hits.keys))

    def revoke(self, found: _Found) -> Int32:
        """Give up what was found to be in the way; the boxes of what was in force."""
        keys = self.proposals.find_keys(found.revoked)
        self._hits = Hits(np.concatenate([self._hits.keys, keys]), np.concatenate([self._hits.places, found.hits]))
        return self.proposals.revoke(found.revoked)

    def _read(self) -> Iterator[tuple[PolygonBatch, Walls]]:
        for arrays, walls in zip(self._polygons.read(), self._walls.read(), strict=True):
            yield PolygonBatch(*arrays), Walls(*walls)

    def list_pieces(self, cells: PieceCells) -> PieceCells:
        for batch, walls in self._read():
            arcs = self.outlines.draw(batch)
            links = self.proposals.link(arcs, walls)
            pieces = list_pieces(arcs, self.outlines.thin(arcs, Splits.none(), links), links)
            self.proposals.reach(pieces)
            cells.add(pieces)
        cells.flush()
        return cells

    def draw(self, splits: Splits) -> Iterator[PolygonBatch]:
        for batch, walls in self._read():
            yield self._draw(batch, walls, splits)[0]

    def _draw(self, batch: PolygonBatch, walls: Walls, splits: Splits) -> tuple[PolygonBatch, Links]:
        arcs = self.outlines.draw(batch)
        links = self.proposals.link(arcs, walls)
        kept = self.outlines.thin(arcs, splits, links)
        coords, ring_offsets = link_arcs(place_arcs(arcs, kept, links, self.proposals.active.view(np.uint8)))
        return replace(batch, coords=coords, ring_offsets=ring_offsets), links

    def revoke_turned(self, splits: Splits) -> Int32:
        """Give up the proposals around rings that are inside out; where that changes something.

        Conflicts do not tell: a ring that turns over although nothing has changed sides of its arcs.
        """
        turned = []
        for batch, walls in self._read() if len(self.proposals.active) else ():
            drawn, links = self._draw(batch, walls, splits)
            before = sign_rings(batch.coords >> np.array([0, MARK_BITS], np.int32), batch.ring_offsets)
            rings = np.flatnonzero(before != sign_rings(drawn.coords, drawn.ring_offsets))
            if len(rings):
                turned.append(links.find_owners(rings, cut_arcs(batch).ring_offsets))
        return self.proposals.revoke(np.concatenate([np.zeros(0, np.int64), *turned]))


class _Found(NamedTuple):
    """What has to change: vertices that arcs must keep; proposals to revoke, and where they are in the way; boxes."""

    keys: Int64
    positions: Int64
    revoked: Int64
    hits: Int32
    boxes: Int32


def _settle(coverage: _Coverage, cell_buckets: int, splits: Splits) -> Splits:
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


def _resolve_conflicts(cells: PieceCells, coverage: _Coverage, splits: Splits, changed: Int32 | None) -> Splits:
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
            changed = np.concatenate([all_found.boxes, coverage.revoke(all_found)])
        else:
            places = np.unique(np.stack([all_found.keys, all_found.positions], axis=1), axis=0)
            splits, changed = splits.add(places[:, 0], places[:, 1]), all_found.boxes
    return splits


def _check_cell(pieces: Pieces, window: Window4, changed: Int32 | None, splits: Splits, coverage: _Coverage) -> _Found:
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
