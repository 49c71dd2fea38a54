"""Fewer vertices along an arc: Douglas-Peucker with splits that others can demand.

The vertex at which a piece is split depends on the piece alone, so the pieces of an arc form one fixed tree. Demanding
a vertex deep in that tree splits every piece above it, and nothing else.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from geoseg.kernel import kernel, subkernel
from geoseg.polygons.arcs import SUBPIXEL_BITS, SUBPIXELS, Arcs
from geoseg.polygons.loops import find_place
from geoseg.polygons.rings import Int32, Int64, Uint8


class Splits(NamedTuple):
    """Vertices that must stay, sorted: (n,) int64 keys of arcs and (n,) int64 positions in them. 16 bytes each."""

    keys: Int64
    positions: Int64

    @classmethod
    def none(cls) -> Splits:
        """No vertex."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))

    def add(self, keys: Int64, positions: Int64) -> Splits:
        """These and more of them, in any order."""
        keys, positions = np.concatenate([self.keys, keys]), np.concatenate([self.positions, positions])
        order = np.lexsort((positions, keys))
        return Splits(keys[order], positions[order])


class Limits(NamedTuple):
    """How far a staircase, and how far what was drawn for it, may be from a chord; units of coordinates; in metres."""

    tolerance_m: float
    drawn_m: float
    row_m: float
    col_m: float


# A polyline that crosses the continuation of its chord beyond an end might wind about that end; the directions in which
# arcs leave a junction could then change their order. Such a chord is never accepted. Where an edge with an end beyond
# meets the chord's line somewhere, that is taken for a crossing: a needless split at worst.
@subkernel
def find_farthest(coords: Int32, first: int, last: int, limits: Limits) -> tuple[int, bool]:
    """The vertex farthest from the chord of a polyline, the first of equals, and whether the chord may replace it.

    Vertices are corners of a staircase or lie near the midpoints of its edges (see `drawing`). What has to be near the
    chord is the staircase.

    Args:
        coords: (vertices, 2) int32.
        first: position of the polyline's first vertex.
        last: position of its last vertex, at least two further.
        limits: the distance in metres that is allowed.
    """
    row, col = np.int64(coords[first, 0]), np.int64(coords[first, 1])
    along_row, along_col = np.int64(coords[last, 0]) - row, np.int64(coords[last, 1]) - col
    chord_row, chord_col = along_row * limits.row_m, along_col * limits.col_m
    chord = (chord_row, chord_col, chord_row * chord_row + chord_col * chord_col)
    farthest, most, most_of_stairs = first + 1, -1.0, 0.0
    winds = False
    side0, reach0 = np.int64(0), 0.0
    kind0, line0 = find_edge(row, col)
    for k in range(first + 1, last + 1):
        to_row, to_col = np.int64(coords[k, 0]), np.int64(coords[k, 1])
        kind, line = find_edge(to_row, to_col)
        if kind * kind0 == ALONG_ROW * ALONG_COL:
            corner_row, corner_col = (line, line0) if kind == ALONG_ROW else (line0, line)
            m_row, m_col = (corner_row - row) * limits.row_m, (corner_col - col) * limits.col_m
            most_of_stairs = max(most_of_stairs, measure_distance2(m_row, m_col, chord))
        kind0, line0 = kind, line
        if k == last:
            break
        d_row, d_col = to_row - row, to_col - col
        m_row, m_col = d_row * limits.row_m, d_col * limits.col_m
        distance2 = measure_distance2(m_row, m_col, chord)
        if distance2 > most:
            farthest, most = k, distance2
        if kind == CORNER:
            most_of_stairs = max(most_of_stairs, distance2)
        side = d_row * along_col - d_col * along_row
        reach = m_row * chord_row + m_col * chord_col
        if k == first + 1:
            winds = bool(side == 0 and reach < 0.0)
        elif (side0 <= 0 <= side or side <= 0 <= side0) and (min(reach, reach0) < 0.0 or max(reach, reach0) > chord[2]):
            winds = True
        side0, reach0 = side, reach
    winds = winds or bool(side0 == 0 and reach0 > chord[2])
    is_near = most_of_stairs <= limits.tolerance_m**2 and most <= limits.drawn_m**2
    return farthest, is_near and not winds


CORNER, ALONG_ROW, ALONG_COL = 0, 1, 2


# The diamonds around midpoints are squares of 256 x 256 in (row + col, row - col).
@subkernel
def find_edge(row: np.int64, col: np.int64) -> tuple[int, np.int64]:
    """The unit edge of the grid in whose diamond a vertex lies: its kind and its row or column; or that it is none."""
    if (row | col) & (SUBPIXELS - 1) == 0:
        return CORNER, np.int64(0)
    one, two = (row + col) >> SUBPIXEL_BITS, (row - col) >> SUBPIXEL_BITS
    double = one - two
    if double & 1:
        return ALONG_ROW, (one - (double >> 1)) << SUBPIXEL_BITS
    return ALONG_COL, (double >> 1) << SUBPIXEL_BITS


@subkernel
def measure_distance2(row_m: float, col_m: float, chord: tuple[float, float, float]) -> float:
    """Squared distance from a vertex to a segment from the origin, given as its end and its squared length."""
    reach = row_m * chord[0] + col_m * chord[1]
    if reach <= 0.0:
        return row_m * row_m + col_m * col_m
    if reach >= chord[2]:
        return (row_m - chord[0]) ** 2 + (col_m - chord[1]) ** 2
    across = row_m * chord[1] - col_m * chord[0]
    return across * across / chord[2]


# A loop keeps the vertex farthest from its end and one more on either way back, so that it never collapses.
@subkernel
def thin_polyline(coords: Int32, ends: tuple[int, int], limits: Limits, demanded: Int64, kept: Uint8) -> None:
    """Mark the vertices of one polyline that stay, its ends among them.

    Args:
        coords: (vertices, 2) int32.
        ends: positions of the polyline's first and last vertex; equal coordinates make it a loop.
        limits: how far the boundary may move.
        demanded: positions in `coords` that have to stay, ascending.
        kept: (vertices,) uint8, set from 0 to 1 for those that stay.

    Source: Douglas and Peucker, Algorithms for the reduction of the number of points required to represent a digitized
        line or its caricature, 1973.
    """
    first, last = ends
    kept[first], kept[last] = 1, 1
    if last - first < 2:
        return
    if coords[first, 0] == coords[last, 0] and coords[first, 1] == coords[last, 1]:
        middle, _ = find_farthest(coords, first, last, limits)
        for i, j in ((first, middle), (middle, last)):
            kept[j] = 1
            if j - i > 1:
                kept[find_farthest(coords, i, j, limits)[0]] = 1
    i = first
    while i < last:
        j = i + 1
        while not kept[j]:
            j += 1
        while j - i > 1:
            farthest, is_near = find_farthest(coords, i, j, limits)
            if is_near:
                k = find_place(demanded, i + 1)
                if k == len(demanded) or demanded[k] >= j:
                    break
            kept[farthest] = 1
            j = farthest
        i = j


@subkernel
def demand_splits(splits: Splits, key: int, shift: int) -> Int64:
    """The positions of an arc's vertices that must stay, ascending, with `shift` added."""
    low, high = find_place(splits.keys, key), find_place(splits.keys, key + 1)
    demanded = np.empty(high - low, np.int64)
    for k in range(low, high):
        demanded[k - low] = splits.positions[k] + shift
    return demanded


@kernel
def thin_arcs(arcs: Arcs, splits: Splits, limits: tuple[Limits, Limits], cuts: Int64) -> Uint8:
    """Which vertices of arcs stay.

    Args:
        arcs: staircases, or as drawn.
        splits: vertices that have to stay.
        limits: of plain and of smooth arcs.
        cuts: (arcs, 2) int64, positions in each arc at which it is cut; the parts are thinned one by one.

    Returns:
        (vertices,) uint8, 1 for those that stay.
    """
    kept = np.zeros(len(arcs.coords), np.uint8)
    for arc in range(len(arcs.keys)):
        first, last = arcs.offsets[arc], arcs.offsets[arc + 1] - 1
        demanded = demand_splits(splits, arcs.keys[arc], first)
        limit = limits[arcs.keys[arc] & 1]
        head, tail = first + cuts[arc, 0], first + cuts[arc, 1]
        thin_polyline(arcs.coords, (first, head), limit, demanded, kept)
        thin_polyline(arcs.coords, (head, tail), limit, demanded, kept)
        thin_polyline(arcs.coords, (tail, last), limit, demanded, kept)
    return kept
