"""The kernels that turn staircases, closed or open, into straight walls that meet in corners."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import kernel, subkernel
from geoseg.polygons.chains import (
    FloatArray,
    find_far_point,
    find_first,
    is_near,
    is_simple,
    measure_away2,
    signed_area,
    step_along,
    thin_chain,
    turn_chain,
)
from geoseg.polygons.rings import Int64
from geoseg.polygons.straightening import KEPT, THINNED, WALL_COST, project, retreat_walls, straighten_chain
from geoseg.polygons.walls import THIN_PX, Walls, divide_chain, find_main_direction, sum_steps

THINNED_PX = 1.0
# A node this close to a corner becomes the corner.
SNAP_PX = 0.75
NODE_GAP_PX = 0.1


@kernel
def regularize_ring(
    ring: FloatArray, nodes: Int64, tolerance_px: float, hits: FloatArray
) -> tuple[FloatArray, Int64, int]:
    """Straight walls for a closed staircase.

    The result depends on the ring as a set of points only, not on where it starts or which way it runs; it runs the
    same way and starts at its vertex of least x, then y. Every vertex of it lies within the tolerance of the
    staircase, and its area differs by no more than an eighth of the tolerance times the length of the staircase.

    Args:
        ring: (n, 2) float64 vertices in pixels, edges along rows and columns, the first not repeated at the end.
        nodes: (k,) int64, ascending: vertices of the ring that other outlines share; they move with their wall.
        tolerance_px: how far a corner may be from the staircase, in pixels.
        hits: (h, 3) float64, points at which walls were in somebody's way, and the side to which these walls retreat
            behind the staircase: 1 for the left of the ring.

    Returns:
        The (m, 2) new ring; the (k,) vertices of it that the nodes became; REGULAR (walls along two main directions,
        oblique ones where they are), FREE (walls of any direction), THINNED (vertices of the staircase) or KEPT (all).
    """
    points, place = step_along(ring, True)
    n = len(points) - 1
    backward = signed_area(points) < 0
    chain, start, corners, main = _start_at_corner(points, backward, tolerance_px)
    at = _turn_places(place, nodes, start, n, backward)
    walls, vertices, how = straighten_chain(chain, corners, True, main, tolerance_px)
    if how < THINNED and len(hits):
        # Of a courtyard's ring the polygon lies outside.
        walls, vertices = retreat_walls(
            (chain, vertices), walls, _face_hits(hits, points[start], backward), True, tolerance_px
        )
        how = how if len(vertices) else THINNED
    if how < THINNED:
        outline, became = _place_nodes(walls, vertices[:-1], chain, at)
        if len(nodes) and not (is_near(outline, chain, tolerance_px) and is_simple(outline)):
            how = THINNED
    if how >= THINNED:
        outline, became = _take_places(chain, thin_chain(chain, THINNED_PX), at, n)
        how = THINNED
        if len(outline) < 4 or not is_simple(outline):
            outline, became, how = chain[:-1], at, KEPT
    first, m, step = find_first(outline), len(outline), -1 if backward else 1
    turned, places = np.empty((m, 2)), np.empty(len(became), np.int64)
    for k in range(m):
        for axis in range(2):
            turned[k, axis] = outline[(first + step * k) % m, axis] + points[start, axis]
    for q in range(len(became)):
        places[q] = step * (became[q] - first) % m
    return turned, places, how


@subkernel
def _turn_places(place: Int64, nodes: Int64, start: int, n: int, backward: bool) -> Int64:
    """The places of nodes on a chain of n steps that starts elsewhere or runs backward."""
    at = np.empty(len(nodes), np.int64)
    for q in range(len(nodes)):
        at[q] = (start - place[nodes[q]] if backward else place[nodes[q]] - start) % n
    return at


@subkernel
def _take_places(points: FloatArray, kept: Int64, at: Int64, n: int) -> tuple[FloatArray, Int64]:
    """Those of the first n points that are kept or among `at`, in order, and which of them the latter are."""
    rank, count = np.zeros(n, np.int64), 0
    for places in (kept, at):
        for k in places:
            if k < n:
                rank[k] = 1
    taken, where = np.empty((len(kept) + len(at), 2)), np.empty(len(at), np.int64)
    for k in range(n):
        if rank[k]:
            taken[count, 0], taken[count, 1], rank[k] = points[k, 0], points[k, 1], count
            count += 1
    for q in range(len(at)):
        where[q] = rank[at[q]]
    return taken[:count], where


@subkernel
def fit_stroke(  # noqa: PLR0917 - arrays of a kernel cannot be keywords
    path: FloatArray, nodes: Int64, closed: bool, main: tuple[float, float], tolerance_px: float, hits: FloatArray
) -> tuple[FloatArray, FloatArray, Int64, Int64, bool]:
    """The walls of a line that has nodes, without placing these.

    Args:
        path: (n, 2) float64 vertices in pixels, edges along rows and columns.
        nodes: (k,) int64, ascending: vertices of it.
        closed: whether it is a ring; the first vertex is not repeated at its end.
        main: unit vector of the main direction.
        tolerance_px: how far a vertex may be from the path.
        hits: (h, 3) float64, points that the nearest wall has to clear, to the left (1) or right (-1) of the path.

    Returns:
        (m, 3) lines of walls (unit direction x, y; offset c along its normal (-y, x)) and the (m + 1, 2) ends of the
        walls; the wall of each node and the order of nodes along the walls; whether the walls run against the path.
        Where no walls fit, there are no lines, the ends are the thinned path and a node's wall is its place among
        them.
    """
    points, place = step_along(path, closed)
    n = len(points) - 1
    backward = closed and signed_area(points) < 0
    if closed:
        chain, start, corners, _ = _start_at_corner(points, backward, tolerance_px)
        at = _turn_places(place, nodes, start, n, backward)
    else:
        start = 0
        chain = points.copy()
        for k in range(len(chain)):
            for axis in range(2):
                chain[k, axis] -= points[0, axis]
        corners, at = thin_chain(chain, THIN_PX), _turn_places(place, nodes, 0, len(points), False)
    walls, vertices, how = straighten_chain(chain, corners, closed, main, tolerance_px)
    if how < THINNED and len(hits):
        near = _face_hits(hits, points[start], backward)
        walls, vertices = retreat_walls((chain, vertices), walls, near, closed, tolerance_px)
        how = how if len(vertices) else THINNED
    if how == THINNED:
        kept, where, order = thin_stroke(path, nodes, closed)
        return walls.line[:0], kept, where, order, False
    owner, order = _assign_nodes(walls, at, n, closed)
    line = walls.line
    for i in range(len(line)):
        line[i, 2] += line[i, 0] * points[start, 1] - line[i, 1] * points[start, 0]
    for k in range(len(vertices)):
        for axis in range(2):
            vertices[k, axis] += points[start, axis]
    return line, vertices, owner, order, backward


@subkernel
def _face_hits(hits: FloatArray, origin: FloatArray, backward: bool) -> FloatArray:
    """Points and the side to retreat to, as a chain sees them that starts at an origin and may run backward."""
    near = np.empty_like(hits)
    for k in range(len(hits)):
        near[k, 0], near[k, 1] = hits[k, 0] - origin[0], hits[k, 1] - origin[1]
        near[k, 2] = -hits[k, 2] if backward else hits[k, 2]
    return near


@subkernel
def thin_stroke(path: FloatArray, nodes: Int64, closed: bool) -> tuple[FloatArray, Int64, Int64]:
    """Some vertices of a line, its nodes among them; which of these the nodes are, and their order along the line."""
    points, place = step_along(path, closed)
    n = len(points) - closed
    at = _turn_places(place, nodes, 0, n, False)
    taken, where = _take_places(points, thin_chain(points, THINNED_PX), at, n)
    return taken, where, at


@kernel
def regularize_rings(
    xy: FloatArray, offsets: Int64, chosen: Int64, frozen: NDArray[np.bool_], tolerance_px: float
) -> tuple[FloatArray, Int64]:
    """The chosen of closed staircases as `regularize_ring` gives them, the frozen ones thinned only; their offsets."""
    most = 0
    for ring in chosen:
        most += offsets[ring + 1] - offsets[ring]
    new, new_offsets, none = np.empty((2 * most, 2)), np.zeros(len(chosen) + 1, np.int64), np.empty(0, np.int64)
    no_hits = np.empty((0, 3))
    for k in range(len(chosen)):
        ring = xy[offsets[chosen[k]] : offsets[chosen[k] + 1]]
        if frozen[k]:
            first = find_first(ring)
            turned = np.concatenate((ring[first:], ring[:first]))
            outline = thin_stroke(turned, np.zeros(1, np.int64), True)[0]
        else:
            outline = regularize_ring(ring, none, tolerance_px, no_hits)[0]
        new_offsets[k + 1] = new_offsets[k] + len(outline)
        if new_offsets[k + 1] > len(new):
            new = np.concatenate((new, np.empty_like(new), outline))
        new[new_offsets[k] : new_offsets[k + 1]] = outline
    return new[: new_offsets[-1]], new_offsets


@kernel
def find_far_rings(
    rings: tuple[FloatArray, Int64], staircases: tuple[FloatArray, Int64], chosen: Int64, tolerance_px: float
) -> NDArray[np.bool_]:
    """(chosen,) bool, whether a ring has a vertex farther than the tolerance from its staircase."""
    found = np.zeros(len(chosen), np.bool_)
    for k in range(len(chosen)):
        begin, end = staircases[1][chosen[k]], staircases[1][chosen[k] + 1]
        for v in range(rings[1][chosen[k]], rings[1][chosen[k] + 1]):
            x, y, least = rings[0][v, 0], rings[0][v, 1], np.inf
            ax, ay = staircases[0][end - 1, 0], staircases[0][end - 1, 1]
            for i in range(begin, end):
                bx, by = staircases[0][i, 0], staircases[0][i, 1]
                least = min(least, measure_away2((ax, ay), (bx, by), x, y))
                ax, ay = bx, by
            found[k] |= least > tolerance_px * tolerance_px + 1e-9
    return found


@subkernel
def find_ring_direction(ring: FloatArray, tolerance_px: float) -> tuple[float, float]:
    """Unit vector of the main direction of a closed staircase, modulo a right angle; arguments of regularize_ring."""
    points, _ = step_along(ring, True)
    return _start_at_corner(points, signed_area(points) < 0, tolerance_px)[3]


@subkernel
def _start_at_corner(
    points: FloatArray, backward: bool, tolerance_px: float
) -> tuple[FloatArray, int, Int64, tuple[float, float]]:
    """A closed chain from a corner that is the same wherever it started: chain, start, corners, main direction."""
    wall_cost = WALL_COST * tolerance_px**3
    start = find_far_point(points)
    chain = turn_chain(points, start, backward)
    corners = thin_chain(chain, THIN_PX)
    sums = sum_steps(chain)
    main = find_main_direction(chain, sums, divide_chain(chain, sums, corners, (1.0, 0.0), True, wall_cost))
    return chain, start, corners, main


@subkernel
def _assign_nodes(walls: Walls, at: Int64, n: int, closed: bool) -> tuple[Int64, Int64]:
    """The wall of each of the points `at` of a chain of n steps, and their order along the walls.

    Past the last wall a closed chain starts again, on the first one.
    """
    owner, order = np.zeros(len(at), np.int64), at.copy()
    for q in range(len(at)):
        while owner[q] < len(walls.stop) and walls.stop[owner[q]] <= at[q]:
            owner[q] += 1
        if owner[q] == len(walls.stop):
            owner[q] = 0 if closed else len(walls.stop) - 1
            order[q] = at[q] - n if closed else at[q]
    return owner, order


@subkernel
def _place_nodes(walls: Walls, vertices: FloatArray, chain: FloatArray, at: Int64) -> tuple[FloatArray, Int64]:
    """Put the nodes, points `at` of a closed chain, on their walls in order; the ring with them and their places."""
    n = len(chain) - 1
    m, k = len(vertices), len(at)
    outline, became, filled = np.empty((m + k, 2)), np.empty(k, np.int64), 0
    owner, order = _assign_nodes(walls, at, n, True)
    ranked = np.argsort(order)
    taken, begin = np.full(m, -1), 0
    for i in range(m):
        end = begin
        while end < k and owner[ranked[end]] == i:
            end += 1
        own, begin = ranked[begin:end], end
        length = math.hypot(vertices[(i + 1) % m, 0] - vertices[i, 0], vertices[(i + 1) % m, 1] - vertices[i, 1])
        gap = min(NODE_GAP_PX, length / (len(own) + 1))
        outline[filled, 0], outline[filled, 1] = vertices[i, 0], vertices[i, 1]
        corner, filled, past = filled, filled + 1, 0.0
        if taken[i] >= 0:
            became[taken[i]] = corner
        for p in range(len(own)):
            q = own[p]
            foot = project(chain[at[q]], walls.line[i])
            run = (foot[0] - vertices[i, 0]) * walls.line[i, 0] + (foot[1] - vertices[i, 1]) * walls.line[i, 1]
            if p == 0 and run < SNAP_PX and taken[i] < 0:
                became[q], taken[i] = corner, q
                continue
            after = (i + 1) % m
            if p == len(own) - 1 and length - run < SNAP_PX and taken[after] < 0:
                became[q], taken[after] = 0, q
                continue
            past = min(max(run, past + gap), length - gap * (len(own) - p))
            outline[filled, 0] = vertices[i, 0] + past * walls.line[i, 0]
            outline[filled, 1] = vertices[i, 1] + past * walls.line[i, 1]
            became[q], filled = filled, filled + 1
    return outline[:filled], became
