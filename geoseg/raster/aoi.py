"""Which part of a raster is wanted."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyogrio
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from geoseg.errors import InputError
from geoseg.grid import GeoGrid, Window
from geoseg.raster.opening import explain_fault

SUBPIXELS = 256
"""Corners are rounded to 1 / 256 pixel: a power of two, so that shifting them by whole pixels is exact in floats."""

EDGE_PARTS = 64
STRIP_ROWS = 64
MAX_FILE_BYTES = 256 * 2**20
MAX_CORNERS, MAX_WRONG_CORNERS = 1_000_000, 1000
OGR_FAULTS = (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.GeometryError)


@dataclass(frozen=True)
class AreaOfInterest:
    """Polygons on a pixel grid; a pixel belongs to them if its centre does.

    Attributes:
        polygons: shapely (Multi)Polygon, x = column and y = row in pixels of the grid, multiples of 1/256.
        window: of the grid; no pixel of the area lies outside.
        fingerprint: hexadecimal digest of the polygons.
    """

    polygons: BaseGeometry
    window: Window
    fingerprint: str

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Which pixels of a window belong to the area, bool (h, w); the same for a pixel whatever the window."""
        if window.intersect(self.window).is_empty:
            return np.zeros(window.shape, bool)
        shift = Affine.translation(window.col, window.row)
        burnt: NDArray[np.uint8] = rasterize([self.polygons], window.shape, transform=shift, dtype="uint8")
        return burnt.astype(bool)


def parse_aoi(text: str | Path, grid: GeoGrid) -> AreaOfInterest:
    """The area that a user names, on a raster's grid.

    Args:
        text: "W,S,E,N" in degrees (WGS 84; W > E crosses the antimeridian), or a vector file with polygons in any CRS.
            Edges are straight in the CRS they are given in.
        grid: the raster's grid.

    Raises:
        InputError: the text is malformed, or the area is empty or holds no pixel of the raster.
    """
    pixels = _to_pixels(*read_area(text), grid)
    window = _enclose_centres(pixels).intersect(grid.window)
    digest = hashlib.sha256(shapely.to_wkb(pixels, byte_order=1)).hexdigest()
    area = AreaOfInterest(pixels, window, digest)
    if not any(area.mask(strip).any() for strip in _cut_strips(window)):
        raise InputError(
            f"{text}: the area holds no pixel of the raster",
            expected=f"an area within {_describe_bounds(grid)}",
            remedy="check the order W,S,E,N (longitude first, degrees) or the file's CRS",
        )
    return area


def read_area(text: str | Path) -> tuple[BaseGeometry, CRS]:
    """The (Multi)Polygon that a user names, as in `parse_aoi`, and its CRS (longitude or easting first).

    Raises:
        InputError: the text is malformed, or the area is empty.
    """
    numbers = _parse_numbers(str(text))
    if numbers is not None:
        return _make_boxes(str(text), numbers), CRS.from_epsg(4326)
    return _read_polygons(Path(text))


def _parse_numbers(text: str) -> list[float] | None:
    parts = text.split(",")
    try:
        return [float(part) for part in parts] if len(parts) > 1 else None
    except ValueError:
        return None


def _make_boxes(text: str, numbers: list[float]) -> BaseGeometry:
    order = "W,S,E,N in degrees, for example 39.1,-6.2,39.3,-6.1"
    if len(numbers) != 4 or not np.isfinite(numbers).all():
        raise InputError(f"area {text}", expected=order, remedy="give four numbers separated by commas")
    west, south, east, north = numbers
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= 90 and -90 <= north <= 90):
        raise InputError(
            f"area {text}: out of range for longitude and latitude",
            expected=order,
            remedy="for map coordinates (metres), give a vector file in that CRS instead",
        )
    if south >= north or west == east or (west > east and west - east < 180):
        raise InputError(
            f"area {text}: no area between its corners",
            expected=f"{order}; W < E and S < N",
            remedy="put the smaller longitude and latitude first (W > E only across the antimeridian)",
        )
    if west < east:
        return shapely.box(west, south, east, north)
    return shapely.union_all([shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)])


def _read_polygons(path: Path) -> tuple[BaseGeometry, CRS]:
    fault = "neither W,S,E,N nor an existing file"
    try:
        exists = path.is_file()
    except OSError as error:
        exists, fault = False, error.strerror or str(error)
    if not exists:
        raise InputError(
            f"area {path}: {fault}",
            expected="four numbers separated by commas, or a vector file with polygons",
            remedy="check the path",
        )
    try:
        _check_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they say of rings and numbers leads to errors below
            meta, _, geometries, _ = pyogrio.raw.read(path, columns=[])
            shapes = shapely.from_wkb(geometries)
            areal = _list_areal(path, shapes)
    except (*OGR_FAULTS, shapely.GEOSException, OSError, UnicodeError) as error:
        raise InputError(
            f"area {path}: not readable as vector data ({explain_fault(error)})",
            expected="GeoJSON, GeoPackage, FlatGeobuf, Shapefile, ...",
            remedy="check the file with ogrinfo",
        ) from error
    if not meta["crs"]:
        raise InputError(
            f"area {path}: no coordinate reference system",
            expected="georeferenced polygons",
            remedy="assign it: ogr2ogr -a_srs EPSG:CODE with_crs.gpkg FILE",
        )
    if not areal:
        raise InputError(
            f"area {path}: no polygon with an area among {len(shapes)} feature(s)",
            expected="polygons",
            remedy="close lines into polygons, or buffer points, before",
        )
    return shapely.union_all(areal), CRS.from_user_input(meta["crs"])


def _check_file(path: Path) -> None:
    """Refuse files that would lead elsewhere or fill the memory."""
    with path.open("rb") as file:
        head, size = file.read(4096), os.fstat(file.fileno()).st_size
    if b"<OGRVRT" in head or b"gdal_streamed_alg" in head:
        raise InputError(f"area {path}: it names further files", expected="polygons", remedy="convert it with ogr2ogr")
    if size > MAX_FILE_BYTES:
        raise InputError(
            f"area {path}: {size / 2**20:.0f} MiB",
            expected=f"a file of at most {MAX_FILE_BYTES // 2**20} MiB",
            remedy="leave out what lies outside the raster, dissolve and simplify: ogr2ogr -clipsrc, -simplify",
        )


def _list_areal(path: Path, shapes: NDArray[np.object_]) -> list[BaseGeometry]:
    """The shapes that have an area, valid."""
    corners = shapely.get_num_coordinates(shapes)
    wrong = ~(shapely.is_valid(shapes) | shapely.is_missing(shapes))
    # Mending takes a time that grows faster than the square of the crossings.
    if corners.sum() > MAX_CORNERS or corners[wrong].sum() > MAX_WRONG_CORNERS:
        raise InputError(
            f"area {path}: {corners.sum()} corners, {corners[wrong].sum()} of them in polygons that cross themselves",
            expected=f"at most {MAX_CORNERS}, and {MAX_WRONG_CORNERS}",
            remedy="mend and simplify it first: ogr2ogr -makevalid -simplify",
        )
    if not np.isfinite(shapely.get_coordinates(shapes)).all():
        raise InputError(f"area {path}: a corner that is no number", expected="finite coordinates")
    shapes[wrong] = shapely.make_valid(shapes[wrong], method="structure", keep_collapsed=False)
    return [shape for shape in shapes if shape is not None and shape.area > 0]


def _to_pixels(polygons: BaseGeometry, crs: CRS, grid: GeoGrid) -> BaseGeometry:
    west, south, east, north = polygons.bounds
    try:
        dense = shapely.segmentize(polygons, max(east - west, north - south) / EDGE_PARTS)
    except shapely.GEOSException as error:
        raise _unreachable(str(error)) from error
    to_grid = Transformer.from_crs(crs, CRS.from_wkt(grid.crs), always_xy=True)
    to_pixel = ~grid.transform

    def move(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = to_grid.transform(points[:, 0], points[:, 1])
        return np.stack([to_pixel.a * x + to_pixel.b * y + to_pixel.c, to_pixel.d * x + to_pixel.e * y + to_pixel.f], 1)

    try:
        moved = shapely.transform(dense, move)
    except ProjError as error:
        raise _unreachable(str(error)) from error
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise _unreachable("a corner has no coordinates there")
    near = shapely.make_valid(moved).intersection(shapely.box(-1, -1, grid.cols + 1, grid.rows + 1))
    rounded = shapely.transform(near, lambda points: np.round(points * SUBPIXELS) / SUBPIXELS)
    parts = [part for part in shapely.get_parts(rounded) if part.geom_type in ("Polygon", "MultiPolygon") and part.area]
    return shapely.normalize(shapely.MultiPolygon([p for part in parts for p in shapely.get_parts(part)]))


def _unreachable(reason: str) -> InputError:
    return InputError(
        f"the area cannot be brought into the raster's CRS ({reason})",
        expected="an area near the raster",
        remedy="cut the area to the surroundings of the raster",
    )


def _enclose_centres(pixels: BaseGeometry) -> Window:
    if pixels.is_empty:
        return Window(0, 0, 0, 0)
    left, top, right, bottom = pixels.bounds
    row, col = int(np.ceil(top - 0.5)), int(np.ceil(left - 0.5))
    return Window(row, col, int(np.floor(bottom - 0.5)) + 1 - row, int(np.floor(right - 0.5)) + 1 - col)


def _cut_strips(window: Window) -> Iterator[Window]:
    for row in range(window.row, window.row_stop, STRIP_ROWS):
        yield Window(row, window.col, STRIP_ROWS, window.cols).intersect(window)


def _describe_bounds(grid: GeoGrid) -> str:
    corners = np.array([0.0, 0.0, grid.rows, grid.rows]), np.array([0.0, grid.cols, 0.0, grid.cols])
    lon, lat = grid.to_lonlat.transform(*grid.to_world(*corners))
    return f"W,S,E,N {min(lon):.6f},{min(lat):.6f},{max(lon):.6f},{max(lat):.6f}"
