"""Outlines in longitude and latitude, and whether a scene can lie in the area that is wanted."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio.errors import NotGeoreferencedWarning
from shapely.geometry import shape

from geoseg.errors import GeosegError, InputError
from geoseg.grid import GeoGrid
from geoseg.layers.lonlat import LonLat
from geoseg.raster.aoi import read_area
from geoseg.raster.georeference import read_grid
from geoseg.raster.opening import open_dataset
from geoseg.raster.reader import GDAL_FAULTS, gdal_environment

BBox = tuple[float, float, float, float]
"""West, south, east, north in degrees; west > east where it crosses the antimeridian."""

EDGE_PARTS = 20
READERS = 8
"""Headers read at a time: most of the time goes by waiting for servers."""


@dataclass(frozen=True)
class SearchArea:
    """Where scenes are wanted.

    Attributes:
        polygons: shapely MultiPolygon in longitude and latitude, cut along the antimeridian.
    """

    polygons: shapely.MultiPolygon

    @property
    def bbox(self) -> BBox:
        """Its bounds."""
        return find_bbox(self.polygons)

    def may_hold(self, geometry: dict[str, Any] | None, bbox: list[float] | None) -> bool:
        """Whether a STAC item with this geometry (GeoJSON) and bounding box reaches into the area, if it tells.

        Raises:
            ValueError: they are malformed.
        """
        if geometry:
            return bool(shapely.make_valid(shape(geometry)).intersects(self.polygons))
        if bbox:
            west, south, east, north = bbox if len(bbox) == 4 else (*bbox[:2], *bbox[3:5])
            return bool(make_boxes((west, south, east, north)).intersects(self.polygons))
        return True

    def select_files(self, names: list[str]) -> list[bool]:
        """Which rasters reach into the area, by their headers alone; those that cannot be told about do."""
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(self._may_hold_file, names))

    def _may_hold_file(self, name: str) -> bool:
        try:
            with warnings.catch_warnings(), gdal_environment(name):
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                with open_dataset(name) as dataset:
                    outline = trace_outline(read_grid(name, dataset))
        except (GeosegError, *GDAL_FAULTS):
            # What is wrong with it is for the run to say.
            return True
        return outline is None or bool(outline.intersects(self.polygons))


def read_search_area(text: str | Path) -> SearchArea:
    """The area that a user names: "W,S,E,N" in degrees, or a vector file with polygons in any CRS.

    Raises:
        InputError: it is malformed, empty or nowhere on Earth.
    """
    polygons, crs = read_area(text)
    outline = _to_lonlat(polygons, crs.to_wkt())
    if outline is None:
        raise InputError(
            f"area {text}: a corner has no longitude and latitude",
            expected="an area within the part of the Earth that its CRS is made for",
            remedy="check the file's CRS",
        )
    return SearchArea(outline)


def trace_outline(grid: GeoGrid) -> shapely.MultiPolygon | None:
    """The outline of a raster in longitude and latitude, cut along the antimeridian; None where it has none.

    Edges are followed at 20 places, as straight lines of a map are none in longitude and latitude.
    """
    along = np.linspace(0, 1, EDGE_PARTS + 1)[:-1]
    zero, one = np.zeros_like(along), np.ones_like(along)
    # Counter-clockwise on a map whose north is up, as GeoJSON asks of outer rings.
    rows = np.concatenate([along, one, 1 - along, zero]) * grid.rows
    cols = np.concatenate([zero, along, one, 1 - along]) * grid.cols
    return _to_lonlat(shapely.Polygon(np.stack(grid.to_world(rows, cols), axis=1)), grid.crs)


def make_boxes(bbox: BBox) -> shapely.Geometry:
    """A bounding box as polygons; two of them where it crosses the antimeridian."""
    west, south, east, north = bbox
    if west <= east:
        return shapely.box(west, south, east, north)
    return shapely.MultiPolygon([shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)])


def find_bbox(geometry: shapely.Geometry) -> BBox:
    """Bounds of polygons that were cut along the antimeridian: the shorter way round the Earth.

    Source: RFC 7946, section 5.2.
    """
    spans = sorted((part.bounds[0], part.bounds[2]) for part in shapely.get_parts(geometry))
    _, south, _, north = geometry.bounds
    gaps, reach = [(spans[0][0] + 360, spans[0][0])], spans[0][1]
    for west, east in spans[1:]:
        if west > reach:
            gaps.append((reach, west))
        reach = max(reach, east)
    widths = [gaps[0][0] - reach, *(east - west for west, east in gaps[1:])]
    widest = int(np.argmax(widths))
    # West of everything lies the end of the widest gap, east of everything its beginning.
    return (gaps[widest][1], south, reach if widest == 0 else gaps[widest][0], north)


def _to_lonlat(polygons: shapely.Geometry, crs_wkt: str) -> shapely.MultiPolygon | None:
    west, south, east, north = polygons.bounds
    dense = shapely.segmentize(polygons, max(east - west, north - south) / EDGE_PARTS)
    try:
        parts = LonLat("area", "Polygon", crs_wkt).convert(shapely.get_parts(dense))
    except Exception:  # of pyproj, of shapely and of geoseg; each means the same here
        return None
    whole = shapely.make_valid(shapely.union_all(shapely.make_valid(parts)))
    areal = [part for part in shapely.get_parts(whole) if isinstance(part, shapely.Polygon)]
    if not areal:
        return None
    return shapely.MultiPolygon([shapely.orient_polygons(part) for part in areal])
