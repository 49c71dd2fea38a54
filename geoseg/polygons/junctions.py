"""Junctions that move, or whose arcs lead to such: whether arcs leave them as they did; and who gives way if not."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from geoseg.kernel import subkernel
from geoseg.polygons.chains import FloatArray
from geoseg.polygons.loops import sort_stably
from geoseg.polygons.pieces import Pieces, is_rigid
from geoseg.polygons.rings import Int64, Uint8
from geoseg.polygons.segments import Vertex, vertex_at

REVOKE_FIRST, REVOKE_SECOND = 2, 4

Found: TypeAlias = tuple[Uint8, FloatArray]
"""What fails, and how far what is in the way of a wall reaches beyond it: results of `conflicts.find_conflicts`."""


# The proposal on which both depend, else the later one: the choice is the same in every cell.
@subkernel
def revoke_one(pieces: Pieces, one: int, two: int, found: Found, known: bool) -> None:
    """Add REVOKE_FIRST or REVOKE_SECOND to the one of two pieces that depends on the proposal to revoke.

    Args:
        pieces: all.
        one: number of a piece.
        two: number of another one, or the same.
        found: what to add it to.
        known: whether it is known how far what is in the way reaches.
    """
    failed, depths = found
    chosen, is_common = np.int64(-1), False
    for slot in (0, 1):
        for piece, partner in ((one, two), (two, one)):
            need = pieces.needs[piece, slot]
            if need < 0 or not need & 1:
                continue
            common = need == pieces.needs[partner, 0] or need == pieces.needs[partner, 1]
            if (common and not is_common) or (common == is_common and need > chosen):
                chosen, is_common = need, common
    for piece in (one, two):
        for slot in (0, 1):
            if pieces.needs[piece, slot] == chosen:
                failed[piece] |= REVOKE_SECOND if slot else REVOKE_FIRST
                if not known:
                    depths[piece, 2] = 0.0


@subkernel
def check_junctions(pieces: Pieces, found: Found) -> None:
    """Let the pieces at a junction fail where arcs leave it in another order than they did."""
    count = 0
    for k in range(len(pieces.keys)):
        count += (pieces.exits[k] >> 3 > 0) + (pieces.exits[k] & 7 > 0)
    places, piece, toward = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.int64)
    n = 0
    for k in range(len(pieces.keys)):
        for end in (0, 1):
            exit_ = pieces.exits[k] & 7 if end else pieces.exits[k] >> 3
            if exit_ == 0:
                continue
            here = vertex_at(pieces.coords, pieces.last[k] if end else pieces.first[k])
            places[n], piece[n], toward[n] = here[0] << 32 | here[1], k, 2 * exit_ + end
            n += 1
    order = sort_stably(places)
    begin = 0
    while begin < count:
        stop = begin + 1
        while stop < count and places[order[stop]] == places[order[begin]]:
            stop += 1
        if stop - begin > 2 and not _is_in_order(pieces, piece[order[begin:stop]], toward[order[begin:stop]]):
            rigid, size = np.empty(stop - begin, np.int64), 0
            for i in order[begin:stop]:
                if is_rigid(pieces.needs[piece[i]]):
                    rigid[size] = piece[i]
                    size += 1
            for i in range(size):
                for j in range(min(i + 1, size - 1), size):
                    if i < j or size == 1:
                        revoke_one(pieces, rigid[i], rigid[j], found, False)
        begin = stop


@subkernel
def _is_in_order(pieces: Pieces, members: Int64, toward: Int64) -> bool:
    """Whether the chords that leave a junction follow one another clockwise as their exits do."""
    rank = sort_stably(toward)
    falls = 0
    before = _find_step(pieces, members, toward, rank[-1])
    for i in rank:
        step = _find_step(pieces, members, toward, i)
        falls += not _is_before(before, step)
        before = step
    return falls == 1


@subkernel
def _find_step(pieces: Pieces, members: Int64, toward: Int64, i: int) -> Vertex:
    a = vertex_at(pieces.coords, pieces.first[members[i]])
    b = vertex_at(pieces.coords, pieces.last[members[i]])
    if toward[i] & 1:
        a, b = b, a
    return b[0] - a[0], b[1] - a[1]


@subkernel
def _is_before(one: Vertex, two: Vertex) -> bool:
    """Whether, clockwise from north, one direction comes before another."""
    late_one = one[1] < 0 or (one[1] == 0 and one[0] > 0)
    late_two = two[1] < 0 or (two[1] == 0 and two[0] > 0)
    if late_one != late_two:
        return late_two
    return one[1] * two[0] - one[0] * two[1] > 0
