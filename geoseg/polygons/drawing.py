"""Staircases drawn anew: through the midpoints of their unit edges, low-passed along the arc.

The corners of a straight wall's staircase are up to 1.4 pixels apart across the wall, the midpoints of its edges less
than one, and a low-pass leaves a fraction of that. What is thinned afterwards follows the wall instead of its stairs.

Nothing can collide here: the diamonds of half a pixel around the midpoints of all unit edges of the grid do not
overlap, and each midpoint stays in its own. Two diamonds that follow each other meet in a vertex of the grid, and the
other diamonds around it are nobody's, as a vertex where more edges meet is a junction, and junctions stay.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import kernel, subkernel
from geoseg.polygons.arcs import SUBPIXELS, Arcs
from geoseg.polygons.loops import copy_vertices
from geoseg.polygons.rings import Int32, Uint8

Floats: TypeAlias = NDArray[np.float64]

HALF = SUBPIXELS // 2
ROUNDS, SMOOTH_ROUNDS = 4, 16
SHORTEST_RING, SHORTEST_ARC = 16, 4


def find_radius(tolerance_m: float, pixel_m: tuple[float, float]) -> int:
    """How far a midpoint may move so that the tolerance is kept, in 1/256 pixels; 0 where staircases have to stay.

    A corner of a staircase lies up to sqrt(1/8) pixels from the line between two midpoints that stay where they are.
    """
    radius = tolerance_m / max(pixel_m) - math.sqrt(0.125)
    return max(0, min(HALF - 1, int(radius * SUBPIXELS)))


@kernel
def draw_arcs(arcs: Arcs, radius: int) -> Arcs:
    """The arcs through midpoints; rings of less than 16 pixels and arcs of less than 4 stay staircases.

    A corner between two edges of at least two pixels stays, as no straight line has any, unless the arc is smooth.

    Args:
        arcs: staircases.
        radius: how far a midpoint may move, in 1/256 pixels along rows and columns together, less than half a pixel.
    """
    most, longest = 0, 0
    lengths = np.zeros(len(arcs.keys), np.int64)
    for arc in range(len(arcs.keys)):
        first, last = arcs.offsets[arc], arcs.offsets[arc + 1] - 1
        for k in range(first, last):
            lengths[arc] += _count_units(arcs.coords, k)
        if lengths[arc] < (SHORTEST_RING if arcs.is_ring[arc] else SHORTEST_ARC) or last - first < 2:
            lengths[arc] = 0
        most += lengths[arc] + last - first + 1
        longest = max(longest, lengths[arc] + last - first + 1)
    coords, offsets = np.empty((most, 2), np.int32), np.zeros(len(arcs.offsets), np.int64)
    middles, is_free = np.empty((longest, 2), np.int32), np.empty(longest, np.uint8)
    work = np.empty((4, longest + 2))
    for arc in range(len(arcs.keys)):
        chain = arcs.coords[arcs.offsets[arc] : arcs.offsets[arc + 1]]
        n = offsets[arc]
        if lengths[arc] == 0:
            offsets[arc + 1] = copy_vertices(chain, (0, len(chain)), coords, n)
        else:
            is_ring = arcs.is_ring[arc] == 1
            is_smooth = arcs.keys[arc] & 1 == 1
            size = _list_midpoints(chain, is_ring, is_smooth, middles, is_free)
            rounds = SMOOTH_ROUNDS if is_smooth else ROUNDS
            for axis in range(2):
                _average(middles[:size, axis], is_free, (is_ring, rounds), work, axis)
            offsets[arc + 1] = _write_moved(middles[:size], (is_ring, radius), work, coords, n)
    return Arcs(
        coords[: offsets[-1]],
        offsets,
        arcs.keys,
        arcs.is_ring,
        arcs.is_backward,
        arcs.is_single,
        arcs.ring_offsets,
    )


@subkernel
def _count_units(chain: Int32, k: int) -> int:
    units: int = (abs(chain[k + 1, 0] - chain[k, 0]) + abs(chain[k + 1, 1] - chain[k, 1])) // SUBPIXELS
    return units


@subkernel
def _list_midpoints(chain: Int32, is_ring: bool, is_smooth: bool, middles: Int32, is_free: Uint8) -> int:
    """Midpoints of the unit edges, between them the corners that stay, and both ends of what is no ring."""
    edges = len(chain) - 1
    n = 0
    for k in range(edges):
        units = _count_units(chain, k)
        before = _count_units(chain, k - 1 if k > 0 else edges - 1)
        if (k == 0 and not is_ring) or (not is_smooth and min(units, before) > 1):
            is_free[n] = 0
            n = copy_vertices(chain, (k, k + 1), middles, n)
        step_row = np.sign(chain[k + 1, 0] - chain[k, 0]) * HALF
        step_col = np.sign(chain[k + 1, 1] - chain[k, 1]) * HALF
        for unit in range(units):
            middles[n, 0] = chain[k, 0] + (2 * unit + 1) * step_row
            middles[n, 1] = chain[k, 1] + (2 * unit + 1) * step_col
            is_free[n] = 1
            n += 1
    if not is_ring:
        is_free[n] = 0
        n = copy_vertices(chain, (edges, edges + 1), middles, n)
    return n


# What the average takes away is averaged as well and given back: curves keep their size.
@subkernel
def _average(values: Int32, is_free: Uint8, how: tuple[bool, int], work: Floats, axis: int) -> None:
    """Write the low-passed values into row `axis` of `work`, from its second place.

    Source: Tukey, Exploratory data analysis, 1977 (twicing); repeated averages with weights 1, 2, 1 approach a
        Gaussian, here of 1.4 unit edges, of 2.8 for smooth arcs.
    """
    n = len(values)
    result = work[axis]
    for k in range(n):
        result[k + 1] = values[k]
    _average_often(result[: n + 2], is_free, how, work[2])
    rest = work[3]
    for k in range(n):
        rest[k + 1] = values[k] - result[k + 1]
    _average_often(rest[: n + 2], is_free, how, work[2])
    for k in range(1, n + 1):
        result[k] += rest[k]


@subkernel
def _average_often(values: Floats, is_free: Uint8, how: tuple[bool, int], spare: Floats) -> None:
    is_ring, rounds = how
    n = len(values) - 2
    one, two = values, spare
    two[0] = two[n + 1] = one[0] = one[n + 1] = 0.0
    for _ in range(rounds):
        if is_ring:
            one[0], one[n + 1] = one[n], one[1]
        for k in range(1, n + 1):
            two[k] = one[k] + is_free[k - 1] * (0.25 * (one[k - 1] + one[k + 1]) - 0.5 * one[k])
        one, two = two, one


# Midpoints that are left in one line along a row or a column are as good as their ends.
@subkernel
def _write_moved(middles: Int32, how: tuple[bool, int], work: Floats, coords: Int32, n: int) -> int:
    is_ring, radius = how
    size, begin = len(middles), n
    for k in range(size):
        d_row, d_col = work[0, k + 1] - middles[k, 0], work[1, k + 1] - middles[k, 1]
        share = min(1.0, radius / max(abs(d_row) + abs(d_col), 1.0))
        row, col = middles[k, 0] + np.int32(share * d_row), middles[k, 1] + np.int32(share * d_col)
        if n - begin > 1:
            along_row = row == coords[n - 1, 0] == coords[n - 2, 0] and row & (SUBPIXELS - 1) == 0
            along_col = col == coords[n - 1, 1] == coords[n - 2, 1] and col & (SUBPIXELS - 1) == 0
            if along_row or along_col:
                n -= 1
        coords[n, 0], coords[n, 1] = row, col
        n += 1
    if is_ring:
        n = copy_vertices(coords, (begin, begin + 1), coords, n)
    return n
