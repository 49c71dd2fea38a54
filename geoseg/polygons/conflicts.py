"""Which chords must not replace their polylines, since boundaries would cross, touch or hop over one another.

All predicates are exact: coordinates are integers below 2^30, so that every product fits into 64 bits.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from geoseg.polygons.arcs import SUBPIXEL_BITS
from geoseg.polygons.kernel import kernel
from geoseg.polygons.pieces import Pieces, bound_pieces
from geoseg.polygons.rings import Int32, Int64, Uint8

BUCKET_BITS = 3 + SUBPIXEL_BITS
Vertex: TypeAlias = tuple[int, int]
Window4: TypeAlias = tuple[int, int, int, int]  # first row, first col, rows, cols, in buckets


@kernel
def vertex_at(coords: Int32, k: int) -> Vertex:
    """(row, col) in 64 bits."""
    row: int = coords[k, 0] + np.int64(0)
    col: int = coords[k, 1] + np.int64(0)
    return row, col


@kernel
def find_turn(a: Vertex, b: Vertex, c: Vertex) -> int:
    """-1, 0 or 1: on which side of the line from `a` to `b` the vertex `c` lies."""
    turn = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return 1 if turn > 0 else -1 if turn < 0 else 0


@kernel
def is_same(a: Vertex, b: Vertex) -> bool:
    """Whether two vertices are one."""
    return a[0] == b[0] and a[1] == b[1]


@kernel
def is_between(a: Vertex, b: Vertex, c: Vertex) -> bool:
    """Whether the vertex `c` of the line through `a` and `b` lies within their box."""
    return min(a[0], b[0]) <= c[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= c[1] <= max(a[1], b[1])


@kernel
def collide(a: Vertex, b: Vertex, c: Vertex, d: Vertex) -> bool:
    """Whether the segments ab and cd have more in common than one end of each."""
    if is_same(a, d) or is_same(b, d):
        c, d = d, c
    if is_same(b, c):
        a, b = b, a
    if is_same(a, c):
        if is_same(b, d):
            return True
        ahead = (b[0] - a[0]) * (d[0] - a[0]) + (b[1] - a[1]) * (d[1] - a[1])
        return ahead > 0 and find_turn(a, b, d) == 0
    if max(a[0], b[0]) < min(c[0], d[0]) or max(c[0], d[0]) < min(a[0], b[0]):
        return False
    if max(a[1], b[1]) < min(c[1], d[1]) or max(c[1], d[1]) < min(a[1], b[1]):
        return False
    abc, abd, cda, cdb = find_turn(a, b, c), find_turn(a, b, d), find_turn(c, d, a), find_turn(c, d, b)
    if abc * abd < 0 and cda * cdb < 0:
        return True
    return (
        (abc == 0 and is_between(a, b, c))
        or (abd == 0 and is_between(a, b, d))
        or (cda == 0 and is_between(c, d, a))
        or (cdb == 0 and is_between(c, d, b))
    )


@kernel
def winds_around(coords: Int32, first: int, last: int, vertex: Vertex) -> bool:
    """Whether a polyline closed by its chord winds around a vertex that is not on it.

    Source: Sunday, Inclusion of a point in a polygon, 2001 (winding number).
    """
    turns = 0
    one = vertex_at(coords, last)
    for k in range(first, last + 1):
        two = vertex_at(coords, k)
        if one[0] <= vertex[0]:
            if two[0] > vertex[0] and find_turn(one, two, vertex) > 0:
                turns += 1
        elif two[0] <= vertex[0] and find_turn(one, two, vertex) < 0:
            turns -= 1
        one = two
    return turns != 0


# Buckets are squares of 8 pixels. A segment's are found row of buckets by row: where the part of it that lies within
# `reach` of the row begins and ends.
@kernel
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


@kernel
def index_chords(pieces: Pieces, window: Window4) -> tuple[Int64, Int32]:
    """The chords in each bucket of a window (first row, first col, rows, cols; in buckets): offsets and numbers."""
    row0, col0, rows, cols = window
    offsets = np.zeros(rows * cols + 1, np.int64)
    numbers = np.empty(0, np.int32)
    for is_filling in (False, True):
        for k in range(len(pieces.keys)):
            a, b = vertex_at(pieces.coords, pieces.first[k]), vertex_at(pieces.coords, pieces.last[k])
            top = max(min(a[0], b[0]) >> BUCKET_BITS, row0)
            bottom = min(max(a[0], b[0]) >> BUCKET_BITS, row0 + rows - 1)
            for row in range(top, bottom + 1):
                band = (row << BUCKET_BITS, (row + 1) << BUCKET_BITS)
                begin, end = span_buckets(a, b, (0, 0), band, (col0, col0 + cols - 1))
                for bucket in range((row - row0) * cols + begin - col0, (row - row0) * cols + end - col0 + 1):
                    if is_filling:
                        offsets[bucket] -= 1
                        numbers[offsets[bucket]] = k
                    else:
                        offsets[bucket] += 1
        if not is_filling:
            offsets = np.cumsum(offsets)
            numbers = np.empty(offsets[-1], np.int32)
    return offsets, numbers


# A chord that crosses, touches or covers another one fails with it. A chord fails alone when the end of another one
# lies between it and its polyline: that end would change sides. Only ends need to be looked at, as everything else
# will be replaced by straight lines between them, and these do not cross.
@kernel
def find_conflicts(pieces: Pieces, window: Window4, reach: tuple[int, int]) -> Uint8:
    """Which pieces may not be replaced by their chords, for what goes on in a window.

    Args:
        pieces: all that touch the window.
        window: first row, first col, rows, cols, in buckets.
        reach: how far polylines are from their chords at most, in units of the coordinates along rows and columns.

    Returns:
        (n,) uint8, 1 where a piece has to be split.

    Source: de Berg, van Kreveld and Schirra, Topologically correct subdivision simplification using the bandwidth
        criterion, 1998; Saalfeld, Topologically consistent line simplification with the Douglas-Peucker algorithm,
        1999.
    """
    coords, first, last = pieces.coords, pieces.first, pieces.last
    row0, col0, rows, cols = window
    offsets, numbers = index_chords(pieces, window)
    boxes = bound_pieces(pieces).reshape(-1, 2)
    failed = np.zeros(len(first), np.uint8)
    seen = np.full(len(first), -1, np.int64)
    for k in range(len(first)):
        if last[k] - first[k] < 2:
            continue
        a, b = vertex_at(coords, first[k]), vertex_at(coords, last[k])
        (top, left), (bottom, right) = vertex_at(boxes, 2 * k), vertex_at(boxes, 2 * k + 1)
        seen[k] = k
        for row in range(max(top >> BUCKET_BITS, row0), min(bottom >> BUCKET_BITS, row0 + rows - 1) + 1):
            band = (row << BUCKET_BITS, (row + 1) << BUCKET_BITS)
            limits = (max(left >> BUCKET_BITS, col0), min(right >> BUCKET_BITS, col0 + cols - 1))
            begin, end = span_buckets(a, b, reach, band, limits)
            for bucket in range((row - row0) * cols + begin - col0, (row - row0) * cols + end - col0 + 1):
                for n in range(offsets[bucket], offsets[bucket + 1]):
                    other = numbers[n]
                    if seen[other] == k:
                        continue
                    seen[other] = k
                    c, d = vertex_at(coords, first[other]), vertex_at(coords, last[other])
                    if max(c[0], d[0]) < top or min(c[0], d[0]) > bottom:
                        continue
                    if max(c[1], d[1]) < left or min(c[1], d[1]) > right:
                        continue
                    if collide(a, b, c, d):
                        failed[k] = 1
                        failed[other] = last[other] - first[other] > 1
                    if failed[k]:
                        continue
                    for vertex in (c, d):
                        inside = top <= vertex[0] <= bottom and left <= vertex[1] <= right
                        if inside and not is_same(vertex, a) and not is_same(vertex, b):
                            failed[k] |= winds_around(coords, first[k], last[k], vertex)
    return failed
