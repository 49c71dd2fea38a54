"""Touching buildings with straight walls, the shared ones drawn once."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import kernel, subkernel
from geoseg.polygons.chains import FloatArray
from geoseg.polygons.outlines import NODE_GAP_PX, SNAP_PX, find_ring_direction
from geoseg.polygons.rings import Int64
from geoseg.polygons.stroke_fits import StrokeFits, fit_strokes
from geoseg.polygons.strokes import Boundaries, Strokes, TouchingRings, agree_directions, cut_rings, link_strokes
from geoseg.polygons.wall_hits import WallHits, blame_boundaries, list_retreats
from geoseg.polygons.walls import direct_scatter

# Lines at less than this sine do not say where along one another they meet.
CROSSING = 0.25


def straighten_shared(
    rings: TouchingRings,
    *,
    frozen: NDArray[np.bool_],
    tolerance_px: float,
    hits: WallHits | None = None,
) -> tuple[FloatArray, Int64, Int64]:
    """Straight walls for rings that share vertices, such that what was shared still is.

    A boundary that runs straight on past others is fitted first as a whole; those that end at it end on its line.
    Groups of rings that have nothing in common have no influence on one another.

    Args:
        rings: the staircases.
        frozen: (polygons,) bool, whether the boundary of each is thinned only.
        tolerance_px: how far a corner may be from the staircase, in pixels.
        hits: what walls have to clear: outer ones step back, polygons on both sides of others are frozen.

    Returns:
        (m, 2) float64 coordinates of the new rings, not closed, each from its first node; (rings + 1,) int64 offsets;
        the places in these coordinates of all nodes, ring by ring. Nothing keeps boundaries from crossing: check.
    """
    boundaries = cut_rings(rings)
    angles = _direct_polygons(rings, boundaries, len(frozen), tolerance_px)
    angles[frozen] = np.nan
    strokes = link_strokes(boundaries, rings.xy)
    hits = hits or WallHits.none(len(frozen))
    blamed = blame_boundaries(boundaries, rings.xy, hits)
    inner = boundaries.polygons[blamed]
    angles[inner[inner[:, 1] >= 0]] = np.nan
    retreats = list_retreats(boundaries, strokes, blamed, hits)
    fits = fit_strokes(strokes, boundaries, angles, rings.xy, tolerance_px, *retreats)
    stroke = np.repeat(np.arange(len(strokes.is_closed)), np.diff(strokes.offsets) + 1)
    used = np.flatnonzero(fits.nodes >= 0)
    order = used[np.argsort(fits.nodes[used], kind="stable")]
    meetings = np.append(np.flatnonzero(np.diff(fits.nodes[order], prepend=-1)), len(order))
    places = _place_nodes(fits, strokes, stroke, (order, meetings), rings.xy, tolerance_px)
    return _draw_rings(boundaries, *_draw_strokes(strokes, fits, places))


def _direct_polygons(rings: TouchingRings, boundaries: Boundaries, polygons: int, tolerance_px: float) -> FloatArray:
    """The angle of the main direction of each polygon, from its longest ring, agreed on with its neighbours."""
    angles, weights = np.zeros(polygons), np.zeros(polygons)
    steps = np.abs(np.diff(rings.xy[rings.vertex], axis=0, append=0)).sum(axis=1)
    steps[rings.offsets[1:] - 1] = 0
    length = np.add.reduceat(steps, rings.offsets[:-1])
    order = np.lexsort((np.arange(len(length)), -length, rings.owner))
    longest = order[np.flatnonzero(np.diff(rings.owner[order], prepend=-1))]
    owner = rings.owner[longest]
    angles[owner], weights[owner] = _find_angles(rings, longest, tolerance_px), length[longest] ** 3
    one, two = np.sort(boundaries.polygons, axis=1).T
    return agree_directions(angles, weights, np.unique((one * polygons + two)[(one >= 0) & (one < two)]))


@kernel
def _find_angles(rings: TouchingRings, chosen: Int64, tolerance_px: float) -> FloatArray:
    angles = np.empty(len(chosen))
    for k in range(len(chosen)):
        ring = rings.xy[rings.vertex[rings.offsets[chosen[k]] : rings.offsets[chosen[k] + 1]]]
        ux, uy = find_ring_direction(ring, tolerance_px)
        angles[k] = math.atan2(uy, ux)
    return angles


@kernel
def _place_nodes(  # noqa: PLR0917 - arrays of a kernel cannot be keywords
    fits: StrokeFits,
    strokes: Strokes,
    stroke: Int64,
    comers: tuple[Int64, Int64],
    xy: FloatArray,
    tolerance_px: float,
) -> FloatArray:
    """Where each node goes: on the wall that passes it, at the wall that ends there."""
    order, meetings = comers
    places = xy.copy()
    lines = np.empty((len(order) + 1, 3))
    for meeting in range(len(meetings) - 1):
        here = order[meetings[meeting] : meetings[meeting + 1]]
        origin = xy[fits.nodes[here[0]]]
        passing, n = -1, 1
        for slot in here:
            s = stroke[slot]
            first = fits.line_offsets[s]
            if first == fits.line_offsets[s + 1]:
                n = 0
                break
            line = fits.line[first + fits.owner[slot]]
            is_end = slot in (strokes.offsets[s] + s, strokes.offsets[s + 1] + s) and not strokes.is_closed[s]
            if passing < 0 and not is_end:
                passing = slot
                lines[0] = line
            else:
                lines[n] = line
                n += 1
        if n == 0:
            continue
        if passing < 0:
            x, y = _meet(lines[1:n], origin)
        else:
            first = fits.end_offsets[stroke[passing]] + fits.owner[passing]
            x, y = _slide(lines[:n], origin, fits.ends[first], fits.ends[first + 1])
        if math.hypot(x - origin[0], y - origin[1]) <= tolerance_px:
            places[fits.nodes[here[0]]] = x, y
    return places


@subkernel
def _meet(lines: FloatArray, origin: FloatArray) -> tuple[float, float]:
    """The point nearest to lines (ux, uy, c); along what they leave open, nearest to the origin."""
    xx, xy, yy, x, y = 0.0, 0.0, 0.0, 0.0, 0.0
    for ux, uy, c in lines:
        off = c + uy * origin[0] - ux * origin[1]
        xx, xy, yy = xx + uy * uy, xy - ux * uy, yy + ux * ux
        x, y = x - uy * off, y + ux * off
    ux, uy = direct_scatter(xx, xy, yy)
    much = ux * ux * xx + 2 * ux * uy * xy + uy * uy * yy
    little = xx + yy - much
    far = (ux * x + uy * y) / much
    aside = (ux * y - uy * x) / little if little > CROSSING * CROSSING * much else 0.0
    return origin[0] + far * ux - aside * uy, origin[1] + far * uy + aside * ux


@subkernel
def _slide(lines: FloatArray, origin: FloatArray, start: FloatArray, end: FloatArray) -> tuple[float, float]:
    """The point on the first line, from start to end, nearest to where the others cross it."""
    ux, uy, c = lines[0]
    off = -uy * origin[0] + ux * origin[1] - c
    x, y = origin[0] + off * uy, origin[1] - off * ux
    steps, crossings = 0.0, 0
    for vx, vy, d in lines[1:]:
        sine = vx * uy - vy * ux
        if abs(sine) > CROSSING:
            steps += (d + vy * x - vx * y) / sine
            crossings += 1
    run = (x - start[0]) * ux + (y - start[1]) * uy + (steps / crossings if crossings else 0.0)
    if run < SNAP_PX:
        return start[0], start[1]
    if run > math.hypot(end[0] - start[0], end[1] - start[1]) - SNAP_PX:
        return end[0], end[1]
    return start[0] + run * ux, start[1] + run * uy


@kernel
def _draw_strokes(strokes: Strokes, fits: StrokeFits, places: FloatArray) -> tuple[FloatArray, Int64]:
    """The new boundaries, each from its lesser end: coordinates, and (boundaries, 2) where each begins and ends."""
    count = len(strokes.is_closed)
    drawn = np.empty((fits.end_offsets[count] + 2 * len(fits.nodes), 2))
    spans, n = np.empty((len(strokes.pieces), 2), np.int64), 0
    for s in range(count):
        pieces = strokes.pieces[strokes.offsets[s] : strokes.offsets[s + 1]]
        closed = strokes.is_closed[s] != 0
        size = len(pieces) + (not closed)
        points, became = _draw_stroke(fits, s, places, (strokes.offsets[s] + s, size), closed)
        m, step = len(points), -1 if fits.is_backward[s] else 1
        for k in range(len(pieces)):
            begin = step * (became[k] - became[0]) % m
            # The last boundary of a closed stroke ends where the first one begins.
            steps = max((step * (became[k + 1] - became[0]) % m if k + 1 < size else m) - begin, 0)
            for i in range(steps + 1):
                drawn[n + (steps - i if pieces[k] & 1 else i)] = points[(became[0] + step * (begin + i)) % m]
            spans[pieces[k] >> 1] = n, n + steps
            n += steps + 1
    return drawn[:n], spans


@subkernel
def _draw_stroke(
    fits: StrokeFits, s: int, places: FloatArray, slots: tuple[int, int], closed: bool
) -> tuple[FloatArray, Int64]:
    """The vertices of a stroke as its chain runs, and which of them its nodes became."""
    base, size = slots
    ends = fits.ends[fits.end_offsets[s] : fits.end_offsets[s + 1]]
    walls = fits.line_offsets[s + 1] - fits.line_offsets[s]
    owner, nodes = fits.owner[base : base + size], fits.nodes[base : base + size]
    if walls == 0:
        points = ends.copy()
        for q in range(size):
            points[owner[q]] = places[nodes[q]]
        return points, owner
    lines = fits.line[fits.line_offsets[s] : fits.line_offsets[s + 1]]
    points, became, n = np.empty((walls + size, 2)), np.empty(size, np.int64), 0
    is_corner = False
    ranked = np.argsort(fits.order[base : base + size])
    for i in range(walls):
        # A node that slid past the corner behind which it was takes its place.
        if n > 0 and i > 0 and _run_along(lines[i - 1], points[n - 1], ends[i]) < NODE_GAP_PX:
            is_corner = False
        elif closed or i > 0:
            points[n] = ends[i]
            n, is_corner = n + 1, True
        for q in ranked:
            if owner[q] == i:
                place = places[nodes[q]]
                if is_corner and _run_along(lines[i], points[n - 1], place) < NODE_GAP_PX:
                    n -= 1
                if n == 0 or points[n - 1, 0] != place[0] or points[n - 1, 1] != place[1]:
                    points[n] = place
                    n += 1
                became[q], is_corner = n - 1, False
    return points[:n], became


@kernel
def _draw_rings(boundaries: Boundaries, drawn: FloatArray, spans: Int64) -> tuple[FloatArray, Int64, Int64]:
    size = 0
    for piece in boundaries.pieces:
        size += spans[piece >> 1, 1] - spans[piece >> 1, 0]
    xy, offsets = np.empty((size, 2)), np.zeros(len(boundaries.ring_offsets), np.int64)
    nodes, n = np.empty(len(boundaries.pieces), np.int64), 0
    for ring in range(len(offsets) - 1):
        for k in range(boundaries.ring_offsets[ring], boundaries.ring_offsets[ring + 1]):
            piece = boundaries.pieces[k]
            first, last = spans[piece >> 1]
            nodes[k] = n
            for i in range(last - first):
                xy[n] = drawn[last - i if piece & 1 else first + i]
                n += 1
        offsets[ring + 1] = n
    return xy, offsets, nodes


@subkernel
def _run_along(line: FloatArray, start: FloatArray, end: FloatArray) -> float:
    run: float = (end[0] - start[0]) * line[0] + (end[1] - start[1]) * line[1]
    return run
