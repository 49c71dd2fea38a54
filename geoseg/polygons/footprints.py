"""Regular outlines proposed for rings, cut at the same junctions as the rings: whoever shares an arc can take it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import kernel, subkernel
from geoseg.polygons.arcs import SUBPIXELS, Arcs
from geoseg.polygons.chains import FloatArray, is_simple
from geoseg.polygons.marks import MARK_BITS
from geoseg.polygons.outlines import regularize_ring
from geoseg.polygons.rings import Int32, Int64, Uint8
from geoseg.polygons.straightening import THINNED

# What has more corners is no footprint, and would take long.
LARGEST_RING = 4096
# How far a node may slide along the border, in tolerances.
BORDER_SHARE = 2


class Walls(NamedTuple):
    """New courses of arcs.

    Args:
        keys: (n,) int64, of the arcs.
        owners: (n,) int64, the ring that each belongs to.
        offsets: (n + 1,) int64 into `coords`.
        coords: (vertices, 2) int32, (row, col) in 1/256 pixels, in the arcs' canonical direction, with both ends.
    """

    keys: Int64
    owners: Int64
    offsets: Int64
    coords: Int32


class Footprints(NamedTuple):
    """Rings with new courses.

    Args:
        rings: (n,) int64, key of each ring: the least of its arcs' and on which side of that it lies.
        boxes: (n, 4) int32 first row, first col, last row, last col of the new course, in 1/256 pixels.
        walls: of all arcs of these rings.
        is_single: (arcs,) uint8, 1 where no polygon lies on the other side.
        nodes: (k,) int64, junctions on these rings: row * 2^32 + col in pixels.
        node_owners: (k,) int64, the ring that claims each.
        places: (k, 2) int32, where they go, in 1/256 pixels.
    """

    rings: Int64
    boxes: Int32
    walls: Walls
    is_single: Uint8
    nodes: Int64
    node_owners: Int64
    places: Int32


class Hits(NamedTuple):
    """Where walls of rings were in somebody's way.

    Args:
        keys: (n,) int64 keys of rings, ascending.
        places: (n, 2) int32, points of their outlines, (row, col) in 1/256 pixels.
    """

    keys: Int64
    places: Int32


class Frame(NamedTuple):
    """How rings of pixels become outlines.

    Args:
        pixel: height and width of a pixel as `regularize_ring` takes them.
        tolerance_px: the tolerance that it takes.
        border: first row, first col, last row, last col of the raster, in pixels; what lies there stays there.
    """

    pixel: tuple[float, float]
    tolerance_px: float
    border: tuple[int, int, int, int]


@kernel
def draw_footprints(  # noqa: PLR0917 - arrays of a kernel cannot be keywords
    coords: Int32, ring_offsets: Int64, wanted: Uint8, arcs: Arcs, frame: Frame, hits: Hits
) -> Footprints:
    """Regular outlines of the rings that have one.

    Args:
        coords: (vertices, 2) int32 corners of the rings, with marks.
        ring_offsets: (rings + 1,) int64 into `coords`.
        wanted: (rings,) uint8, 1 for those to look at.
        arcs: the staircases of all rings.
        frame: what outlines have to keep to.
        hits: where walls must retreat.
    """
    sizes, arc_sizes = np.diff(ring_offsets), np.diff(arcs.ring_offsets)
    chosen = (wanted != 0) & (sizes <= LARGEST_RING)
    most, most_arcs, most_rings = 2 * np.sum(sizes[chosen]), np.sum(arc_sizes[chosen]), np.sum(chosen)
    new = np.empty((most + most_arcs, 2), np.int32)
    offsets = np.zeros(most_arcs + 1, np.int64)
    keys, owners = np.empty(most_arcs, np.int64), np.empty(most_arcs, np.int64)
    is_single = np.empty(most_arcs, np.uint8)
    rings, boxes = np.empty(most_rings, np.int64), np.empty((most_rings, 4), np.int32)
    nodes, node_owners = np.empty(most_arcs, np.int64), np.empty(most_arcs, np.int64)
    places = np.empty((most_arcs, 2), np.int32)
    n_rings, n_arcs, n_nodes = 0, 0, 0
    for ring in np.flatnonzero(chosen):
        corners = coords[ring_offsets[ring] : ring_offsets[ring + 1]]
        at = np.flatnonzero(corners[:, 1] & 1)
        first_arc = arcs.ring_offsets[ring]
        owner = np.int64(2**62)
        for arc in range(first_arc, arcs.ring_offsets[ring + 1]):
            owner = min(owner, arcs.keys[arc] << 1 | arcs.is_backward[arc])
        first_hit, stop_hit = np.searchsorted(hits.keys, owner), np.searchsorted(hits.keys, owner, side="right")
        outline, became = _draw_ring(corners, at, frame, hits.places[first_hit:stop_hit])
        m, n_at = len(outline), len(at)
        if m == 0:
            continue
        for arc in range(first_arc, arcs.ring_offsets[ring + 1]):
            i = arc - first_arc
            begin = became[i] if n_at else 0
            count = m if n_at < 2 else (became[(i + 1) % n_at] - begin) % m
            n = offsets[n_arcs]
            for k in range(count + 1):
                new[n + k] = outline[(begin + (count - k if arcs.is_backward[arc] else k)) % m]
            keys[n_arcs], owners[n_arcs], is_single[n_arcs] = arcs.keys[arc], owner, arcs.is_single[arc]
            n_arcs += 1
            offsets[n_arcs] = n + count + 1
        for i in range(n_at):
            nodes[n_nodes] = np.int64(corners[at[i], 0]) << 32 | np.int64(corners[at[i], 1] >> MARK_BITS)
            node_owners[n_nodes], places[n_nodes] = owner, outline[became[i]]
            n_nodes += 1
        rings[n_rings] = owner
        for axis in range(2):
            boxes[n_rings, axis], boxes[n_rings, 2 + axis] = outline[:, axis].min(), outline[:, axis].max()
        n_rings += 1
    return Footprints(
        rings[:n_rings],
        boxes[:n_rings],
        Walls(keys[:n_arcs], owners[:n_arcs], offsets[: n_arcs + 1], new[: offsets[n_arcs]]),
        is_single[:n_arcs],
        nodes[:n_nodes],
        node_owners[:n_nodes],
        places[:n_nodes],
    )


@subkernel
def _draw_ring(corners: Int32, at: Int64, frame: Frame, hits: Int32) -> tuple[Int32, Int64]:
    """The (m, 2) int32 outline of a ring in 1/256 pixels, and the vertices that its nodes became; empty if none."""
    old = np.empty((len(corners), 2), np.int32)
    old[:, 0], old[:, 1] = corners[:, 0], corners[:, 1] >> MARK_BITS
    xy = np.empty((len(corners), 2))
    xy[:, 0], xy[:, 1] = old[:, 1] * frame.pixel[1], old[:, 0] * frame.pixel[0]
    places = np.ones((len(hits), 3))
    places[:, 0], places[:, 1] = hits[:, 1] * frame.pixel[1] / SUBPIXELS, hits[:, 0] * frame.pixel[0] / SUBPIXELS
    outline, became, found = regularize_ring(xy, at, frame.tolerance_px, places)
    if found >= THINNED:
        return old[:0], at[:0]
    row_col = np.empty_like(outline)
    row_col[:, 0], row_col[:, 1] = outline[:, 1] / frame.pixel[0], outline[:, 0] / frame.pixel[1]
    row_col, became = _hold_border(row_col, became.copy(), old, at, frame)
    rounded = np.rint(row_col * SUBPIXELS)
    return (rounded.astype(np.int32), became) if _is_sound(rounded, became, len(old)) else (old[:0], at[:0])


@subkernel
def _hold_border(outline: FloatArray, became: Int64, old: Int32, at: Int64, frame: Frame) -> tuple[FloatArray, Int64]:
    """Put the nodes that were at the border there again, where their walls meet it, with nothing between them.

    Empty if something else reaches the border.
    """
    m, k = len(outline), len(at)
    kept, is_held = np.ones(m, np.bool_), np.zeros(m, np.bool_)
    for i in range(k):
        node, here = old[at[i]], outline[became[i]]
        after = (i + 1) % k
        is_free = True
        for side in range(4):
            axis, line = side & 1, frame.border[side]
            if node[axis] != line:
                continue
            is_held[became[i]] = True
            is_next = old[at[after], axis] == line and at[after] == (at[i] + 1) % len(old) and k > 1
            inward = outline[(became[i] + (-1 if is_next else 1)) % m]
            rise = here[axis] - inward[axis]
            if is_free and abs(rise) > 0.5:
                here[1 - axis] += (line - here[axis]) / rise * (here[1 - axis] - inward[1 - axis])
            here[axis] = line
            is_free = False
            corner = became[i] + 1
            while is_next and corner % m != became[after]:
                kept[corner % m] = False
                corner += 1
        for axis in range(2):
            if node[axis] in (frame.border[axis], frame.border[axis + 2]):
                here[axis] = node[axis]
        is_far = (
            np.hypot((here[0] - node[0]) * frame.pixel[0], (here[1] - node[1]) * frame.pixel[1])
            > BORDER_SHARE * frame.tolerance_px
        )
        if not is_free and is_far:
            return outline[:0], became
    for i in range(m):
        for axis in range(2):
            inside = frame.border[axis] < outline[i, axis] < frame.border[axis + 2]
            if kept[i] and not is_held[i] and not inside:
                return outline[:0], became
    return outline[kept], (np.cumsum(kept) - 1)[became]


@subkernel
def _is_sound(outline: FloatArray, became: Int64, most: int) -> bool:
    """Whether an outline in whole subpixels is simple and its nodes follow one another around it."""
    m, k = len(outline), len(became)
    if m < 3 or m > 2 * most or not is_simple(outline):
        return False
    around = 0
    for i in range(k):
        step = (became[(i + 1) % k] - became[i]) % m
        if k > 1 and step == 0:
            return False
        around += step
    return k < 2 or around == m


@kernel
def find_unsound(
    outlines: FloatArray, offsets: Int64, nodes: Int64, node_offsets: Int64, sizes: Int64
) -> NDArray[np.bool_]:
    """(rings,) bool, which of several outlines in whole subpixels are not simple or have their nodes in disorder.

    Args:
        outlines: (n, 2) float64.
        offsets: (rings + 1,) int64 into `outlines`.
        nodes: (k,) int64, places in `outlines`.
        node_offsets: (rings + 1,) int64 into `nodes`.
        sizes: (rings,) int64, corners of the staircases.
    """
    found = np.zeros(len(sizes), np.bool_)
    for ring in range(len(sizes)):
        became = nodes[node_offsets[ring] : node_offsets[ring + 1]] - offsets[ring]
        found[ring] = not _is_sound(outlines[offsets[ring] : offsets[ring + 1]], became, sizes[ring])
    return found
