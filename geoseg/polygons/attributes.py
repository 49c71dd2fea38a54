"""Size on the ground and mean confidence of polygons."""

from __future__ import annotations

import math

import numba
import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.grid import GEOD, GeoGrid

FloatArray = NDArray[np.float64]

# Up to here the arc over a chord equals the geodesic to 1e-7; longer edges are given to the exact solver.
LONG_EDGE_M = 100_000.0

_A, _E2 = GEOD.a, GEOD.es
_E = math.sqrt(_E2)


def measure_polygons(geometries: NDArray[np.object_], grid: GeoGrid) -> tuple[FloatArray, FloatArray]:
    """Geodesic area and perimeter of polygons, each from its own vertices alone, so tiles cannot change a value.

    An edge is the shortest line on the WGS 84 ellipsoid between its ends; edges may cross the antimeridian and rings
    may go round a pole. The area is that of the outer ring less that of its holes, the perimeter that of all rings.
    Both are right to 1e-6 for edges up to 100 km, except within 100 m of a pole.

    Args:
        geometries: (n,) shapely Polygons in the CRS of `grid`.
        grid: gives the CRS.

    Returns:
        area_m2 (n,) float64 and perimeter_m (n,) float64; not a number where a vertex has no longitude and latitude.

    Source: great-circle excess on the authalic sphere: Snyder, Map Projections: A Working Manual (1987), eq. 3-11 to
        3-13 and Karney, Algorithms for geodesics (2013), eq. 63; edges longer than 100 km: Karney, section 4.
    """
    if len(geometries) == 0:
        return np.zeros(0), np.zeros(0)
    _, xy, (ring_offsets, polygon_offsets) = shapely.to_ragged_array(np.asarray(geometries), include_z=False)
    lon, lat = grid.to_lonlat.transform(xy[:, 0], xy[:, 1])
    lon, lat = np.radians(lon), np.radians(lat)
    lengths = _measure_edges(lon, lat)
    long = np.flatnonzero(lengths > LONG_EDGE_M)
    if long.size:
        lengths[long] = GEOD.inv(lon[long], lat[long], lon[long + 1], lat[long + 1], radians=True)[2]
    return _sum_rings(lon, lat, lengths, ring_offsets, polygon_offsets)


def mean_confidence(confidence_sum: NDArray[np.int64], pixels: NDArray[np.int64]) -> FloatArray:
    """Mean confidence (n,) float64, 0 to 1, from the (n,) sums of uint8 confidences and the (n,) numbers of pixels."""
    return confidence_sum / pixels / 255.0


@numba.njit(nogil=True, cache=True)
def _measure_edges(lon: FloatArray, lat: FloatArray) -> FloatArray:
    """Length in metres of the edge from each vertex to the next one: the arc over the chord through the Earth."""
    lengths = np.zeros(lon.size)
    x0 = y0 = z0 = 0.0
    for i in range(lon.size):
        sin_lat, cos_lat = math.sin(lat[i]), math.cos(lat[i])
        normal = _A / math.sqrt(1.0 - _E2 * sin_lat * sin_lat)
        x, y = normal * cos_lat * math.cos(lon[i]), normal * cos_lat * math.sin(lon[i])
        z = normal * (1.0 - _E2) * sin_lat
        if i > 0:
            half = 0.5 * math.sqrt((x - x0) ** 2 + (y - y0) ** 2 + (z - z0) ** 2) / _A
            lengths[i - 1] = 2.0 * _A * math.asin(min(half, 1.0))
        x0, y0, z0 = x, y, z
    return lengths


@numba.njit(nogil=True, cache=True)
def _authalic_q(sin_lat: float) -> float:
    return (1.0 - _E2) * (sin_lat / (1.0 - _E2 * sin_lat * sin_lat) + math.atanh(_E * sin_lat) / _E)


@numba.njit(nogil=True, cache=True)
def _sum_rings(
    lon: FloatArray,
    lat: FloatArray,
    lengths: FloatArray,
    ring_offsets: NDArray[np.int64],
    polygon_offsets: NDArray[np.int64],
) -> tuple[FloatArray, FloatArray]:
    """Area in m² (outer ring less holes) and perimeter in m of each polygon."""
    q_pole = _authalic_q(1.0)
    radius2 = _A * _A * q_pole / 2.0
    areas, perimeters = np.zeros(polygon_offsets.size - 1), np.zeros(polygon_offsets.size - 1)
    for polygon in range(polygon_offsets.size - 1):
        for ring in range(polygon_offsets[polygon], polygon_offsets[polygon + 1]):
            excess = turn = t0 = 0.0
            for i in range(ring_offsets[ring], ring_offsets[ring + 1]):
                sin_beta = _authalic_q(math.sin(lat[i])) / q_pole
                t = sin_beta / (1.0 + math.sqrt(max(0.0, (1.0 - sin_beta) * (1.0 + sin_beta))))
                if i > ring_offsets[ring]:
                    dlon = lon[i] - lon[i - 1]
                    if dlon > math.pi:
                        dlon -= 2.0 * math.pi
                    elif dlon < -math.pi:
                        dlon += 2.0 * math.pi
                    turn += dlon
                    excess += 2.0 * math.atan(math.tan(0.5 * dlon) * (t0 + t) / (1.0 + t0 * t))
                    perimeters[polygon] += lengths[i - 1]
                t0 = t
            area = abs(excess)
            if abs(turn) > math.pi:  # the ring goes round a pole: what was summed lies between it and the equator
                area = 2.0 * math.pi - area
            areas[polygon] += area * radius2 if ring == polygon_offsets[polygon] else -area * radius2
    return areas, perimeters
