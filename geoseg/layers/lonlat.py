"""Geometries in longitude and latitude, cut along the antimeridian."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from geoseg.errors import OutputError
from geoseg.layers.antimeridian import cut_line, cut_polygon, find_crossing
from geoseg.layers.columns import GeometryType
from geoseg.ragged import RaggedGeometries, flatten_geometries

IntArray = NDArray[np.int64]
Offsets = tuple[IntArray, IntArray, IntArray]
"""First vertex of each ring or line, first of those of each part, first part of each feature; and their ends."""


class LonLat:
    """From the CRS of a layer to longitude and latitude of WGS 84.

    Args:
        name: of the layer.
        geometry_type: of its features.
        crs_wkt: CRS of their geometries.
    """

    def __init__(self, name: str, geometry_type: GeometryType, crs_wkt: str) -> None:
        crs = CRS.from_wkt(crs_wkt)
        self._name, self._geometry_type = name, geometry_type
        self._transformer = Transformer.from_crs(crs, CRS.from_epsg(4326), always_xy=True)
        self._is_geographic = crs.is_geographic

    def __call__(self, geometries: NDArray[np.object_] | RaggedGeometries) -> tuple[NDArray[np.float64], Offsets]:
        """Vertices (m, 2) in degrees and the offsets of the features' parts.

        Args:
            geometries: (n,) of the layer's type, or the same as flat arrays; what crosses the antimeridian becomes
                several parts.

        Raises:
            OutputError: a vertex has no longitude and latitude.
        """
        # A line is the only one of its part.
        xy, rings, parts, _ = flatten_geometries(geometries)
        lonlat = self._find_lonlat(xy)
        whole = np.arange(len(geometries) + 1)
        crossing = find_crossing(lonlat[:, 0], rings, parts, is_geographic=self._is_geographic)
        if crossing.size:
            return self._cut(crossing, lonlat, rings, parts)
        return lonlat, (rings, parts, whole)

    def convert(self, geometries: NDArray[np.object_] | RaggedGeometries) -> NDArray[np.object_]:
        """The same as (n,) MultiPolygons or MultiLineStrings."""
        lonlat, (rings, parts, features) = self(geometries)
        is_line = self._geometry_type == "LineString"
        kind = shapely.GeometryType.MULTILINESTRING if is_line else shapely.GeometryType.MULTIPOLYGON
        pieces: NDArray[np.object_] = shapely.from_ragged_array(
            kind, lonlat, (rings, features) if is_line else (rings, parts, features)
        )
        return pieces

    def _find_lonlat(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        lonlat = np.stack(self._transformer.transform(xy[:, 0], xy[:, 1]), axis=1)
        if not np.isfinite(lonlat).all():
            raise OutputError(
                f"the layer {self._name} reaches beyond the area where its CRS has longitudes and latitudes",
                expected="this format is written in longitude and latitude",
                remedy="write another format, which keeps the CRS",
            )
        if self._is_geographic:  # datum shifts wrap at 180 degrees what the source had in one piece
            lonlat[:, 0] += 360.0 * np.rint((xy[:, 0] - lonlat[:, 0]) / 360.0)
        return lonlat

    def _cut(
        self, crossing: IntArray, lonlat: NDArray[np.float64], rings: IntArray, parts: IntArray
    ) -> tuple[NDArray[np.float64], Offsets]:
        """Vertices and offsets of all features after those that cross the antimeridian are cut."""
        whole = np.arange(len(parts) - 1)
        if self._geometry_type == "LineString":
            lines = shapely.from_ragged_array(shapely.GeometryType.LINESTRING, lonlat, (rings,))
            lines = shapely.multilinestrings(lines, indices=whole)
            for i in crossing:
                lines[i] = cut_line(lonlat[rings[i] : rings[i + 1]], is_geographic=self._is_geographic)
            _, lonlat, (rings, features) = shapely.to_ragged_array(lines, include_z=False)
            return lonlat, (rings, np.arange(len(rings)), features)
        pieces = shapely.from_ragged_array(shapely.GeometryType.POLYGON, lonlat, (rings, parts))
        pieces = shapely.multipolygons(pieces, indices=whole)
        for i in crossing:
            own = [lonlat[rings[r] : rings[r + 1]] for r in range(parts[i], parts[i + 1])]
            pieces[i] = cut_polygon(own, is_geographic=self._is_geographic)
        _, lonlat, (rings, parts, features) = shapely.to_ragged_array(pieces, include_z=False)
        return lonlat, (rings, parts, features)
