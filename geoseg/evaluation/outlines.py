"""What outlines look like: corners, right angles, and their distance from one another in metres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.evaluation.confusion import FloatArray
from geoseg.grid import GEOD, GeoGrid

MIN_TURN_DEG = 1.0
"""A vertex at which an outline turns less is no corner."""

RIGHT_WITHIN_DEG = 10.0
"""A corner that turns left or right by 90 degrees plus or minus this is a right angle."""


@dataclass(frozen=True, slots=True)
class OutlineCounts:
    """Corners of all rings, of courtyards too; counts of parts add up to those of the whole.

    Args:
        objects: polygons or multipolygons.
        corners: their corners.
        right_angles: the right ones among them.
    """

    objects: int
    corners: int
    right_angles: int

    @classmethod
    def count(cls, geometries: NDArray[np.object_]) -> OutlineCounts:
        """Count (n,) polygonal geometries; a plane with equal units along x and y, else angles mean nothing."""
        xy, offsets, _ = list_vertices(geometries)
        kept = np.abs(_measure_turns(xy, offsets)) >= MIN_TURN_DEG
        turns = np.abs(_measure_turns(xy[kept], np.concatenate([[0], np.cumsum(kept)])[offsets]))
        return cls(len(geometries), len(turns), int((np.abs(turns - 90.0) <= RIGHT_WITHIN_DEG).sum()))

    def __add__(self, other: OutlineCounts) -> OutlineCounts:
        return OutlineCounts(
            self.objects + other.objects, self.corners + other.corners, self.right_angles + other.right_angles
        )

    @property
    def mean_corners(self) -> float:
        """Corners an object; not a number without objects."""
        return self.corners / self.objects if self.objects else float("nan")

    @property
    def right_share(self) -> float:
        """Share of the corners that are right angles, 0 to 1; not a number without corners."""
        return self.right_angles / self.corners if self.corners else float("nan")


class Vertices(NamedTuple):
    """Vertices of rings that are not repeated at their end.

    Args:
        xy: (v, 2) float64.
        offsets: (rings + 1,) int64 into `xy`.
        owner: (v,) int64 index of the geometry.
    """

    xy: FloatArray
    offsets: NDArray[np.int64]
    owner: NDArray[np.int64]


def list_vertices(geometries: NDArray[np.object_]) -> Vertices:
    """The vertices of all rings of (n,) polygonal geometries, repeated ones once."""
    parts, of_geometry = shapely.get_parts(shapely.remove_repeated_points(geometries), return_index=True)
    polygons, of_part = shapely.get_parts(parts, return_index=True)  # a collection may hold multipolygons
    areal = shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON
    rings, of_polygon = shapely.get_rings(polygons[areal], return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    open_end = np.append(ring[1:] == ring[:-1], False) if len(ring) else np.zeros(0, bool)
    sizes = np.bincount(ring[open_end], minlength=len(rings))
    owner = of_geometry[of_part[areal][of_polygon]][ring[open_end]]
    return Vertices(xy[open_end], np.concatenate([[0], np.cumsum(sizes)]), owner)


def measure_polis(predicted: NDArray[np.object_], truth: NDArray[np.object_]) -> FloatArray:
    """PoLiS distance of pairs of polygons: how far, on average, the vertices of each lie from the other's outline.

    Args:
        predicted: (n,) polygonal geometries.
        truth: (n,) their partners, in the same plane.

    Returns:
        (n,) float64 in the units of the plane.

    Source: Avbelj et al., A Metric for Polygon Comparison and Building Extraction Evaluation (2015), eq. 2; of all
        rings, so that courtyards count.
    """
    return (_measure_away(predicted, truth) + _measure_away(truth, predicted)) / 2.0


def flatten_to_metres(geometries: NDArray[np.object_], origins: FloatArray, grid: GeoGrid) -> NDArray[np.object_]:
    """Each geometry on a plane of its own that touches the ellipsoid at its origin, x east and y north in metres.

    Lengths are right to 1e-6 within 10 km of the origin.

    Args:
        geometries: (n,) in the CRS of `grid`.
        origins: (n, 2) float64 (x, y) in that CRS.
        grid: gives the CRS; without one, pixels of the grid pass for metres.
    """
    if not grid.crs:
        return geometries
    xy, index = shapely.get_coordinates(geometries, return_index=True)
    lon, lat = grid.to_lonlat.transform(xy[:, 0], xy[:, 1])
    lon0, lat0 = grid.to_lonlat.transform(origins[:, 0], origins[:, 1])
    x, y, z = _place(lon, lat) - _place(lon0, lat0)[:, index]
    lon0, lat0 = np.radians(lon0)[index], np.radians(lat0)[index]
    east = np.cos(lon0) * y - np.sin(lon0) * x
    north = np.cos(lat0) * z - np.sin(lat0) * (np.cos(lon0) * x + np.sin(lon0) * y)
    flat: NDArray[np.object_] = shapely.set_coordinates(geometries.copy(), np.stack([east, north], axis=1))
    return flat


def _place(lon: FloatArray, lat: FloatArray) -> FloatArray:
    """Geocentric (3, n) metres of points of the ellipsoid, in degrees."""
    lon, lat = np.radians(lon), np.radians(lat)
    normal = GEOD.a / np.sqrt(1.0 - GEOD.es * np.sin(lat) ** 2)
    across = normal * np.cos(lat)
    return np.stack([across * np.cos(lon), across * np.sin(lon), normal * (1.0 - GEOD.es) * np.sin(lat)])


def _measure_away(geometries: NDArray[np.object_], others: NDArray[np.object_]) -> FloatArray:
    """(n,) mean distance of the vertices of each geometry from the outline of its partner."""
    xy, _, owner = list_vertices(geometries)
    outlines = shapely.boundary(others)
    shapely.prepare(outlines)
    distance = shapely.distance(shapely.points(xy), outlines[owner])
    with np.errstate(invalid="ignore"):
        return np.bincount(owner, distance, len(geometries)) / np.bincount(owner, minlength=len(geometries))


def _measure_turns(xy: FloatArray, offsets: NDArray[np.int64]) -> FloatArray:
    """(v,) degrees, -180 to 180, by which the outline turns left at each vertex."""
    before, after = np.arange(len(xy)) - 1, np.arange(len(xy)) + 1
    filled = np.flatnonzero(np.diff(offsets))
    before[offsets[filled]] = offsets[filled + 1] - 1
    after[offsets[filled + 1] - 1] = offsets[filled]
    come, go = xy - xy[before], xy[after] - xy
    cross = come[:, 0] * go[:, 1] - come[:, 1] * go[:, 0]
    turns: FloatArray = np.degrees(np.arctan2(cross, (come * go).sum(axis=1)))
    return turns
