"""Size on the ground and confidence of polygons."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import GEOD, GeoGrid
from geoseg.kernel import kernel, subkernel
from geoseg.polygons.ragged import RaggedGeometries, flatten_geometries

FloatArray = NDArray[np.float64]

# Up to here the arc over a chord equals the geodesic to 1e-7; longer edges are given to the exact solver.
LONG_EDGE_M = 100_000.0

_A, _E2 = GEOD.a, GEOD.es
_E = math.sqrt(_E2)


class GroundRings(NamedTuple):
    """Where the rings of n polygons are on Earth, outer ring first, first vertex repeated at the end.

    Args:
        lon: (vertices,) float64, radians east on WGS 84, not finite where a vertex is nowhere on Earth.
        lat: (vertices,) float64, radians north.
        ring_offsets: (rings + 1,) int64 into the vertices.
        polygon_offsets: (n + 1,) int64 into the rings.
    """

    lon: FloatArray
    lat: FloatArray
    ring_offsets: NDArray[np.int64]
    polygon_offsets: NDArray[np.int64]


def locate_rings(ragged: RaggedGeometries, grid: GeoGrid) -> GroundRings:
    """Where polygons in the CRS of `grid` are."""
    lon, lat = grid.to_lonlat.transform(ragged.xy[:, 0], ragged.xy[:, 1])
    return GroundRings(np.radians(lon), np.radians(lat), ragged.part_offsets, ragged.owner_offsets)


def measure_polygons(geometries: NDArray[np.object_], grid: GeoGrid) -> tuple[FloatArray, FloatArray]:
    """Geodesic area and perimeter of polygons, each from its own vertices alone, so tiles cannot change a value.

    An edge is the shortest line on the WGS 84 ellipsoid between its ends; edges may cross the antimeridian and rings
    may go round a pole. The area is that of the outer ring less that of its holes, the perimeter that of all rings.
    Both are right to 1e-6 for edges up to 100 km.

    Args:
        geometries: (n,) shapely Polygons in the CRS of `grid`.
        grid: gives the CRS.

    Returns:
        area_m2 (n,) float64 and perimeter_m (n,) float64; not a number where a vertex has no longitude and latitude.

    Source: authalic sphere: Snyder, Map Projections: A Working Manual (1987), eq. 3-11 to 3-13; excess of a triangle of
        which two sides and the angle between are known: Todhunter, Spherical Trigonometry (1886), section 103; edges
        longer than 100 km: Karney, Algorithms for geodesics (2013), section 4.
    """
    return measure_rings(locate_rings(flatten_geometries(geometries), grid))


def measure_rings(rings: GroundRings) -> tuple[FloatArray, FloatArray]:
    """`measure_polygons` of rings that are located already."""
    lon, lat, ring_offsets, polygon_offsets = rings
    lengths = _measure_edges(lon, lat)
    long = np.flatnonzero(lengths > LONG_EDGE_M)
    if long.size:
        lengths[long] = GEOD.inv(lon[long], lat[long], lon[long + 1], lat[long + 1], radians=True)[2]
    return _sum_rings(lon, lat, lengths, ring_offsets, polygon_offsets)


def mean_confidence(confidence_sum: NDArray[np.int64], pixels: NDArray[np.int64]) -> FloatArray:
    """Mean confidence (n,) float64, 0 to 1, from the (n,) sums of uint8 confidences and the (n,) numbers of pixels."""
    return confidence_sum / pixels / 255.0


@kernel
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


@subkernel
def _authalic_q(sin_lat: float) -> float:
    return (1.0 - _E2) * (sin_lat / (1.0 - _E2 * sin_lat * sin_lat) + math.atanh(_E * sin_lat) / _E)


@subkernel
def _tan_half_colatitude(lat: float, q_pole: float) -> float:
    """Tangent of half the authalic colatitude, without the difference q_pole - q: nothing is left of it at a pole."""
    sin_lat = math.sin(lat)
    versine = 2.0 * math.sin(0.25 * math.pi - 0.5 * lat) ** 2
    curve = versine * (1.0 + _E2 * sin_lat) / (1.0 - _E2 * sin_lat * sin_lat)
    arc = (1.0 - _E2) * math.atanh(_E * versine / (1.0 - _E2 * sin_lat)) / _E
    missing = (curve + arc) / q_pole
    return math.sqrt(missing / (2.0 - missing))


@kernel
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
            first = ring_offsets[ring]
            excess = t0 = 0.0
            before = lon[first]
            # Triangles of the edges and the nearer pole: a ring that goes round it is their sum as well.
            north = 1.0 if lat[first] >= 0.0 else -1.0
            for i in range(first, ring_offsets[ring + 1]):
                t = _tan_half_colatitude(north * lat[i], q_pole)
                if i > first:
                    # Turns are added to a longitude, not to a difference: there they would round metres away.
                    here = lon[i] + 2.0 * math.pi * round((before - lon[i]) / (2.0 * math.pi))
                    turn, tt = here - before, t0 * t
                    excess += 2.0 * math.atan2(tt * math.sin(turn), 1.0 + tt * math.cos(turn))
                    perimeters[polygon] += lengths[i - 1]
                    before = here
                t0 = t
            area = abs(excess) * radius2
            areas[polygon] += area if ring == polygon_offsets[polygon] else -area
    return areas, perimeters
