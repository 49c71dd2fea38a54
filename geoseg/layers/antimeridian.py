"""Polygons and lines that cross the antimeridian, cut along it."""

from __future__ import annotations

import math

import numpy as np
import shapely
from numpy.typing import NDArray

# Longitudes this close to 180 degrees lie on the antimeridian, not beyond it.
_TOLERANCE = 1e-9


def find_crossing(
    lon: NDArray[np.float64],
    ring_offsets: NDArray[np.int64],
    polygon_offsets: NDArray[np.int64],
    *,
    is_geographic: bool,
) -> NDArray[np.int64]:
    """Indices of the polygons or lines that cross the antimeridian.

    Args:
        lon: (m,) longitudes of all vertices.
        ring_offsets: first vertex of each ring or line, and m.
        polygon_offsets: first ring of each polygon, and the number of rings; a line counts as a polygon of one ring.
        is_geographic: whether longitudes run on beyond 180 degrees; otherwise they jump by 360.
    """
    if is_geographic:
        vertices = np.flatnonzero(np.abs(lon) > 180.0 + _TOLERANCE)
    else:
        vertices = np.flatnonzero(np.abs(np.diff(lon)) > 180.0)
        vertices = vertices[~np.isin(vertices + 1, ring_offsets)]  # from one ring to the next is no edge
    return np.unique(np.searchsorted(ring_offsets[polygon_offsets], vertices, side="right") - 1)


def cut_polygon(rings: list[NDArray[np.float64]], *, is_geographic: bool) -> shapely.MultiPolygon:
    """The parts of a polygon on either side of the antimeridian, all between -180 and 180 degrees.

    Args:
        rings: outer ring and holes, each (k, 2) longitude and latitude.
        is_geographic: as in `find_crossing`.

    Source: RFC 7946, section 3.1.9; a ring that goes round a pole is led to the pole and back.
    """
    outer, *holes = (shapely.Polygon(ring if is_geographic else _unwrap_ring(ring)) for ring in rings)
    polygon = shapely.make_valid(outer)
    for hole in holes:
        # One of the copies lies in the outer ring.
        copies = [shapely.make_valid(_shift(hole, 360.0 * turn)) for turn in (-1, 0, 1)]
        polygon = shapely.difference(polygon, shapely.union_all(copies))
    # Parts of a ring round a pole meet where it was opened.
    whole = shapely.get_parts(shapely.union_all(_cut_worlds(polygon)))
    return shapely.MultiPolygon([part for part in whole if isinstance(part, shapely.Polygon)])


def cut_line(points: NDArray[np.float64], *, is_geographic: bool) -> shapely.MultiLineString:
    """The parts of a line on either side of the antimeridian, all between -180 and 180 degrees.

    Args:
        points: (k, 2) longitude and latitude.
        is_geographic: as in `find_crossing`.

    Source: RFC 7946, section 3.1.9.
    """
    lon = points[:, 0] if is_geographic else np.unwrap(points[:, 0], period=360.0)
    parts = shapely.get_parts(_cut_worlds(shapely.LineString(np.stack([lon, points[:, 1]], axis=1))))
    return shapely.MultiLineString([part for part in parts if isinstance(part, shapely.LineString)])


def _cut_worlds(geometry: shapely.Geometry) -> list[shapely.Geometry]:
    """What lies in each turn round the Earth, moved into the first one."""
    west, _, east, _ = geometry.bounds
    parts = []
    for turn in range(math.floor((west + 180.0) / 360.0), math.ceil((east + 180.0) / 360.0)):
        world = shapely.box(-180.0 + 360.0 * turn, -90.0, 180.0 + 360.0 * turn, 90.0)
        parts.append(_shift(shapely.intersection(geometry, world), -360.0 * turn))
    return parts


def _unwrap_ring(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    lon = np.unwrap(ring[:, 0], period=360.0)
    unwrapped = np.stack([lon, ring[:, 1]], axis=1)
    if abs(lon[-1] - lon[0]) < 180.0:
        return unwrapped
    pole = math.copysign(90.0, float(ring[:, 1].mean()))
    return np.concatenate([unwrapped, [[lon[-1], pole], [lon[0], pole]], unwrapped[:1]])


def _shift(geometry: shapely.Geometry, degrees: float) -> shapely.Geometry:
    return shapely.transform(geometry, lambda lonlat: lonlat + np.array([degrees, 0.0]))
