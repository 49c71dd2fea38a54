"""The kernels that fit straight walls to a chain and make them meet in corners."""

from __future__ import annotations

import math

import numpy as np

from geoseg.kernel import subkernel
from geoseg.polygons.chains import FloatArray, is_near, is_simple, signed_area
from geoseg.polygons.rings import Int64
from geoseg.polygons.walls import (
    MIN_TURN,
    Walls,
    divide_chain,
    fit_lines,
    refine_direction,
    scatter_steps,
    sum_steps,
)

REGULAR, FREE, THINNED, KEPT = 0, 1, 2, 3
# The misfit that is worth a wall in units of the cubed tolerance; its share in a second, more careful attempt, and
# where the outline is round.
WALL_COST = 0.6
CAREFUL = 0.3
ROUND = 0.05
CIRCLE_WALLS = 4
SHORTEST_WALL_PX = 1.5
# A wall clears what it hit by this. A place on it does not tell how deep that is: then it goes so far.
CLEARANCE_PX, ON_WALL_PX, UNKNOWN_PX = 0.5, 0.05, 1.5


@subkernel
def straighten_chain(
    chain: FloatArray, corners: Int64, closed: bool, main: tuple[float, float], tolerance_px: float
) -> tuple[Walls, FloatArray, int]:
    """The walls of a chain and the vertices between them.

    Args:
        chain: (n + 1, 2) points at most a pixel apart; a closed one starts and ends at a corner.
        corners: points at which walls may end, from 0 to n.
        closed: whether the last wall meets the first.
        main: unit vector of the main direction; of a closed chain it is refined.
        tolerance_px: how far a vertex may be from the chain.

    Returns:
        Walls with their lines; the vertices before the first, between them and after the last; REGULAR, FREE or, if
        neither is near the chain, THINNED.
    """
    sums = sum_steps(chain)
    length = sums[len(sums) - 1, 0]
    full_cost = WALL_COST * tolerance_px**3
    round_off = False
    for attempt in range(4):
        if round_off and attempt < 2:
            continue
        cost = full_cost * (ROUND if round_off else 1.0 if attempt % 2 == 0 else CAREFUL)
        walls = divide_chain(chain, sums, corners, main, attempt >= 2, cost)
        if closed and attempt == 0 and _is_round(chain, sums, walls, full_cost):
            round_off = True
            continue
        if len(walls.kind) < (3 if closed else 1):
            continue
        if closed and attempt < 2:
            fit_lines(chain, sums, walls, refine_direction(sums, walls, main))
        else:
            fit_lines(chain, sums, walls, main)
        met, vertices = _meet_walls(walls, chain, closed)
        if len(vertices) and is_near(vertices, chain, tolerance_px):
            if not closed:
                return met, vertices, attempt // 2
            change = abs(signed_area(vertices) - signed_area(chain))
            if change <= tolerance_px * length / 8 and is_simple(vertices[:-1]):
                return met, vertices, attempt // 2
    return walls, chain[:0], THINNED


@subkernel
def retreat_walls(
    drawn: tuple[FloatArray, FloatArray], walls: Walls, hits: FloatArray, closed: bool, tolerance_px: float
) -> tuple[Walls, FloatArray]:
    """Move walls of a chain to one side until they clear what they hit, or all of their part of the chain.

    Args:
        drawn: the chain and the vertices, as in `straighten_chain`.
        walls: of it, with their lines.
        hits: (h, 3) points, each of which the nearest wall has to leave behind, and to which side it moves: 1 for the
            left of the chain in pixels, -1 for its right.
        closed: whether the last wall meets the first.
        tolerance_px: how far a vertex may be from the chain.

    Returns:
        Walls and vertices as of `straighten_chain`; no vertices where they would be too far or cross.
    """
    chain, vertices = drawn
    steps = np.zeros(len(walls.kind))
    for x, y, side in hits:
        at = _find_nearest_wall(vertices, x, y)
        deep = side * (y * walls.line[at, 0] - x * walls.line[at, 1] - walls.line[at, 2])
        step = UNKNOWN_PX if deep < ON_WALL_PX else deep + CLEARANCE_PX
        # Whatever the order of the hits: of two equal steps the one to the left counts.
        if deep > -ON_WALL_PX and (step > abs(steps[at]) or (step == abs(steps[at]) and side > 0)):
            steps[at] = side * step
    for i in np.flatnonzero(steps):
        farthest, side = 0.0, np.sign(steps[i])
        for k in range(walls.start[i], walls.stop[i] + 1):
            off = chain[k, 1] * walls.line[i, 0] - chain[k, 0] * walls.line[i, 1] - walls.line[i, 2]
            farthest = max(farthest, side * off)
        walls.line[i, 2] += side * min(abs(steps[i]), farthest)
    met, moved = _meet_walls(walls, chain, closed)
    if len(moved) and not (is_near(moved, chain, tolerance_px) and (not closed or is_simple(moved[:-1]))):
        return met, moved[:0]
    return met, moved


@subkernel
def _find_nearest_wall(vertices: FloatArray, x: float, y: float) -> int:
    nearest, least = 0, np.inf
    for i in range(len(vertices) - 1):
        ax, ay = vertices[i]
        dx, dy = vertices[i + 1, 0] - ax, vertices[i + 1, 1] - ay
        length2 = dx * dx + dy * dy
        along = min(max(((x - ax) * dx + (y - ay) * dy) / length2, 0.0), 1.0) if length2 > 0 else 0.0
        far = math.hypot(x - ax - along * dx, y - ay - along * dy)
        if far < least:
            nearest, least = i, far
    return nearest


@subkernel
def _is_round(chain: FloatArray, sums: FloatArray, walls: Walls, wall_cost: float) -> bool:
    """Whether a circle, which costs as much as four walls, describes a closed chain better than its walls do."""
    w, x, y, _, _, _ = scatter_steps(sums, 0, len(chain) - 1)
    n = len(chain) - 1
    far = np.empty(n)
    for i in range(n):
        far[i] = math.hypot((chain[i, 0] + chain[i + 1, 0]) / 2 - x, (chain[i, 1] + chain[i + 1, 1]) / 2 - y)
    total = 0.0
    for i in range(len(walls.kind)):
        _, _, _, xx, xy, yy = scatter_steps(sums, walls.start[i], walls.stop[i])
        total += (xx + yy) / 2 - math.hypot((xx - yy) / 2, xy) + wall_cost
    return bool(far.var() * w + CIRCLE_WALLS * wall_cost < total)


@subkernel
def _meet_walls(walls: Walls, chain: FloatArray, closed: bool) -> tuple[Walls, FloatArray]:
    """Vertices where neighbours meet; walls that come out too short or backward go, none are left if that fails."""
    start, stop, kind, line = walls.start.copy(), walls.stop.copy(), walls.kind.copy(), walls.line.copy()
    n = len(line)
    weight, vertices = np.empty(n), np.empty((n + 1, 2))
    for i in range(n):
        weight[i] = stop[i] - start[i]
    while n >= (3 if closed else 1):
        drop, least = -1, SHORTEST_WALL_PX
        for i in range(0 if closed else 1, n):
            h = (i - 1) % n
            sine = line[h, 0] * line[i, 1] - line[h, 1] * line[i, 0]
            if abs(sine) < MIN_TURN:
                if line[h, 0] * line[i, 0] + line[h, 1] * line[i, 1] < 0:
                    return walls, vertices[:0]
                total = weight[h] + weight[i]
                if weight[h] > weight[i]:
                    line[i, 0], line[i, 1] = line[h, 0], line[h, 1]
                line[i, 2] = (weight[h] * line[h, 2] + weight[i] * line[i, 2]) / total
                weight[i] = total
                drop = h
                break
            vertices[i, 0] = (line[h, 2] * line[i, 0] - line[i, 2] * line[h, 0]) / sine
            vertices[i, 1] = (line[h, 2] * line[i, 1] - line[i, 2] * line[h, 1]) / sine
        if drop < 0:
            vertices[n, 0], vertices[n, 1] = vertices[0, 0], vertices[0, 1]
            if not closed:
                vertices[0, 0], vertices[0, 1] = project(chain[0], line[0])
                vertices[n, 0], vertices[n, 1] = project(chain[len(chain) - 1], line[n - 1])
            for i in range(n):
                run = (vertices[i + 1, 0] - vertices[i, 0]) * line[i, 0]
                run += (vertices[i + 1, 1] - vertices[i, 1]) * line[i, 1]
                if run < least and n > 1:
                    drop, least = i, run
        if drop < 0:
            return Walls(start[:n], stop[:n], kind[:n], line[:n]), vertices[: n + 1]
        n -= 1
        _drop_wall(Walls(start, stop, kind, line), weight, drop, n)
    return walls, vertices[:0]


@subkernel
def _drop_wall(walls: Walls, weight: FloatArray, drop: int, n: int) -> None:
    """Move the walls behind one of them forward; n are left."""
    for i in range(drop, n):
        walls.start[i], walls.stop[i], walls.kind[i] = walls.start[i + 1], walls.stop[i + 1], walls.kind[i + 1]
        weight[i] = weight[i + 1]
        for k in range(3):
            walls.line[i, k] = walls.line[i + 1, k]


@subkernel
def project(point: FloatArray, line: FloatArray) -> tuple[float, float]:
    """The point of a line nearest to a point."""
    off = -line[1] * point[0] + line[0] * point[1] - line[2]
    return point[0] + off * line[1], point[1] - off * line[0]
