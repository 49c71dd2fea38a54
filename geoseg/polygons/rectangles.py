"""The smallest rectangle around a footprint: which way it lies, how long and how wide it is."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import GEOD
from geoseg.kernel import kernel, subkernel
from geoseg.polygons.attributes import FloatArray, GroundRings
from geoseg.polygons.loops import sort_stably

# Rectangles whose areas differ by less are equally small: the first edge of the hull decides, not rounding.
TIE = 1e-7
SQUARE_M = 1e-3

_A, _E2 = GEOD.a, GEOD.es


class Rectangles(NamedTuple):
    """The smallest rectangles of n polygons; not numbers where none was asked for or a vertex is nowhere on Earth.

    Args:
        orientation_deg: (n,) float64 in steps of 0.01, bearing of the longer side, clockwise from true north at the
            polygon, 0 <= o < 180; below 90 for a square, of which the sides differ by less than a millimetre.
        length_m: (n,) float64, longer side in metres on the ground.
        width_m: (n,) float64, shorter side in metres on the ground.
    """

    orientation_deg: FloatArray
    length_m: FloatArray
    width_m: FloatArray


def fit_rectangles(rings: GroundRings, wanted: NDArray[np.bool_]) -> Rectangles:
    """The rectangle of least area around the outer ring of each wanted polygon.

    It lies in the plane that touches the WGS 84 ellipsoid at the mean of the ring's vertices, so neither the CRS nor
    its convergence, the antimeridian or a pole plays a part. Lengths are right to 1e-6 for polygons of 10 km.

    Args:
        rings: of n polygons.
        wanted: (n,) bool.

    Source: one side of the least rectangle lies on an edge of the convex hull: Freeman and Shapira, Determining the
        minimum-area encasing rectangle for an arbitrary closed curve (1975); hull: Andrew, Another efficient algorithm
        for convex hulls in two dimensions (1979).
    """
    return Rectangles(*_fit_all(rings.lon, rings.lat, rings.ring_offsets, rings.polygon_offsets, wanted))


@kernel
def _fit_all(
    lon: FloatArray,
    lat: FloatArray,
    ring_offsets: NDArray[np.int64],
    polygon_offsets: NDArray[np.int64],
    wanted: NDArray[np.bool_],
) -> tuple[FloatArray, FloatArray, FloatArray]:
    found = np.full((3, len(wanted)), np.nan)
    for polygon in range(len(wanted)):
        if wanted[polygon]:
            outer = polygon_offsets[polygon]
            start, stop = ring_offsets[outer], ring_offsets[outer + 1] - 1
            flat = flatten_ring(lon[start:stop], lat[start:stop])
            is_known = True
            for k in range(len(flat)):
                is_known = is_known and math.isfinite(flat[k, 0]) and math.isfinite(flat[k, 1])
            if is_known:
                found[0, polygon], found[1, polygon], found[2, polygon] = fit_rectangle(find_hull(flat))
    return found[0], found[1], found[2]


@subkernel
def flatten_ring(lon: FloatArray, lat: FloatArray) -> FloatArray:
    """(n, 2) metres (east, north) of n points in radians, in the plane that touches the ellipsoid in their midst."""
    places = np.empty((len(lon), 3))
    x0 = y0 = z0 = 0.0
    for i in range(len(lon)):
        places[i, 0], places[i, 1], places[i, 2] = _place(lon[i], lat[i])
        x0 += math.cos(lat[i]) * math.cos(lon[i])
        y0 += math.cos(lat[i]) * math.sin(lon[i])
        z0 += math.sin(lat[i])
    lon0, lat0 = math.atan2(y0, x0), math.atan2(z0, math.hypot(x0, y0))
    cx, cy, cz = _place(lon0, lat0)
    flat = np.empty((len(lon), 2))
    for i in range(len(lon)):
        dx, dy, dz = places[i, 0] - cx, places[i, 1] - cy, places[i, 2] - cz
        outward = math.cos(lon0) * dx + math.sin(lon0) * dy
        flat[i, 0] = math.cos(lon0) * dy - math.sin(lon0) * dx
        flat[i, 1] = math.cos(lat0) * dz - math.sin(lat0) * outward
    return flat


@subkernel
def _place(lon: float, lat: float) -> tuple[float, float, float]:
    """Geocentric (x, y, z) in metres of a point of the ellipsoid."""
    normal = _A / math.sqrt(1.0 - _E2 * math.sin(lat) ** 2)
    across = normal * math.cos(lat)
    return across * math.cos(lon), across * math.sin(lon), normal * (1.0 - _E2) * math.sin(lat)


@subkernel
def find_hull(xy: FloatArray) -> FloatArray:
    """(h, 2) convex hull of (n, 2) points, counter-clockwise, without points on its edges."""
    x, y = np.empty(len(xy)), np.empty(len(xy))
    for i in range(len(xy)):
        y[i] = xy[i, 1]
    by_y = sort_stably(y)
    for i in range(len(xy)):
        x[i] = xy[by_y[i], 0]
    order = sort_stably(x)
    hull = np.empty((2 * len(xy) + 1, 2))
    size = 0
    for side in range(2):
        floor = size + 1
        for i in range(len(order)):
            at = by_y[order[i if side == 0 else len(order) - 1 - i]]
            here_x, here_y = xy[at, 0], xy[at, 1]
            while size > floor:
                ax, ay, bx, by = hull[size - 2, 0], hull[size - 2, 1], hull[size - 1, 0], hull[size - 1, 1]
                if (bx - ax) * (here_y - ay) - (by - ay) * (here_x - ax) > 0.0:
                    break
                size -= 1
            hull[size, 0], hull[size, 1] = here_x, here_y
            size += 1
        size -= 1
    return hull[: max(size, 1)]


# Every edge looks at every corner: hulls of pixel outlines have few corners, 30 of a building, 1600 of a 20000 px disc.
@subkernel
def fit_rectangle(hull: FloatArray) -> tuple[float, float, float]:
    """Bearing in degrees, length and width of the rectangle of least area around a convex hull ((h, 2), x y)."""
    least = math.inf
    bearing = length = width = 0.0
    for i in range(len(hull)):
        k = (i + 1) % len(hull)
        dx, dy = hull[k, 0] - hull[i, 0], hull[k, 1] - hull[i, 1]
        side = math.hypot(dx, dy)
        if side == 0.0:
            continue
        dx, dy = dx / side, dy / side
        low = high = depth = 0.0
        for j in range(len(hull)):
            x, y = hull[j, 0] - hull[i, 0], hull[j, 1] - hull[i, 1]
            along = x * dx + y * dy
            low, high = min(low, along), max(high, along)
            depth = max(depth, y * dx - x * dy)
        area = (high - low) * depth
        if area < least * (1.0 - TIE):
            least = area
            length, width = max(high - low, depth), min(high - low, depth)
            bearing = math.degrees(math.atan2(dx, dy) if high - low >= depth else math.atan2(dy, -dx))
    turn = 90.0 if length - width < SQUARE_M else 180.0
    return (round(100.0 * bearing) / 100.0) % turn, length, width
