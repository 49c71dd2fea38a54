"""Kernels on chains: lines in steps of at most a pixel, closed (the last point is the first again) or open."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import subkernel
from geoseg.polygons.rings import Int64

FloatArray = NDArray[np.float64]


@subkernel
def step_along(ring: FloatArray, closed: bool) -> tuple[FloatArray, Int64]:
    """A line in steps of at most a pixel, closed or not, and which of these points its vertices are."""
    n = len(ring)
    edges = n if closed else n - 1
    place = np.zeros(n + 1, np.int64)
    for i in range(edges):
        j = (i + 1) % n
        length = math.hypot(ring[j, 0] - ring[i, 0], ring[j, 1] - ring[i, 1])
        place[i + 1] = place[i] + max(1, math.ceil(length - 1e-6))
    points = np.empty((place[edges] + 1, 2))
    for i in range(edges):
        j = (i + 1) % n
        for k in range(place[i], place[i + 1]):
            share = (k - place[i]) / (place[i + 1] - place[i])
            points[k, 0] = ring[i, 0] + share * (ring[j, 0] - ring[i, 0])
            points[k, 1] = ring[i, 1] + share * (ring[j, 1] - ring[i, 1])
    last = 0 if closed else n - 1
    points[place[edges], 0], points[place[edges], 1] = ring[last, 0], ring[last, 1]
    return points, place[:n]


@subkernel
def turn_chain(points: FloatArray, first: int, backward: bool) -> FloatArray:
    """A closed chain from another start, relative to it, in the other direction if `backward`."""
    n = len(points) - 1
    chain = np.empty((n + 1, 2))
    for i in range(n + 1):
        source = (first - i if backward else first + i) % n
        chain[i, 0], chain[i, 1] = points[source, 0] - points[first, 0], points[source, 1] - points[first, 1]
    return chain


@subkernel
def signed_area(points: FloatArray) -> float:
    """Area inside a closed chain whose last point is its first, negative if x turns away from y."""
    area = 0.0
    for i in range(len(points) - 1):
        area += (points[i, 0] - points[0, 0]) * (points[i + 1, 1] - points[0, 1])
        area -= (points[i + 1, 0] - points[0, 0]) * (points[i, 1] - points[0, 1])
    return area / 2


@subkernel
def find_first(points: FloatArray) -> int:
    """The point of least x, then y."""
    first = 0
    for i in range(1, len(points)):
        if (points[i, 0], points[i, 1]) < (points[first, 0], points[first, 1]):
            first = i
    return first


@subkernel
def find_far_point(points: FloatArray) -> int:
    """The point farthest from the mean of all: on a building, a corner, wherever the ring starts."""
    n = len(points) - 1
    x, y = 0.0, 0.0
    for i in range(n):
        x, y = x + points[i, 0], y + points[i, 1]
    x, y = x / n, y / n
    best, most = 0, -1.0
    for i in range(n):
        far = math.hypot(points[i, 0] - x, points[i, 1] - y)
        tie = abs(far - most) < 1e-6
        first = points[i, 0] < points[best, 0] or (points[i, 0] == points[best, 0] and points[i, 1] < points[best, 1])
        if (far > most and not tie) or (tie and first):
            best, most = i, far
    return best


@subkernel
def thin_chain(points: FloatArray, tolerance_px: float) -> Int64:
    """The points that are left when all others lie within a distance of the line between their neighbours.

    Source: Douglas and Peucker, Algorithms for the reduction of the number of points, 1973.
    """
    n = len(points)
    keep = np.zeros(n, np.bool_)
    keep[0] = keep[n - 1] = True
    stack = np.empty((n, 2), np.int64)
    stack[0, 0], stack[0, 1], depth = 0, n - 1, 1
    while depth:
        depth -= 1
        a, b = stack[depth]
        x, y = points[a, 0], points[a, 1]
        dx, dy = points[b, 0] - x, points[b, 1] - y
        length = math.hypot(dx, dy)
        is_open = length > 1e-9
        unit = length if is_open else 1.0
        most, at = tolerance_px * unit, -1
        for i in range(a + 1, b):
            ex, ey = points[i, 0] - x, points[i, 1] - y
            off = abs(dx * ey - dy * ex) if is_open else math.hypot(ex, ey)
            if off > most + 1e-6 * unit:
                most, at = off, i
        if at > 0:
            keep[at] = True
            stack[depth, 0], stack[depth, 1] = a, at
            stack[depth + 1, 0], stack[depth + 1, 1] = at, b
            depth += 2
    return np.flatnonzero(keep)


@subkernel
def is_near(vertices: FloatArray, chain: FloatArray, tolerance_px: float) -> bool:
    """Whether every vertex has a point of the chain within the tolerance."""
    for i in range(len(vertices)):
        near = False
        for j in range(len(chain)):
            dx, dy = vertices[i, 0] - chain[j, 0], vertices[i, 1] - chain[j, 1]
            if dx * dx + dy * dy <= tolerance_px * tolerance_px:
                near = True
                break
        if not near:
            return False
    return True


@subkernel
def measure_away2(one: tuple[float, float], two: tuple[float, float], x: float, y: float) -> float:
    """The squared distance of a point from an edge along a row or a column: that from the edge's box."""
    dx = max(min(one[0], two[0]) - x, x - max(one[0], two[0]), 0.0)
    dy = max(min(one[1], two[1]) - y, y - max(one[1], two[1]), 0.0)
    return dx * dx + dy * dy


@subkernel
def is_simple(ring: FloatArray) -> bool:
    """Whether no two edges of a ring meet but neighbours at their common vertex."""
    n = len(ring)
    for i in range(n):
        a, b, c = ring[i], ring[(i + 1) % n], ring[(i + 2) % n]
        if _side(a, b, c) == 0 and (b[0] - a[0]) * (c[0] - b[0]) + (b[1] - a[1]) * (c[1] - b[1]) <= 0:
            return False
        for j in range(i + 2, n):
            if (j + 1) % n != i and _meet(a, b, ring[j], ring[(j + 1) % n]):
                return False
    return True


@subkernel
def _meet(a: FloatArray, b: FloatArray, c: FloatArray, d: FloatArray) -> bool:
    """Whether the edges a b and c d have a point in common."""
    if max(a[0], b[0]) < min(c[0], d[0]) or max(c[0], d[0]) < min(a[0], b[0]):
        return False
    if max(a[1], b[1]) < min(c[1], d[1]) or max(c[1], d[1]) < min(a[1], b[1]):
        return False
    return _side(a, b, c) * _side(a, b, d) <= 0 and _side(c, d, a) * _side(c, d, b) <= 0


@subkernel
def _side(a: FloatArray, b: FloatArray, p: FloatArray) -> float:
    return float((b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]))
