"""From polygons and lines on the ground to labels on an image's pixels."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from geoseg.errors import InputError
from geoseg.grid import GeoGrid
from geoseg.legend import ClassLegend
from geoseg.training.labels import label_elsewhere, label_values
from geoseg.training.layers import VectorLayer, bounds_near, read_near
from geoseg.training.shapes import LabelShapes, split_polygons
from geoseg.training.source import Source

LOG = logging.getLogger(__name__)

REACH_M = 50.0
"""Half of the widest line: centrelines up to this far outside of an image may reach into it."""

EDGE_PARTS = 64
"""An edge as long as the image is wide is cut into so many, as straight edges of one CRS are curved in another."""


def read_shapes(
    source: Source, legend: ClassLegend, grid: GeoGrid, labels: Path, extent: Path | None
) -> tuple[LabelShapes, LabelShapes | None]:
    """The labels of an image, and, of label 1, where they are valid; everywhere if None.

    Lines become areas of their width on the ground, with round ends.

    Args:
        source: of kind "vector".
        legend: names of the classes.
        grid: of the image.
        labels: vector file with polygons or lines.
        extent: vector file with polygons.

    Raises:
        InputError: a file cannot be used, or nothing in it lies on the image.
        OptionError: a file has no such layer or attribute.
    """
    columns = tuple(c for c in (source.class_column, source.width_column) if c)
    layer = read_near(labels, grid, REACH_M, layer=source.layer, columns=columns)
    _check_dimensions(layer, labels, allowed=(1, 2), expected="polygons or lines")
    values = [_to_text(v) for v in layer.columns[source.class_column]] if source.class_column else []
    ids, places = label_values(values, source, legend, origin=labels)
    if not source.class_column:
        ids, places = np.ones(len(layer.shapes), np.uint8), np.zeros(len(layer.shapes), np.int64)
    polygons, index = _to_pixels(layer, grid, _line_widths_m(layer, source, labels))
    if len(polygons) == 0 and extent is None:
        raise InputError(
            f"{labels} has no shape on the image",
            expected="labels of the image's place",
            remedy="check its CRS, leave the image out, or give the extent of the labels if there is nothing in truth",
        )
    shapes = LabelShapes(polygons, ids[index], places[index], elsewhere=label_elsewhere(source, legend))
    return shapes, None if extent is None else _read_extent(extent, grid)


def _read_extent(path: Path, grid: GeoGrid) -> LabelShapes:
    layer = read_near(path, grid, 0.0, layer="", columns=())
    _check_dimensions(layer, path, allowed=(2,), expected="polygons")
    polygons, index = _to_pixels(layer, grid, np.zeros(len(layer.shapes)))
    if len(polygons) == 0:
        raise InputError(f"extent {path} does not reach the image", expected="polygons where labels are valid")
    return LabelShapes(polygons, np.ones(len(index), np.uint8), np.zeros(len(index), np.int64), elsewhere=0)


def _check_dimensions(layer: VectorLayer, path: Path, *, allowed: Sequence[int], expected: str) -> None:
    wrong = ~np.isin(shapely.get_dimensions(layer.shapes), allowed)
    if wrong.any():
        kind = layer.shapes[wrong.argmax()].geom_type
        raise InputError(f"{path} has {wrong.sum()} shape(s) of the wrong kind, such as {kind}", expected=expected)


def _line_widths_m(layer: VectorLayer, source: Source, path: Path) -> NDArray[np.float64]:
    """Widths (N,) on the ground; 0 for polygons."""
    widths = np.full(len(layer.shapes), np.nan)
    if source.width_column:
        widths = np.array([_to_number(v) for v in layer.columns[source.width_column]], np.float64)
    is_line = shapely.get_dimensions(layer.shapes) == 1
    is_given = np.isfinite(widths) & (widths > 0) & (widths <= 2 * REACH_M)
    lacking = int((is_line & ~is_given).sum())
    if lacking and source.width_m == 0:
        raise InputError(
            f"{path} has {lacking} line(s) without a width between 0 and {2 * REACH_M:g} m",
            expected="a width in metres for every line",
            remedy=f"give width_m to source {source.name!r}",
        )
    if lacking and source.width_column:
        LOG.info("%s: %d of %d lines without width are %g m wide", path, lacking, is_line.sum(), source.width_m)
    return np.where(is_line, np.where(is_given, widths, source.width_m), 0.0)


def _to_pixels(
    layer: VectorLayer, grid: GeoGrid, widths_m: NDArray[np.float64]
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Polygons (M,) in pixels of the grid, x = column and y = row, and the index of the feature each is from."""
    left, bottom, right, top = bounds_near(grid, REACH_M, layer.crs)
    is_line = widths_m > 0
    shapes = layer.shapes.copy()
    shapes[~is_line] = shapely.make_valid(shapes[~is_line])
    shapes = shapely.clip_by_rect(shapes, left, bottom, right, top)
    shapes = shapely.segmentize(shapes, max(right - left, top - bottom) / EDGE_PARTS)
    target = CRS.from_wkt(grid.crs)
    # Around the image's centre this projection keeps distances: 0.1 % is lost 500 km away from it.
    lon, lat = grid.to_lonlat.transform(*grid.to_world(np.array([grid.rows / 2]), np.array([grid.cols / 2])))
    ground = CRS.from_proj4(f"+proj=aeqd +lat_0={lat[0]:.9f} +lon_0={lon[0]:.9f} +ellps=WGS84")
    lines = _reproject(shapes[is_line], layer.crs, ground)
    shapes[is_line] = _reproject(shapely.buffer(lines, widths_m[is_line] / 2), ground, target)
    shapes[~is_line] = _reproject(shapes[~is_line], layer.crs, target)
    to_pixel = ~grid.transform

    def move(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = points.T
        return np.stack([to_pixel.a * x + to_pixel.b * y + to_pixel.c, to_pixel.d * x + to_pixel.e * y + to_pixel.f], 1)

    polygons, index = split_polygons(shapely.make_valid(shapely.transform(shapes, move)))
    is_on = shapely.intersects(polygons, shapely.box(0, 0, grid.cols, grid.rows))
    return polygons[is_on], index[is_on]


def _reproject(shapes: NDArray[np.object_], source: CRS, target: CRS) -> NDArray[np.object_]:
    change = Transformer.from_crs(source, target, always_xy=True)
    try:
        moved = shapely.transform(shapes, lambda points: np.stack(change.transform(*points.T), axis=1))
    except ProjError as error:
        raise InputError(f"labels cannot be brought into {target.name}: {error}", expected="labels near it") from error
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise InputError(f"labels have no place in {target.name}", expected="labels near the image")
    return np.asarray(moved, object)


def _to_text(value: object) -> str:
    """Whole numbers without a fraction, as null turns a column of integers into floats."""
    if isinstance(value, float | np.floating):
        return "" if math.isnan(value) else str(int(value)) if value.is_integer() else str(value)
    return "" if value is None else str(value)


def _to_number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return float("nan")
