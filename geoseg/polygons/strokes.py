"""Boundaries of touching polygons as strokes: lines that run straight on where others end at them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import kernel, subkernel
from geoseg.polygons.chains import FloatArray
from geoseg.polygons.rings import Int64, Uint8

# How far from a node the direction of a boundary is read, and the least cosine with which one runs on as another.
REACH_PX = 8
STRAIGHT_ON = math.cos(math.radians(35))
# Directions that differ by less than this, modulo a right angle, are one.
SAME_RAD = math.radians(8)


class TouchingRings(NamedTuple):
    """Rings by the numbers of their vertices.

    Args:
        vertex: (n,) int64, ring by ring, the first of each not repeated; at least one of each ring is a node.
        offsets: (rings + 1,) int64 into `vertex`.
        owner: (rings,) int64, the polygon of each.
        xy: (vertices, 2) float64, where they are, in pixels.
        is_node: (vertices,) bool, whether more than two boundaries meet there.
    """

    vertex: Int64
    offsets: Int64
    owner: Int64
    xy: FloatArray
    is_node: NDArray[np.bool_]


class Boundaries(NamedTuple):
    """Boundaries from node to node, each once, from the lesser end to the greater one.

    Args:
        path: (m,) int64 vertices, boundary by boundary, with both ends.
        offsets: (n + 1,) int64 into `path`.
        polygons: (n, 2) int64, those that have it; -1 for none.
        pieces: (p,) int64, what the rings consist of, from each ring's first node: 2 x boundary + 1 where it is run
            through from its greater end.
        ring_offsets: (rings + 1,) int64 into `pieces`.
    """

    path: Int64
    offsets: Int64
    polygons: Int64
    pieces: Int64
    ring_offsets: Int64


class Strokes(NamedTuple):
    """Boundaries one behind the other.

    Args:
        pieces: (n,) int64, 2 x boundary + 1 where it is run through from its greater end.
        offsets: (strokes + 1,) int64 into `pieces`.
        is_closed: (strokes,) uint8, 1 where a stroke ends where it starts.
    """

    pieces: Int64
    offsets: Int64
    is_closed: Uint8


def cut_rings(rings: TouchingRings) -> Boundaries:
    """Cut rings at nodes; what two rings share becomes one boundary."""
    vertex, offsets = rings.vertex, rings.offsets
    begin = np.flatnonzero(rings.is_node[vertex])
    ring = np.searchsorted(offsets, begin, side="right") - 1
    ring_offsets = np.searchsorted(begin, offsets)
    end = np.roll(begin, -1)
    end[ring_offsets[1:] - 1] = begin[ring_offsets[:-1]]
    first, size = offsets[ring], np.diff(offsets)[ring]
    steps = (end - begin - 1) % size + 1
    ahead = vertex[begin] * len(rings.xy) + vertex[first + (begin + 1 - first) % size]
    astern = vertex[end] * len(rings.xy) + vertex[first + (end - 1 - first) % size]
    _, chosen, number = np.unique(np.minimum(ahead, astern), return_index=True, return_inverse=True)
    is_backward = astern < ahead
    path, path_offsets = walk_rings(offsets, ring[chosen], begin[chosen], steps[chosen], is_backward[chosen])
    polygons = np.full((len(chosen), 2), -1)
    polygons[:, 0] = rings.owner[ring[chosen]]
    others = np.ones(len(begin), bool)
    others[chosen] = False
    polygons[number[others], 1] = rings.owner[ring[others]]
    return Boundaries(vertex[path], path_offsets, polygons, 2 * number + is_backward, ring_offsets)


def walk_rings(
    offsets: Int64, ring: Int64, begin: Int64, steps: Int64, is_backward: NDArray[np.bool_]
) -> tuple[Int64, Int64]:
    """Places along parts of rings.

    Args:
        offsets: (rings + 1,) int64 of the rings.
        ring: (n,) int64, the ring of each part.
        begin: (n,) int64, where it starts; past the end of a ring it goes on at its beginning.
        steps: (n,) int64, its places less one.
        is_backward: (n,) bool, whether its places are wanted from its end to its start.

    Returns:
        (m,) int64 places, part by part, and the (n + 1,) int64 offsets of these.
    """
    part_offsets = np.concatenate([[0], np.cumsum(steps + 1)])
    step = np.arange(part_offsets[-1]) - np.repeat(part_offsets[:-1], steps + 1)
    part = np.repeat(np.arange(len(ring)), steps + 1)
    step = np.where(is_backward[part], steps[part] - step, step)
    first, size = offsets[ring], np.diff(offsets)[ring]
    return first[part] + ((begin - first)[part] + step) % size[part], part_offsets


def link_strokes(boundaries: Boundaries, xy: FloatArray) -> Strokes:
    """Join boundaries to strokes: at each node the two that continue each other best, as long as any do.

    Args:
        boundaries: as `cut_rings` gives them.
        xy: (vertices, 2) float64 positions in pixels.

    Source: Thomson and Richardson, The good continuation principle of perceptual organization applied to the
        generalization of road networks, 1999.
    """
    nodes = boundaries.path[np.stack([boundaries.offsets[:-1], boundaries.offsets[1:] - 1], axis=1).ravel()]
    order = np.argsort(nodes, kind="stable")
    meetings = np.append(np.flatnonzero(np.diff(nodes[order], prepend=-1)), len(order))
    return _link_ends(boundaries, xy, order, meetings)


# End 2 k of boundary k is its lesser one, 2 k + 1 the greater one.
@kernel
def _link_ends(boundaries: Boundaries, xy: FloatArray, order: Int64, meetings: Int64) -> Strokes:
    away, partner = np.empty((len(order), 2)), np.full(len(order), -1)
    for end in range(len(order)):
        away[end] = _look_along(boundaries, xy, end)
    for meeting in range(len(meetings) - 1):
        ends = order[meetings[meeting] : meetings[meeting + 1]]
        # Nothing else meets here: corner or not, it goes on.
        if len(ends) == 2:
            partner[ends[0]], partner[ends[1]] = ends[1], ends[0]
            continue
        while True:
            least, here, there = np.rint(-STRAIGHT_ON * 1e9), -1, -1
            for i in range(len(ends)):
                for j in range(i + 1, len(ends)):
                    one, two = ends[i], ends[j]
                    cosine = np.rint((away[one, 0] * away[two, 0] + away[one, 1] * away[two, 1]) * 1e9)
                    if partner[one] < 0 and partner[two] < 0 and one >> 1 != two >> 1 and cosine < least:
                        least, here, there = cosine, one, two
            if here < 0:
                break
            partner[here], partner[there] = there, here
    count = len(order) // 2
    pieces, offsets, is_closed = np.empty(count, np.int64), np.zeros(count + 1, np.int64), np.zeros(count, np.uint8)
    used, n, strokes = np.zeros(count, np.bool_), 0, 0
    for from_ring in (False, True):
        for end in range(2 * count):
            if used[end >> 1] or (partner[end] >= 0) != from_ring:
                continue
            here = end
            while here >= 0 and not used[here >> 1]:
                used[here >> 1], pieces[n] = True, here
                here, n = partner[here ^ 1], n + 1
            is_closed[strokes] = from_ring
            strokes += 1
            offsets[strokes] = n
    return Strokes(pieces, offsets[: strokes + 1], is_closed[:strokes])


@subkernel
def _look_along(boundaries: Boundaries, xy: FloatArray, end: int) -> tuple[float, float]:
    """Unit vector from an end of a boundary to where it is a few pixels on."""
    first, last, step = boundaries.offsets[end >> 1], boundaries.offsets[(end >> 1) + 1] - 1, 1
    if end & 1:
        first, last, step = last, first, -1
    here = xy[boundaries.path[first]]
    x, y, left = here[0], here[1], REACH_PX
    for k in range(first, last, step):
        before, after = xy[boundaries.path[k]], xy[boundaries.path[k + step]]
        dx, dy = after[0] - before[0], after[1] - before[1]
        pixels = max(1, math.ceil(math.hypot(dx, dy) - 1e-6))
        share = min(1.0, left / pixels)
        x, y, left = before[0] + share * dx, before[1] + share * dy, left - pixels
        if left <= 0:
            break
    length = math.hypot(x - here[0], y - here[1])
    return ((x - here[0]) / length, (y - here[1]) / length) if length > 0 else (0.0, 0.0)


def agree_directions(angles: FloatArray, weights: FloatArray, pairs: Int64) -> FloatArray:
    """Give neighbours whose directions are nearly equal, modulo a right angle, one direction.

    Args:
        angles: (n,) float64 in radians.
        weights: (n,) float64.
        pairs: (m,) int64, ascending: n x the lesser number + the greater number of neighbours.

    Returns:
        (n,) angles, the weighted mean of each group.
    """
    moments = weights * np.exp(4j * angles)
    one, two = np.divmod(pairs, len(angles))
    apart = np.abs(np.angle(moments[one] * np.conj(moments[two]))) / 4
    order = np.argsort(np.round(apart, 9), kind="stable")
    groups = np.arange(len(angles))
    _merge_directions(moments, groups, one[order], two[order])
    return np.asarray(np.angle(moments[groups]) / 4)


@kernel
def _merge_directions(moments: NDArray[np.complex128], groups: Int64, ones: Int64, twos: Int64) -> None:
    for k in range(len(ones)):
        one, two = ones[k], twos[k]
        while groups[one] != one:
            one = groups[one]
        while groups[two] != two:
            two = groups[two]
        turn = moments[one] * np.conj(moments[two])
        if one != two and abs(math.atan2(turn.imag, turn.real)) / 4 < SAME_RAD:
            one, two = min(one, two), max(one, two)
            moments[one] += moments[two]
            groups[two] = one
    for k in range(len(groups)):
        groups[k] = groups[groups[k]]
