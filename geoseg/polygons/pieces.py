"""Pieces: chords of arcs, each with the polyline that it replaces."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.polygons.kernel import kernel
from geoseg.polygons.rings import Int32, Int64
from geoseg.polygons.thinning import Limits, Splits, find_farthest, thin_polyline

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
        positions: (n,) int64, of the polylines' first vertices in their arcs.
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


@kernel
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
        low = np.searchsorted(splits.keys, keys[k], side="left")
        if low < len(splits.keys) and splits.keys[low] == keys[k]:
            high = low + np.searchsorted(splits.keys[low:], keys[k], side="right")
            demanded = splits.positions[low:high] - positions[k] + first[k]
            thin_polyline(coords, (first[k], last[k]), limits[keys[k] & 1], demanded, kept)
            kept[first[k]] = kept[last[k]] = 0
            count += int(np.sum(kept[first[k] : last[k]]))
    new_first, new_last = np.empty(count, np.int64), np.empty(count, np.int64)
    owner = np.empty(count, np.int64)
    n = 0
    for k in range(len(keys)):
        start = first[k]
        for vertex in range(first[k] + 1, last[k] + 1):
            if vertex == last[k] or kept[vertex]:
                new_first[n], new_last[n], owner[n] = start, vertex, k
                start = vertex
                n += 1
    new_positions = positions[owner] + new_first - first[owner]
    new_exits = np.where(new_first == first[owner], exits[owner] & ~7, 0)
    new_exits += np.where(new_last == last[owner], exits[owner] & 7, 0)
    return Pieces(coords, new_first, new_last, keys[owner], new_positions, new_exits, needs[owner])


@kernel
def bound_pieces(pieces: Pieces) -> Int32:
    """(n, 4) int32 first row, first col, last row, last col of each piece's polyline."""
    boxes = np.empty((len(pieces.keys), 4), np.int32)
    for k in range(len(boxes)):
        boxes[k, :2] = boxes[k, 2:] = pieces.coords[pieces.first[k]]
        for vertex in range(pieces.first[k] + 1, pieces.last[k] + 1):
            for axis in range(2):
                value = pieces.coords[vertex, axis]
                boxes[k, axis] = min(boxes[k, axis], value)
                boxes[k, 2 + axis] = max(boxes[k, 2 + axis], value)
    return boxes


@kernel
def take_pieces(pieces: Pieces, order: Int64) -> Pieces:
    """The pieces at the positions `order` ((m,) int64), with nothing but their own coordinates."""
    first, last = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
    n = 0
    for k in range(len(order)):
        first[k] = n
        n += pieces.last[order[k]] - pieces.first[order[k]] + 1
        last[k] = n - 1
    coords = np.empty((n, 2), np.int32)
    for k in range(len(order)):
        shift = pieces.first[order[k]] - first[k]
        for vertex in range(first[k], last[k] + 1):
            coords[vertex, 0], coords[vertex, 1] = pieces.coords[vertex + shift, 0], pieces.coords[vertex + shift, 1]
    return Pieces(
        coords, first, last, pieces.keys[order], pieces.positions[order], pieces.exits[order], pieces.needs[order]
    )


@kernel
def choose_splits(pieces: Pieces, failed: Int64, limits: tuple[Limits, Limits]) -> Int64:
    """The positions in their arcs of the vertices at which the pieces `failed` ((m,) int64) are to be split."""
    positions = np.empty(len(failed), np.int64)
    for n in range(len(failed)):
        k = failed[n]
        farthest, _ = find_farthest(pieces.coords, pieces.first[k], pieces.last[k], limits[pieces.keys[k] & 1])
        positions[n] = pieces.positions[k] + farthest - pieces.first[k]
    return positions
