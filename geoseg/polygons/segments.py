"""Exact predicates on segments whose ends are integers below 2^30, so that every product fits into 64 bits."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from geoseg.kernel import subkernel
from geoseg.polygons.rings import Int32

Vertex: TypeAlias = tuple[int, int]


@subkernel
def vertex_at(coords: Int32, k: int) -> Vertex:
    """(row, col) in 64 bits."""
    row: int = coords[k, 0] + np.int64(0)
    col: int = coords[k, 1] + np.int64(0)
    return row, col


@subkernel
def find_turn(a: Vertex, b: Vertex, c: Vertex) -> int:
    """-1, 0 or 1: on which side of the line from `a` to `b` the vertex `c` lies."""
    turn = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return 1 if turn > 0 else -1 if turn < 0 else 0


@subkernel
def is_same(a: Vertex, b: Vertex) -> bool:
    """Whether two vertices are one."""
    return a[0] == b[0] and a[1] == b[1]


@subkernel
def is_between(a: Vertex, b: Vertex, c: Vertex) -> bool:
    """Whether the vertex `c` of the line through `a` and `b` lies within their box."""
    return min(a[0], b[0]) <= c[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= c[1] <= max(a[1], b[1])


@subkernel
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


@subkernel
def count_windings(coords: Int32, first: int, last: int, vertex: Vertex) -> int:
    """How often a polyline closed by its chord winds around a vertex that is not on it.

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
    return turns


@subkernel
def meets_polyline(a: Vertex, b: Vertex, coords: Int32, ends: tuple[int, int]) -> bool:
    """Whether a segment has more in common with an edge of a polyline than one end."""
    c = vertex_at(coords, ends[0])
    for k in range(ends[0] + 1, ends[1] + 1):
        d = vertex_at(coords, k)
        if collide(a, b, c, d):
            return True
        c = d
    return False
