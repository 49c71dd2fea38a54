"""Rings cut at junctions into arcs that both neighbours describe alike, and put together again.

An arc is the boundary from one junction to the next, or a whole ring that has none. Both polygons beside it trace it,
in opposite directions; the canonical direction and the key below can be told from either side. Whatever is computed
from an arc alone is therefore the same on both sides, without anybody looking for neighbours.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from geoseg.kernel import kernel, subkernel
from geoseg.polygons.loops import lead_vertices
from geoseg.polygons.marks import MARK_BITS
from geoseg.polygons.rings import Int32, Int64, PolygonBatch, Uint8

SUBPIXEL_BITS = 8
SUBPIXELS = 1 << SUBPIXEL_BITS
NORTH, EAST, SOUTH, WEST = 0, 1, 2, 3


class Arcs(NamedTuple):
    """The arcs of a batch, ring by ring, in the order in which the ring runs through them.

    Args:
        coords: (vertices, 2) int32, (row, col) in 1/256 pixels, each arc in its canonical direction; both ends belong
            to it, and the ends of a closed arc are equal.
        offsets: (arcs + 1,) int64 into `coords`.
        keys: (arcs,) int64, place and direction of the first unit edge: unique in a raster. Odd where only smooth
            classes lie on both sides.
        is_ring: (arcs,) uint8, 1 where a ring has no junction.
        is_backward: (arcs,) uint8, 1 where the ring runs through the arc against its canonical direction.
        is_single: (arcs,) uint8, 1 where no polygon lies on the other side.
        ring_offsets: (rings + 1,) int64 into the arcs.
    """

    coords: Int32
    offsets: Int64
    keys: Int64
    is_ring: Uint8
    is_backward: Uint8
    is_single: Uint8
    ring_offsets: Int64


def cut_arcs(batch: PolygonBatch, smooth: Collection[int] = ()) -> Arcs:
    """The arcs of polygons whose columns carry marks; `smooth` are ids of classes."""
    smooth_table = np.zeros(256, np.uint8)
    smooth_table[list(smooth)] = 1
    ring_class = np.repeat(batch.class_id, np.diff(batch.polygon_offsets))
    return _cut_rings(batch.coords, batch.ring_offsets, ring_class, smooth_table)


@subkernel
def _find_direction(one: Int32, two: Int32) -> int:
    if one[0] == two[0]:
        return EAST if (one[1] >> MARK_BITS) < (two[1] >> MARK_BITS) else WEST
    return SOUTH if one[0] < two[0] else NORTH


@subkernel
def _pack_edge(vertex: Int32, direction: int) -> np.int64:
    return np.int64(vertex[0]) << 26 | np.int64(vertex[1] >> MARK_BITS) << 2 | direction


# A closed arc starts at its topmost, leftmost corner and runs clockwise, whichever side asks; any other arc starts at
# the end whose first unit edge has the smaller key.
@kernel
def _cut_rings(coords: Int32, ring_offsets: Int64, ring_class: Uint8, smooth: Uint8) -> Arcs:
    rings = len(ring_class)
    junctions = 0
    for vertex in range(len(coords)):
        junctions += coords[vertex, 1] & 1
    most = junctions + rings
    cut = np.empty((len(coords) + most, 2), np.int32)
    offsets = np.zeros(most + 1, np.int64)
    keys = np.empty(most, np.int64)
    is_ring, is_backward = np.zeros(most, np.uint8), np.zeros(most, np.uint8)
    is_single = np.zeros(most, np.uint8)
    arc_offsets = np.zeros(rings + 1, np.int64)
    n, arc = 0, 0
    for ring in range(rings):
        start, size = ring_offsets[ring], ring_offsets[ring + 1] - ring_offsets[ring]
        lead = 0
        while lead < size and not coords[start + lead, 1] & 1:
            lead += 1
        closed = lead == size
        i = 0 if closed else lead
        last = i + size
        while i < last:
            j = i + 1
            while j < last and not (coords[start + j % size, 1] & 1):
                j += 1
            first, second = coords[start + i % size], coords[start + (i + 1) % size]
            before, end = coords[start + (j - 1) % size], coords[start + j % size]
            ahead = _pack_edge(first, _find_direction(first, second))
            back = _pack_edge(end, _find_direction(end, before))
            backward = back < ahead
            for k in range(j - i + 1):
                vertex = start + (j - k if backward else i + k) % size
                cut[n, 0] = coords[vertex, 0] << SUBPIXEL_BITS
                cut[n, 1] = (coords[vertex, 1] >> MARK_BITS) << SUBPIXEL_BITS
                n += 1
            own, beyond = ring_class[ring], second[1] >> 1 & 255
            is_ring[arc] = closed
            is_backward[arc] = backward
            is_single[arc] = own == beyond
            keys[arc] = min(ahead, back) << 1 | (smooth[own] & smooth[beyond])
            arc += 1
            offsets[arc] = n
            i = j
        arc_offsets[ring + 1] = arc
    return Arcs(
        cut[:n],
        offsets[: arc + 1],
        keys[:arc],
        is_ring[:arc],
        is_backward[:arc],
        is_single[:arc],
        arc_offsets,
    )


@kernel
def link_arcs(arcs: Arcs) -> tuple[Int32, Int64]:
    """The rings through all vertices of the arcs, and their offsets; each begins with its topmost, leftmost vertex."""
    coords, offsets = arcs.coords, arcs.offsets
    linked = np.empty((len(coords), 2), np.int32)
    ring_offsets = np.zeros(len(arcs.ring_offsets), np.int64)
    n = 0
    for ring in range(len(ring_offsets) - 1):
        begin, top = n, n
        for arc in range(arcs.ring_offsets[ring], arcs.ring_offsets[ring + 1]):
            first, last = offsets[arc], offsets[arc + 1] - 1
            for k in range(last - first):
                vertex = last - k if arcs.is_backward[arc] else first + k
                linked[n, 0], linked[n, 1] = coords[vertex, 0], coords[vertex, 1]
                if linked[n, 0] < linked[top, 0] or (linked[n, 0] == linked[top, 0] and linked[n, 1] < linked[top, 1]):
                    top = n
                n += 1
        if top > begin:
            lead_vertices(linked, begin, top, n)
        ring_offsets[ring + 1] = n
    return linked[:n], ring_offsets


@kernel
def sign_rings(coords: Int32, ring_offsets: Int64) -> Int64:
    """(rings,) int64 -1, 0 or 1: the sign of twice the area of each ring."""
    signs = np.zeros(len(ring_offsets) - 1, np.int64)
    for ring in range(len(signs)):
        start, stop = ring_offsets[ring], ring_offsets[ring + 1]
        area = np.int64(0)
        before = stop - 1
        for k in range(start, stop):
            row, col = np.int64(coords[k, 0] - coords[start, 0]), np.int64(coords[k, 1] - coords[start, 1])
            row0, col0 = np.int64(coords[before, 0] - coords[start, 0]), np.int64(coords[before, 1] - coords[start, 1])
            area += row0 * col - col0 * row
            before = k
        signs[ring] = np.sign(area)
    return signs
