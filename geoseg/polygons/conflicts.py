"""Which chords must not replace their polylines, since boundaries would cross, touch or hop over one another.

Two drawings of a coverage are the same when in both no two boundaries meet but in their ends, boundaries leave each
junction in the same order, and no vertex has changed sides of a boundary. The first is looked at among chords, the
second at junctions that move or whose arcs lead to such. For the third, a vertex stays while a polyline becomes its
chord, and then crosses that chord on its own way: the polyline closed by the chord must not wind around where the
vertex was, or the way must undo that.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from geoseg.kernel import kernel, subkernel
from geoseg.polygons.arcs import SUBPIXEL_BITS
from geoseg.polygons.chains import FloatArray
from geoseg.polygons.junctions import Found, check_junctions, revoke_one
from geoseg.polygons.pieces import Pieces, bound_pieces, is_rigid
from geoseg.polygons.rings import Int32, Int64, Uint8
from geoseg.polygons.segments import Vertex, collide, count_windings, find_turn, is_same, meets_polyline, vertex_at

BUCKET_BITS = 3 + SUBPIXEL_BITS
Window4: TypeAlias = tuple[int, int, int, int]  # first row, first col, rows, cols, in buckets
SPLIT = 1


# Buckets are squares of 8 pixels. A segment's are found row of buckets by row: where the part of it that lies within
# `reach` of the row begins and ends.
@subkernel
def span_buckets(
    a: Vertex, b: Vertex, reach: tuple[int, int], band: tuple[int, int], cols: tuple[int, int]
) -> tuple[int, int]:
    """First and last of the bucket columns `cols` that a segment comes within `reach` of between the rows of `band`."""
    if a[0] > b[0]:
        a, b = b, a
    low, high = float(min(a[1], b[1])), float(max(a[1], b[1]))
    if b[0] > a[0]:
        slope = (b[1] - a[1]) / (b[0] - a[0])
        one = a[1] + slope * (max(band[0] - reach[0], a[0]) - a[0])
        two = a[1] + slope * (min(band[1] + reach[0], b[0]) - a[0])
        low, high = max(low, min(one, two)), min(high, max(one, two))
    begin = int(np.floor(low - reach[1] - 2)) >> BUCKET_BITS
    end = int(np.floor(high + reach[1] + 2)) >> BUCKET_BITS
    return max(begin, cols[0]), min(end, cols[1])


# A rigid piece counts wherever its box is, as its ends have moved within it.
@subkernel
def index_chords(pieces: Pieces, boxes: Int32, window: Window4) -> tuple[Int64, Int32]:
    """The chords in each bucket of a window (first row, first col, rows, cols; in buckets): offsets and numbers."""
    row0, col0, rows, cols = window
    offsets = np.zeros(rows * cols + 1, np.int64)
    numbers = np.empty(0, np.int32)
    for is_filling in (False, True):
        for k in range(len(pieces.keys)):
            a, b = vertex_at(pieces.coords, pieces.first[k]), vertex_at(pieces.coords, pieces.last[k])
            low, high = min(a[0], b[0]), max(a[0], b[0])
            rigid = is_rigid(pieces.needs[k])
            if rigid:
                low, high = boxes[k, 0] + np.int64(0), boxes[k, 2] + np.int64(0)
            for row in range(max(low >> BUCKET_BITS, row0), min(high >> BUCKET_BITS, row0 + rows - 1) + 1):
                band = (row << BUCKET_BITS, (row + 1) << BUCKET_BITS)
                begin, end = span_buckets(a, b, (0, 0), band, (col0, col0 + cols - 1))
                if rigid:
                    begin = max(boxes[k, 1] >> BUCKET_BITS, col0)
                    end = min(boxes[k, 3] >> BUCKET_BITS, col0 + cols - 1)
                for bucket in range((row - row0) * cols + begin - col0, (row - row0) * cols + end - col0 + 1):
                    if is_filling:
                        offsets[bucket] -= 1
                        numbers[offsets[bucket]] = k
                    else:
                        offsets[bucket] += 1
        if not is_filling:
            for bucket in range(1, len(offsets)):
                offsets[bucket] += offsets[bucket - 1]
            numbers = np.empty(offsets[-1], np.int32)
    return offsets, numbers


@kernel
def find_conflicts(pieces: Pieces, window: Window4, reach: tuple[int, int]) -> tuple[Uint8, FloatArray]:
    """Which pieces may not be replaced by their chords, for what goes on in a window.

    Where a rigid piece meets an ordinary one that can be split such that they no longer meet, that is split.
    Otherwise a proposal on which the rigid piece depends is to be revoked.

    Args:
        pieces: all that touch the window.
        window: first row, first col, rows, cols, in buckets.
        reach: how far polylines are from their chords at most, in units of the coordinates along rows and columns;
            those of rigid pieces lie anywhere.

    Returns:
        (n,) uint8, sums of SPLIT and what `revoke_one` says; (n, 3) float64, how far ordinary polylines that are in the
        way of rigid pieces lie beside them, in units of the coordinates: the least and the greatest distance, and 0
        where something is in the way of which that is not known; else not a number.

    Source: de Berg, van Kreveld and Schirra, Topologically correct subdivision simplification using the bandwidth
        criterion, 1998; Saalfeld, Topologically consistent line simplification with the Douglas-Peucker algorithm,
        1999.
    """
    coords, first, last = pieces.coords, pieces.first, pieces.last
    row0, col0, rows, cols = window
    boxes = bound_pieces(pieces)
    offsets, numbers = index_chords(pieces, boxes, window)
    failed, depths = np.zeros(len(first), np.uint8), np.full((len(first), 3), np.nan)
    seen = np.full(len(first), -1, np.int64)
    for k in range(len(first)):
        if last[k] - first[k] < 2:
            continue
        rigid = is_rigid(pieces.needs[k])
        a, b = vertex_at(coords, first[k]), vertex_at(coords, last[k])
        seen[k] = k
        for row in range(max(boxes[k, 0] >> BUCKET_BITS, row0), min(boxes[k, 2] >> BUCKET_BITS, row0 + rows - 1) + 1):
            band = (row << BUCKET_BITS, (row + 1) << BUCKET_BITS)
            begin, end = max(boxes[k, 1] >> BUCKET_BITS, col0), min(boxes[k, 3] >> BUCKET_BITS, col0 + cols - 1)
            if not rigid:
                begin, end = span_buckets(a, b, reach, band, (begin, end))
            for bucket in range((row - row0) * cols + begin - col0, (row - row0) * cols + end - col0 + 1):
                for n in range(offsets[bucket], offsets[bucket + 1]):
                    other: int = numbers[n] + np.int64(0)
                    if seen[other] == k:
                        continue
                    seen[other] = k
                    if boxes[other, 0] > boxes[k, 2] or boxes[other, 2] < boxes[k, 0]:
                        continue
                    if boxes[other, 1] > boxes[k, 3] or boxes[other, 3] < boxes[k, 1]:
                        continue
                    _compare(pieces, k, other, (failed, depths))
    is_any = False
    for k in range(len(first)):
        is_any = is_any or pieces.needs[k, 0] >= 0 or pieces.needs[k, 1] >= 0
    if is_any:
        check_junctions(pieces, (failed, depths))
    return failed, depths


@subkernel
def _compare(pieces: Pieces, k: int, other: int, found: Found) -> None:
    failed = found[0]
    if is_rigid(pieces.needs[k]) or is_rigid(pieces.needs[other]):
        _compare_rigid(pieces, k, other, found)
        return
    coords, first, last = pieces.coords, pieces.first, pieces.last
    a, b = vertex_at(coords, first[k]), vertex_at(coords, last[k])
    c, d = vertex_at(coords, first[other]), vertex_at(coords, last[other])
    if collide(a, b, c, d):
        failed[k] |= SPLIT
        if last[other] - first[other] > 1:
            failed[other] |= SPLIT
    for vertex in (c, d):
        if not failed[k] & SPLIT and not is_same(vertex, a) and not is_same(vertex, b):
            failed[k] |= SPLIT * (count_windings(coords, first[k], last[k], vertex) != 0)


@subkernel
def _compare_rigid(pieces: Pieces, k: int, other: int, found: Found) -> None:
    coords, first, last = pieces.coords, pieces.first, pieces.last
    mine, its = is_rigid(pieces.needs[k]), is_rigid(pieces.needs[other])
    if _is_met(pieces, k, other):
        r, s = (k, other) if mine else (other, k)
        wall = vertex_at(coords, first[r]), vertex_at(coords, last[r])
        if mine and its:
            revoke_one(pieces, k, other, found, False)
        elif last[s] - first[s] > 1 and not meets_polyline(wall[0], wall[1], coords, (first[s], last[s])):
            found[0][s] |= SPLIT
        else:
            _revoke_wall(pieces, r, s, found)
    if mine and its and _is_one_outline(pieces, k, other):
        return
    for end in (0, 1):
        if _is_passed(pieces, k, _find_way(pieces, other, end)):
            _blame_pass(pieces, k, other, end, found)
        if last[other] - first[other] == 1 and _is_passed(pieces, other, _find_way(pieces, k, end)):
            _blame_pass(pieces, other, k, end, found)


# An outline that is simple has its own corners on no wrong side, however far they have moved past one another's walls.
@subkernel
def _is_one_outline(pieces: Pieces, k: int, other: int) -> bool:
    """Whether two rigid pieces are walls of one proposal."""
    mine, its = pieces.needs[k], pieces.needs[other]
    return bool(mine[0] == its[0] and mine[1] < 0 and its[1] < 0 and mine[0] & 1)


@subkernel
def _is_met(pieces: Pieces, k: int, other: int) -> bool:
    """Whether two chords cross, touch or cover each other, or end at one place though not at one vertex."""
    for one in (0, 1):
        for two in (0, 1):
            here, there = _find_way(pieces, k, one), _find_way(pieces, other, two)
            if is_same(here[1], there[1]) and not is_same(here[0], there[0]):
                return True
    a, b = vertex_at(pieces.coords, pieces.first[k]), vertex_at(pieces.coords, pieces.last[k])
    c, d = vertex_at(pieces.coords, pieces.first[other]), vertex_at(pieces.coords, pieces.last[other])
    return collide(a, b, c, d)


@subkernel
def _find_way(pieces: Pieces, k: int, end: int) -> tuple[Vertex, Vertex]:
    """Where an end of a piece was and where it is."""
    now = pieces.last[k] if end else pieces.first[k]
    before = now if not is_rigid(pieces.needs[k]) else now - 1 if end else now + 1
    return vertex_at(pieces.coords, before), vertex_at(pieces.coords, now)


@subkernel
def _is_passed(pieces: Pieces, k: int, way: tuple[Vertex, Vertex]) -> bool:
    """Whether a vertex of another boundary ends up on the other side of a piece."""
    a, b = vertex_at(pieces.coords, pieces.first[k]), vertex_at(pieces.coords, pieces.last[k])
    before, now = way
    if is_same(now, a) or is_same(now, b):
        return False
    turns = count_windings(pieces.coords, pieces.first[k], pieces.last[k], before)
    if not is_same(before, now):
        one, two = find_turn(a, b, before), find_turn(a, b, now)
        side_a, side_b = find_turn(before, now, a), find_turn(before, now, b)
        if one * two < 0 and side_a * side_b < 0:
            turns += one
        elif collide(a, b, before, now):
            return True
    return turns != 0


@subkernel
def _revoke_wall(pieces: Pieces, wall: int, other: int, found: Found) -> None:
    """Revoke what a rigid piece depends on, and note how far an ordinary one goes to either side between its ends."""
    depths = found[1]
    a, b = vertex_at(pieces.coords, pieces.first[wall]), vertex_at(pieces.coords, pieces.last[wall])
    down, right = float(b[0] - a[0]), float(b[1] - a[1])
    length = np.hypot(down, right)
    known = False
    for k in range(pieces.first[other], pieces.last[other] + 1):
        row, col = float(pieces.coords[k, 0] - a[0]), float(pieces.coords[k, 1] - a[1])
        if 0 < row * down + col * right < length * length:
            off = (row * right - col * down) / length
            depths[wall, 0], depths[wall, 1] = np.fmin(depths[wall, 0], off), np.fmax(depths[wall, 1], off)
            known = True
    revoke_one(pieces, wall, wall, found, known)


@subkernel
def _blame_pass(pieces: Pieces, k: int, other: int, end: int, found: Found) -> None:
    mine, its = is_rigid(pieces.needs[k]), is_rigid(pieces.needs[other])
    if mine and its:
        revoke_one(pieces, k, other, found, False)
        return
    if mine:
        _revoke_wall(pieces, k, other, found)
        return
    before, now = _find_way(pieces, other, end)
    ends = (pieces.first[k], pieces.last[k])
    if ends[1] - ends[0] > 1 and (is_same(before, now) or not meets_polyline(before, now, pieces.coords, ends)):
        found[0][k] |= SPLIT
    elif its:
        _revoke_wall(pieces, other, k, found)
