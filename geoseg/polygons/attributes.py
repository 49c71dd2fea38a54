"""Size on the ground and confidence of polygons."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import GEOD, GeoGrid
from geoseg.kernel import kernel, subkernel
from geoseg.polygons.places import locate_points
from geoseg.polygons.rings import expand_slices
from geoseg.ragged import RaggedGeometries, flatten_geometries

FloatArray = NDArray[np.float64]

# Up to here the arc over a chord equals the geodesic to 1e-7; longer edges are given to the exact solver.
LONG_EDGE_M = 100_000.0

# In radians: so long an edge may be (3 km) for series of a few terms, and so far from the equator for their sums.
NEAR = 5e-4
POLAR = 1.4

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

    def take(self, polygons: NDArray[np.int64]) -> GroundRings:
        """The polygons at these positions, in this order."""
        rings, polygon_offsets = expand_slices(self.polygon_offsets, polygons)
        vertices, ring_offsets = expand_slices(self.ring_offsets, rings)
        return GroundRings(self.lon[vertices], self.lat[vertices], ring_offsets, polygon_offsets)


def locate_rings(ragged: RaggedGeometries, grid: GeoGrid) -> GroundRings:
    """Where polygons in the CRS of `grid` are."""
    return GroundRings(*locate_points(ragged.xy, grid), ragged.part_offsets, ragged.owner_offsets)


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
        which two sides and the angle between are known: Todhunter, Spherical Trigonometry (1886), section 103; of the
        trapezoid under a short edge: Napier's analogies, there; its length: Gauss's formulae of the mean latitude;
        edges longer than 100 km: Karney, Algorithms for geodesics (2013), section 4.
    """
    return measure_rings(locate_rings(flatten_geometries(geometries), grid))


def measure_rings(rings: GroundRings) -> tuple[FloatArray, FloatArray]:
    """`measure_polygons` of rings that are located already."""
    areas, perimeters, is_near = _measure_near(*rings)
    if not is_near.all():
        others = np.flatnonzero(~is_near)
        areas[others], perimeters[others] = _measure_far(rings.take(others))
    return areas, perimeters


def _measure_far(rings: GroundRings) -> tuple[FloatArray, FloatArray]:
    """Of polygons of any size, anywhere."""
    lon, lat, ring_offsets, polygon_offsets = rings
    lengths = _measure_edges(lon, lat)
    long = np.flatnonzero(lengths > LONG_EDGE_M)
    if long.size:
        lengths[long] = GEOD.inv(lon[long], lat[long], lon[long + 1], lat[long + 1], radians=True)[2]
    return _sum_rings(lon, lat, lengths, ring_offsets, polygon_offsets)


def mean_confidence(confidence_sum: NDArray[np.int64], pixels: NDArray[np.int64]) -> FloatArray:
    """Mean confidence (n,) float64, 0 to 1, from the (n,) sums of uint8 confidences and the (n,) numbers of pixels."""
    return confidence_sum / pixels / 255.0


# The trapezoid between an edge and the equator has the excess 2 atan(r tan(dlon / 2)), where r is the sine of the mean
# authalic latitude over the cosine of half the difference: both are series in what is small. Lengths take the radii of
# curvature at the mean latitude, and sines and cosines follow from those of a latitude nearby.
@kernel
def _measure_near(
    lon: FloatArray, lat: FloatArray, ring_offsets: NDArray[np.int64], polygon_offsets: NDArray[np.int64]
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Area and perimeter of each polygon and whether they hold: of short edges far from poles and the antimeridian."""
    polygons = polygon_offsets.size - 1
    areas, perimeters, is_near = np.zeros(polygons), np.zeros(polygons), np.ones(polygons, np.bool_)
    q_pole = _authalic_q(1.0)
    for polygon in range(polygons):
        for ring in range(polygon_offsets[polygon], polygon_offsets[polygon + 1]):
            first = ring_offsets[ring]
            excess = sin_before = cos_before = q_before = sin_base = cos_base = 0.0
            base = math.inf
            for i in range(first, ring_offsets[ring + 1]):
                if not abs(lat[i] - base) < NEAR:
                    base, sin_base, cos_base = lat[i], math.sin(lat[i]), math.cos(lat[i])
                up = lat[i] - base
                sin_up, cos_up = up * (1.0 - up * up / 6.0), 1.0 - 0.5 * up * up * (1.0 - up * up / 12.0)
                sin_lat, cos_lat = sin_base * cos_up + cos_base * sin_up, cos_base * cos_up - sin_base * sin_up
                q = _authalic_series(sin_lat) / q_pole
                if i > first:
                    east, north = lon[i] - lon[i - 1], lat[i] - lat[i - 1]
                    if not (abs(east) < NEAR and abs(north) < NEAR and abs(lat[i]) < POLAR):
                        is_near[polygon] = False
                        break
                    mean, dq = 0.5 * (q_before + q), q - q_before
                    r = mean * (1.0 + 0.25 * dq * dq / (1.0 - mean * mean))
                    excess += east * r * (1.0 + east * east * (1.0 - r * r) / 12.0)
                    mid_sin, mid_cos = 0.5 * (sin_before + sin_lat), 0.5 * (cos_before + cos_lat)
                    w2 = 1.0 - _E2 * mid_sin * mid_sin
                    along, across = north * (1.0 - _E2) / w2, east * mid_cos
                    perimeters[polygon] += _A * math.sqrt((along * along + across * across) / w2)
                sin_before, cos_before, q_before = sin_lat, cos_lat, q
            area = 0.5 * abs(excess) * _A * _A * q_pole
            areas[polygon] += area if ring == polygon_offsets[polygon] else -area
    return areas, perimeters, is_near


@subkernel
def _authalic_series(sin_lat: float) -> float:
    """`_authalic_q` to all its digits: both of its terms in powers of the eccentricity."""
    w = _E2 * sin_lat * sin_lat
    terms = 2.0 + w * (4 / 3 + w * (6 / 5 + w * (8 / 7 + w * (10 / 9 + w * (12 / 11 + w * (14 / 13 + w * 16 / 15))))))
    return (1.0 - _E2) * sin_lat * terms


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
