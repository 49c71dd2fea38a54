"""Pieces: chords of arcs, each with the polyline that it replaces."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import kernel, subkernel
from geoseg.polygons.loops import copy_vertices
from geoseg.polygons.rings import Int32, Int64
from geoseg.polygons.thinning import Limits, Splits, demand_splits, find_farthest, thin_polyline

HEAD_SIZE = 6


class Pieces(NamedTuple):
    """Chords of arcs with the polylines between their ends, which they replace.

    The chords of ordinary pieces may be split. Those of rigid pieces, which proposals bring, may not; their ends have
    moved, and their polylines run from the first end to where it came from, on to where the last one came from, and to
    the last one.

    Args:
        coords: (vertices, 2) int32, (row, col) in 1/256 pixels.
        first: (n,) int64, where in `coords` each polyline begins.
        last: (n,) int64, where its last vertex is.
        keys: (n,) int64, of the arcs.
        positions: (n,) int64, of the polylines' first vertices in their arcs; -1 for walls.
        exits: (n,) int64, 8 x the exit at the first end + that at the last: 0 where no arc ends, 1 to 4 for the
            direction (north, east, south, west) in which the arc leaves its junction.
        needs: (n, 2) int64, proposals on which a piece depends: 2 x the proposal + 1 if it has to be active, + 0 if it
            must not; -1 for none.
    """

    coords: Int32
    first: Int64
    last: Int64
    keys: Int64
    positions: Int64
    exits: Int64
    needs: Int64

    @property
    def heads(self) -> Int64:
        """(n, 6) int64, all there is to say about a piece but for its coordinates."""
        sizes = self.last - self.first + 1
        return np.column_stack([sizes, self.keys, self.positions, self.exits, self.needs])

    @classmethod
    def from_heads(cls, coords: Int32, heads: Int64) -> Pieces:
        """The pieces whose coordinates follow one another."""
        ends = np.cumsum(heads[:, 0])
        keys, positions, exits = (np.ascontiguousarray(heads[:, k]) for k in (1, 2, 3))
        return cls(coords, ends - heads[:, 0], ends - 1, keys, positions, exits, np.ascontiguousarray(heads[:, 4:]))

    def select(self, active: NDArray[np.bool_]) -> Pieces:
        """Those of which all that they depend on is as they need it."""
        if (self.needs < 0).all():
            return self
        met = (self.needs < 0) | (active[self.needs >> 1] == (self.needs & 1))
        return take_pieces(self, np.flatnonzero(met.all(axis=1)))


@subkernel
def is_rigid(needs: Int64) -> bool:
    """Whether a piece with these needs ((2,) int64) is rigid."""
    return bool((needs[0] >= 0 and needs[0] & 1) or (needs[1] >= 0 and needs[1] & 1))


@kernel
def split_pieces(pieces: Pieces, splits: Splits, limits: tuple[Limits, Limits]) -> Pieces:
    """The pieces after splits, each where it was in their order."""
    coords, first, last, keys, positions, exits, needs = pieces
    kept = np.zeros(len(coords), np.uint8)
    count = 0
    for k in range(len(keys)):
        count += 1
        if is_rigid(needs[k]):
            continue
        demanded = demand_splits(splits, keys[k], first[k] - positions[k])
        if len(demanded):
            thin_polyline(coords, (first[k], last[k]), limits[keys[k] & 1], demanded, kept)
            kept[first[k]] = kept[last[k]] = 0
            for vertex in range(first[k], last[k]):
                count += kept[vertex]
    out = _reserve_pieces(coords, count)
    n = 0
    for k in range(len(keys)):
        start = first[k]
        for vertex in range(first[k] + 1, last[k] + 1):
            if vertex == last[k] or kept[vertex]:
                out.first[n], out.last[n] = start, vertex
                out.keys[n], out.positions[n] = keys[k], positions[k] + start - first[k]
                head, tail = exits[k] & ~7 if start == first[k] else 0, exits[k] & 7 if vertex == last[k] else 0
                out.exits[n] = head + tail
                out.needs[n, 0], out.needs[n, 1] = needs[k, 0], needs[k, 1]
                start = vertex
                n += 1
    return out


@subkernel
def _reserve_pieces(coords: Int32, count: int) -> Pieces:
    first, last, keys = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.int64)
    positions, exits = np.empty(count, np.int64), np.empty(count, np.int64)
    return Pieces(coords, first, last, keys, positions, exits, np.empty((count, 2), np.int64))


@kernel
def bound_pieces(pieces: Pieces) -> Int32:
    """(n, 4) int32 first row, first col, last row, last col of each piece's polyline."""
    boxes = np.empty((len(pieces.keys), 4), np.int32)
    for k in range(len(boxes)):
        for axis in range(2):
            boxes[k, axis] = boxes[k, 2 + axis] = pieces.coords[pieces.first[k], axis]
        for vertex in range(pieces.first[k] + 1, pieces.last[k] + 1):
            for axis in range(2):
                value = pieces.coords[vertex, axis]
                boxes[k, axis] = min(boxes[k, axis], value)
                boxes[k, 2 + axis] = max(boxes[k, 2 + axis], value)
    return boxes


@kernel
def take_pieces(pieces: Pieces, order: Int64) -> Pieces:
    """The pieces at the positions `order` ((m,) int64), with nothing but their own coordinates."""
    size = 0
    for k in order:
        size += pieces.last[k] - pieces.first[k] + 1
    out = _reserve_pieces(np.empty((size, 2), np.int32), len(order))
    end = 0
    for n in range(len(order)):
        k = order[n]
        out.first[n] = end
        end = copy_vertices(pieces.coords, (pieces.first[k], pieces.last[k] + 1), out.coords, end)
        out.last[n] = end - 1
        out.keys[n], out.positions[n], out.exits[n] = pieces.keys[k], pieces.positions[k], pieces.exits[k]
        out.needs[n, 0], out.needs[n, 1] = pieces.needs[k, 0], pieces.needs[k, 1]
    return out


@kernel
def choose_splits(pieces: Pieces, failed: Int64, limits: tuple[Limits, Limits]) -> Int64:
    """The positions in their arcs of the vertices at which the pieces `failed` ((m,) int64) are to be split."""
    positions = np.empty(len(failed), np.int64)
    for n in range(len(failed)):
        k = failed[n]
        farthest, _ = find_farthest(pieces.coords, pieces.first[k], pieces.last[k], limits[pieces.keys[k] & 1])
        positions[n] = pieces.positions[k] + farthest - pieces.first[k]
    return positions
