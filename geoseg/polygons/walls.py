"""The kernels that divide a staircase into straight walls.

A staircase is a chain of steps no longer than a pixel, in pixels. Sums over its steps from its start make the fit of a
line to any part of it a matter of a few subtractions. A wall is a part of the chain, a kind and a line.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from geoseg.kernel import subkernel
from geoseg.polygons.chains import FloatArray
from geoseg.polygons.rings import Int64

ALONG, ACROSS, OBLIQUE = 0, 1, 2

# What a wall that brings its own angle costs, if one along a main direction costs 1.
OBLIQUE_COST = 2.2
# Walls end at vertices of the staircase thinned to this distance.
THIN_PX = 0.75
# Sine of the least angle between neighbouring walls: below it their intersection is badly defined.
MIN_TURN = math.sin(math.radians(14))
MIN_WALL_PX = 1.0
# The rounding of corners, a few pixels at either end of a wall, says nothing about where the wall stands.
TRIM_PX, TRIM_SHARE = 3, 0.2
SAME_DIRECTION_DEG = 12.0


class Walls(NamedTuple):
    """Walls of one chain, in order.

    Args:
        start, stop: (n,) int64, the steps of the chain that belong to each.
        kind: (n,) int64, ALONG or ACROSS the main direction, or OBLIQUE.
        line: (n, 3) float64: the unit direction (x, y), as the chain runs, and the offset c of x n_x + y n_y = c with
            the normal n = (-y, x) of the direction.
    """

    start: Int64
    stop: Int64
    kind: Int64
    line: FloatArray


@subkernel
def sum_steps(points: FloatArray) -> FloatArray:
    """(n, 6) sums of length, x, y, xx, xy, yy over the steps before each of (n, 2) points; x, y of steps' middles."""
    sums = np.zeros((len(points), 6))
    for i in range(1, len(points)):
        x, y = (points[i, 0] + points[i - 1, 0]) / 2, (points[i, 1] + points[i - 1, 1]) / 2
        w = math.sqrt((points[i, 0] - points[i - 1, 0]) ** 2 + (points[i, 1] - points[i - 1, 1]) ** 2)
        step = (w, w * x, w * y, w * x * x, w * x * y, w * y * y)
        for k in range(6):
            sums[i, k] = sums[i - 1, k] + step[k]
    return sums


@subkernel
def scatter_steps(sums: FloatArray, i: int, j: int) -> tuple[float, float, float, float, float, float]:
    """Length, mean x, mean y and the scatter xx, xy, yy about the mean of the steps i to j."""
    w, dx, dy = sums[j, 0] - sums[i, 0], sums[j, 1] - sums[i, 1], sums[j, 2] - sums[i, 2]
    x, y = dx / w, dy / w
    return (
        w,
        x,
        y,
        sums[j, 3] - sums[i, 3] - dx * x,
        sums[j, 4] - sums[i, 4] - dx * y,
        sums[j, 5] - sums[i, 5] - dy * y,
    )


@subkernel
def direct_scatter(xx: float, xy: float, yy: float) -> tuple[float, float]:
    """Unit vector along which a scatter is largest."""
    # Half the angle of (xx - yy, 2 xy), by roots: cheaper than by angles.
    across = math.sqrt((xx - yy) * (xx - yy) + 4 * xy * xy)
    if across == 0.0:
        return 1.0, 0.0
    if xx >= yy:
        x = math.sqrt((1 + (xx - yy) / across) / 2)
        return x, xy / across / x
    y = math.sqrt((1 + (yy - xx) / across) / 2)
    return (xy / across / y, y) if xy >= 0 else (-xy / across / y, -y)


# Walls are few and long where the sum over them of squared distance x length (the misfit) + a cost a wall is least.
# Neighbours may not be parallel: a step in a wall is three walls. The lines of neighbours are compared along the best
# path to the earlier one, so the minimum is the true one but for pairs that this excludes.
@subkernel
def divide_chain(  # noqa: PLR0912, PLR0917 - one recurrence; arrays of the chain cannot be keywords in a kernel
    points: FloatArray,
    sums: FloatArray,
    corners: Int64,
    main: tuple[float, float],
    only_oblique: bool,
    wall_cost: float,
) -> Walls:
    """Divide a chain into walls such that misfit and number of walls are least together.

    Args:
        points: (n + 1, 2) ends of the steps.
        sums: (n + 1, 6), theirs.
        corners: (m,) points at which walls may end, from 0 to n.
        main: unit vector of the main direction.
        only_oblique: whether every wall has its own direction.
        wall_cost: the misfit in pixels cubed that is worth a wall.

    Source: Perez and Vidal, Optimum polygonal approximation of digitized curves, 1994 (the recurrence); Rissanen,
    Modeling by shortest data description, 1978 (the cost of a wall).
    """
    m = len(corners)
    cost = np.full((m, 3), np.inf)
    cost[0] = 0.0
    least = np.zeros(m)
    before = np.full((m, 3), -1)
    heading = np.zeros((m, 3, 2))
    first_kind = OBLIQUE if only_oblique else ALONG
    for j in range(1, m):
        worst = np.inf
        for i in range(j - 1, -1, -1):
            if least[i] == np.inf:
                continue
            _, _, _, xx, xy, yy = scatter_steps(sums, corners[i], corners[j])
            half, root = (xx + yy) / 2, math.sqrt((xx - yy) * (xx - yy) / 4 + xy * xy)
            misfit = max(half - root, 0.0)
            if misfit > worst:
                break
            dx = points[corners[j], 0] - points[corners[i], 0]
            dy = points[corners[j], 1] - points[corners[i], 1]
            for kind in range(first_kind, 3):
                if kind == ALONG:
                    ux, uy = main
                elif kind == ACROSS:
                    ux, uy = -main[1], main[0]
                else:
                    ux, uy = 1.0, 0.0
                if kind == OBLIQUE:
                    total = misfit + (1.0 if only_oblique else OBLIQUE_COST) * wall_cost
                else:
                    total = uy * uy * xx - 2 * ux * uy * xy + ux * ux * yy + wall_cost
                if total + least[i] >= cost[j, kind]:
                    continue
                if kind == OBLIQUE:
                    ux, uy = direct_scatter(xx, xy, yy)
                if abs(dx * ux + dy * uy) < MIN_WALL_PX:
                    continue
                for previous in range(first_kind, 3):
                    if cost[i, previous] + total >= cost[j, kind]:
                        continue
                    turn = heading[i, previous, 0] * uy - heading[i, previous, 1] * ux
                    if i > 0 and abs(turn) < MIN_TURN:
                        continue
                    cost[j, kind] = cost[i, previous] + total
                    before[j, kind] = 3 * i + previous
                    heading[j, kind, 0], heading[j, kind, 1] = ux, uy
            # From the best wall to here any other is a wall or two away: dearer ones than that lead nowhere.
            worst = min(cost[j, 0], cost[j, 1], cost[j, 2]) + 3 * wall_cost
        least[j] = min(cost[j, 0], cost[j, 1], cost[j, 2])
    return _trace_back(points, corners, cost, before)


@subkernel
def _trace_back(points: FloatArray, corners: Int64, cost: FloatArray, before: Int64) -> Walls:
    m = len(corners)
    j, kind, n = m - 1, int(np.argmin(cost[m - 1])), 0
    bounds, kinds = np.empty(m, np.int64), np.empty(m, np.int64)
    if cost[j, kind] == np.inf:
        j = 0
    while j > 0:
        bounds[n], kinds[n] = corners[j], kind
        n += 1
        j, kind = before[j, kind] // 3, before[j, kind] % 3
    stop, kinds = bounds[:n][::-1].copy(), kinds[:n][::-1].copy()
    start = np.zeros(n, np.int64)
    start[1:] = stop[:-1]
    return Walls(start, stop, kinds, np.zeros((n, 3)))


@subkernel
def trim_wall(walls: Walls, i: int) -> tuple[int, int]:
    """The steps of a wall without those that the rounding of its corners may have moved."""
    trim = min(TRIM_PX, int(TRIM_SHARE * (walls.stop[i] - walls.start[i])))
    return walls.start[i] + trim, walls.stop[i] - trim


@subkernel
def find_main_direction(points: FloatArray, sums: FloatArray, walls: Walls) -> tuple[float, float]:
    """The direction, modulo a right angle, that most of the length of the walls has.

    Source: Duchêne et al., Quantitative and qualitative description of building orientation, 2003 (weights by length).
    """
    n = len(walls.kind)
    angle, length = np.empty(n), np.empty(n)
    for i in range(n):
        a, b = trim_wall(walls, i)
        _, _, _, xx, xy, yy = scatter_steps(sums, a, b)
        ux, uy = direct_scatter(xx, xy, yy)
        angle[i] = math.degrees(math.atan2(uy, ux))
        length[i] = math.hypot(
            points[walls.stop[i], 0] - points[walls.start[i], 0], points[walls.stop[i], 1] - points[walls.start[i], 1]
        )
    best, most = 0, -1.0
    for i in range(n):
        votes = 0.0
        for j in range(n):
            off = abs((angle[i] - angle[j] + 45) % 90 - 45) / SAME_DIRECTION_DEG
            votes += length[j] ** 1.5 * max(0.0, 1 - off * off)
        if votes > most + 1e-9:
            best, most = i, votes
    radians = math.radians(angle[best])
    main = (math.cos(radians), math.sin(radians))
    for _ in range(2):
        xx, xy, yy = 0.0, 0.0, 0.0
        across = False
        for i in range(n):
            off = (angle[i] - math.degrees(math.atan2(main[1], main[0])) + 45) % 180 - 45
            across = off > 45
            if abs(off - 90 * across) < SAME_DIRECTION_DEG:
                a, b = trim_wall(walls, i)
                _, _, _, sxx, sxy, syy = scatter_steps(sums, a, b)
                xx, xy, yy = (xx + syy, xy - sxy, yy + sxx) if across else (xx + sxx, xy + sxy, yy + syy)
        main = direct_scatter(xx, xy, yy)
    return main


@subkernel
def refine_direction(sums: FloatArray, walls: Walls, main: tuple[float, float]) -> tuple[float, float]:
    """The main direction that fits all walls along and across it best; `main` if there are none."""
    xx, xy, yy = 0.0, 0.0, 0.0
    for i in range(len(walls.kind)):
        if walls.kind[i] != OBLIQUE:
            a, b = trim_wall(walls, i)
            _, _, _, sxx, sxy, syy = scatter_steps(sums, a, b)
            across = walls.kind[i] == ACROSS
            xx, xy, yy = (xx + syy, xy - sxy, yy + sxx) if across else (xx + sxx, xy + sxy, yy + syy)
    return direct_scatter(xx, xy, yy) if xx + yy > 0 else main


@subkernel
def fit_lines(  # noqa: PLR0912 - two steps of one fit
    points: FloatArray, sums: FloatArray, walls: Walls, main: tuple[float, float]
) -> None:
    """Give every wall its line: `main`, or across it, or the direction that oblique walls share modulo a right angle.

    Where a wall stands is the mean of the steps that are its, not of corners: those are biased.
    """
    n = len(walls.kind)
    free = walls.kind == OBLIQUE
    ux, uy = main
    for i in range(n):
        if walls.kind[i] == ALONG:
            _set_line(points, sums, walls, i, ux, uy)
        elif walls.kind[i] == ACROSS:
            _set_line(points, sums, walls, i, -uy, ux)
    while free.any():
        longest, most = -1, -1
        for i in range(n):
            if free[i] and walls.stop[i] - walls.start[i] > most:
                longest, most = i, walls.stop[i] - walls.start[i]
        a, b = trim_wall(walls, longest)
        _, _, _, xx, xy, yy = scatter_steps(sums, a, b)
        vx, vy = direct_scatter(xx, xy, yy)
        group = np.zeros(n, np.int64)
        for i in range(n):
            if free[i] and i != longest:
                a, b = trim_wall(walls, i)
                _, _, _, sxx, sxy, syy = scatter_steps(sums, a, b)
                wx, wy = direct_scatter(sxx, sxy, syy)
                turn = abs(vx * wy - vy * wx)
                if turn < 0.12:
                    group[i] = 1
                    xx, xy, yy = xx + sxx, xy + sxy, yy + syy
                elif turn > 0.993:
                    group[i] = 2
                    xx, xy, yy = xx + syy, xy - sxy, yy + sxx
        group[longest] = 1
        vx, vy = direct_scatter(xx, xy, yy)
        for i in range(n):
            if group[i] == 1:
                _set_line(points, sums, walls, i, vx, vy)
            elif group[i] == 2:
                _set_line(points, sums, walls, i, -vy, vx)
            free[i] = free[i] and group[i] == 0


@subkernel
def _set_line(  # noqa: PLR0917 - a line is two numbers
    points: FloatArray, sums: FloatArray, walls: Walls, i: int, ux: float, uy: float
) -> None:
    run = (points[walls.stop[i], 0] - points[walls.start[i], 0]) * ux
    run += (points[walls.stop[i], 1] - points[walls.start[i], 1]) * uy
    if run < 0:
        ux, uy = -ux, -uy
    a, b = trim_wall(walls, i)
    _, x, y, _, _, _ = scatter_steps(sums, a, b)
    walls.line[i, 0], walls.line[i, 1], walls.line[i, 2] = ux, uy, -uy * x + ux * y
