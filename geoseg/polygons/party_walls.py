"""Touching buildings with straight walls, the shared ones drawn once."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.polygons.chains import FloatArray
from geoseg.polygons.outlines import SNAP_PX, find_ring_direction, fit_stroke, thin_stroke
from geoseg.polygons.rings import Int64
from geoseg.polygons.straightening import project
from geoseg.polygons.strokes import Arc, Stroke, agree_directions, cut_arcs, link_strokes, trace_stroke

# Lines at less than this sine do not say where along one another they meet.
CROSSING = 0.25


@dataclass(frozen=True, eq=False)
class _Fit:
    """Walls of a stroke in the order of its chain, and where its nodes are on it.

    Args:
        nodes: (k,) int64, vertex numbers, in the order of the stroke.
        owner: (k,) int64, the wall of each; without walls, its place among the vertices.
        order: (k,) int64, ascending along the chain.
        line: (m, 3) float64, of each wall (ux, uy, c); none if the stroke could not be straightened.
        vertices: (m + 1, 2) float64, the ends of the walls; without walls, of the thinned staircase.
        backward: whether the chain runs against the stroke.
        closed: whether it is closed.
    """

    nodes: Int64
    owner: Int64
    order: Int64
    line: FloatArray
    vertices: FloatArray
    backward: bool
    closed: bool


class Positions(NamedTuple):
    """Vertices by number.

    Args:
        xy: (n, 2) float64 in pixels.
        is_node: (n,) bool, whether more than two boundaries meet there.
    """

    xy: FloatArray
    is_node: NDArray[np.bool_]


def straighten_shared(
    rings: Sequence[Int64],
    owners: Sequence[int],
    vertices: Positions,
    *,
    frozen: NDArray[np.bool_],
    tolerance_px: float,
) -> list[FloatArray]:
    """Straight walls for rings that share vertices, such that what was shared still is.

    A boundary that runs straight on past others is fitted first as a whole; those that end at it end on its line.

    Args:
        rings: vertex numbers of each ring, not closed, at least one of them a node.
        owners: the polygon of each ring, from 0.
        vertices: where they are.
        frozen: by polygon, whether its boundary is thinned only.
        tolerance_px: how far a corner may be from the staircase, in pixels.

    Returns:
        (m, 2) float64 of each ring, not closed. Nothing keeps boundaries from crossing: check.
    """
    xy, is_node = vertices
    arcs, pieces = cut_arcs(rings, owners, is_node)
    angles = _direct_polygons(rings, owners, arcs, xy, tolerance_px)
    angles[frozen] = np.nan
    strokes = link_strokes(arcs, xy)
    fits = [_fit(stroke, arcs, angles, xy, tolerance_px) for stroke in strokes]
    places = _place_nodes(fits, xy, tolerance_px)
    drawn: dict[int, FloatArray] = {}
    for stroke, fit in zip(strokes, fits, strict=True):
        for (i, forward), path in zip(stroke.arcs, _draw(fit, places), strict=True):
            drawn[i] = path if forward else path[::-1]
    return [np.concatenate([(drawn[i] if ahead else drawn[i][::-1])[:-1] for i, ahead in ring]) for ring in pieces]


def _direct_polygons(
    rings: Sequence[Int64], owners: Sequence[int], arcs: Sequence[Arc], vertices: FloatArray, tolerance_px: float
) -> FloatArray:
    """The angle of the main direction of each polygon, from its longest ring, agreed on with its neighbours."""
    angles, weights = np.zeros(max(owners) + 1), np.zeros(max(owners) + 1)
    for ring, owner in zip(rings, owners, strict=True):
        xy = vertices[ring]
        length = float(np.abs(np.diff(xy, axis=0)).sum())
        if length**3 > weights[owner]:
            ux, uy = find_ring_direction(xy, tolerance_px)
            angles[owner], weights[owner] = math.atan2(uy, ux), length**3
    pairs = {(min(arc.polygons), max(arc.polygons)) for arc in arcs if len(set(arc.polygons)) == 2}
    return agree_directions(angles, weights, sorted(pairs))


def _fit(stroke: Stroke, arcs: Sequence[Arc], angles: FloatArray, vertices: FloatArray, tolerance_px: float) -> _Fit:
    path, nodes = trace_stroke(stroke, arcs)
    votes: dict[float, int] = defaultdict(int)
    for i, _ in stroke.arcs:
        for polygon in arcs[i].polygons:
            votes[float(angles[polygon])] += len(arcs[i].path)
    if any(math.isnan(angle) for angle in votes):
        kept, places, order = thin_stroke(vertices[path], nodes, stroke.closed)
        return _Fit(path[nodes], places, order, np.empty((0, 3)), kept, False, stroke.closed)
    angle = max(votes, key=lambda a: (votes[a], a))
    main = (math.cos(angle), math.sin(angle))
    line, corners, owner, order, backward = fit_stroke(vertices[path], nodes, stroke.closed, main, tolerance_px)
    return _Fit(path[nodes], owner, order, line, corners, backward, stroke.closed)


def _place_nodes(fits: Sequence[_Fit], vertices: FloatArray, tolerance_px: float) -> dict[int, FloatArray]:
    """Where each node goes: on the wall that passes it, at the wall that ends there."""
    meeting: dict[int, list[tuple[bool, int, int]]] = defaultdict(list)
    for s, fit in enumerate(fits):
        last = len(fit.nodes) - 1
        for q, node in enumerate(fit.nodes):
            ends = not fit.closed and q in (0, last)
            meeting[int(node)].append((ends, s, q))
    places = {}
    for node, comers in meeting.items():
        origin = vertices[node]
        places[node] = origin
        comers.sort()
        if not all(len(fits[s].line) for _, s, _ in comers):
            continue
        lines = [fits[s].line[fits[s].owner[q]] for _, s, q in comers]
        if comers[0][0]:
            place = _meet(lines, origin)
        else:
            _, s, q = comers[0]
            i = fits[s].owner[q]
            place = _slide(lines, origin, fits[s].vertices[i], fits[s].vertices[i + 1])
        if np.hypot(*(place - origin)) <= tolerance_px:
            places[node] = place
    return places


def _meet(lines: Sequence[FloatArray], origin: FloatArray) -> FloatArray:
    """The point nearest to lines (ux, uy, c); along what they leave open, nearest to the origin."""
    normals = np.array([(-line[1], line[0]) for line in lines])
    off = np.array([line[2] for line in lines]) - normals @ origin
    return np.asarray(origin + np.linalg.pinv(normals, rcond=CROSSING) @ off)


def _slide(lines: Sequence[FloatArray], origin: FloatArray, start: FloatArray, end: FloatArray) -> FloatArray:
    """The point on the first line, from start to end, nearest to where the others cross it."""
    ux, uy, _ = first = lines[0]
    foot = project(origin, first)
    steps = []
    for vx, vy, c in lines[1:]:
        sine = vx * uy - vy * ux
        if abs(sine) > CROSSING:
            steps.append((c + vy * foot[0] - vx * foot[1]) / sine)
    run = (foot - start) @ (ux, uy) + (float(np.mean(steps)) if steps else 0.0)
    length = float(np.hypot(*(end - start)))
    if run < SNAP_PX:
        return start
    if run > length - SNAP_PX:
        return end
    return np.asarray(start + run * np.array([ux, uy]))


def _draw(fit: _Fit, places: dict[int, FloatArray]) -> list[FloatArray]:
    """The arcs of a stroke, in its own order and direction, each with both end nodes."""
    points: list[FloatArray] = []
    became = np.zeros(len(fit.nodes), np.int64)
    ranked = np.argsort(fit.order)
    if len(fit.line):
        for i in range(len(fit.line)):
            own = [q for q in ranked if fit.owner[q] == i]
            corner = fit.vertices[i]
            if fit.closed or i > 0:
                points.append(corner)
            for q in own:
                place = places[int(fit.nodes[q])]
                if not (points and np.array_equal(points[-1], place)):
                    points.append(place)
                became[q] = len(points) - 1
    else:
        points = list(fit.vertices)
        became = fit.owner.copy()
        for q, node in enumerate(fit.nodes):
            points[became[q]] = places[int(node)]
    line = np.array(points)
    if fit.backward:
        line, became = line[::-1], len(line) - 1 - became
    if not fit.closed:
        return [line[a : b + 1] for a, b in pairwise(became)]
    line = np.roll(line, -became[0], axis=0)
    stops = np.append((became - became[0]) % len(line), len(line))
    closed = np.concatenate([line, line[:1]])
    return [closed[a : b + 1] for a, b in pairwise(stops)]
