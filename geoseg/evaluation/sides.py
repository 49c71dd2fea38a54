"""The two sides of a comparison, raster or vector, read as class ids window by window."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import geopandas
import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.features import rasterize
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT

from geoseg.errors import InputError
from geoseg.grid import GeoGrid, Window
from geoseg.layers.read import open_layer
from geoseg.legend import ClassLegend

NODATA = 255

CHECK_PLACE = "check the extent and the CRS of both: gdalinfo and ogrinfo list them"


class ClassSource(Protocol):
    """Class ids by window."""

    def read(self, window: Window) -> NDArray[np.uint8]:
        """(rows, cols) uint8 class ids; 255 where nothing is known."""


@dataclass(frozen=True)
class ClassLayer:
    """Polygons that say what they are.

    Args:
        frame: the layer; geometries in its CRS, `confidence` if it has one.
        class_id: (n,) uint8 class of every polygon.
    """

    frame: geopandas.GeoDataFrame
    class_id: NDArray[np.uint8]

    @classmethod
    def open(cls, path: Path, *, legend: ClassLegend, only_class: int | None) -> ClassLayer:
        """Take the classes from `class_id`, else from the names in `class`, else `only_class` for all.

        Raises:
            InputError: the layer cannot be read, does not say its classes, or has one that the legend does not know.
        """
        frame = open_layer(path)
        ids = {c.name: c.id for c in legend.classes}
        if "class_id" in frame:
            values = frame["class_id"].tolist()
        elif "class" in frame:
            values = [ids.get(name, name) for name in frame["class"].tolist()]
        elif only_class is not None:
            values = [only_class] * len(frame)
        else:
            raise InputError(
                f"{path} has neither a column class_id nor a column class",
                expected="polygons that say what they are",
                remedy="name the one class that they all are",
            )
        unknown = sorted({str(v) for v in values if v not in legend.names})
        if unknown:
            raise InputError(
                f"{path} has unknown classes: {', '.join(unknown[:5])}",
                expected=", ".join(f"{i} {name}" for i, name in legend.names.items()),
            )
        return cls(frame, np.array(values, np.uint8))


class LayerClasses:
    """Polygons burnt into a grid: a pixel is of the last polygon that covers its centre, else background."""

    def __init__(self, layer: ClassLayer, grid: GeoGrid) -> None:
        self._geometries = layer.frame.to_crs(grid.crs).geometry.to_numpy()
        self._class_id, self._grid = layer.class_id, grid
        self._tree = shapely.STRtree(self._geometries)

    def read(self, window: Window) -> NDArray[np.uint8]:
        """(rows, cols) uint8 class ids."""
        rows = np.array([window.row, window.row, window.row_stop, window.row_stop], np.float64)
        cols = np.array([window.col, window.col_stop, window.col_stop, window.col], np.float64)
        outline = shapely.Polygon(np.stack(self._grid.to_world(rows, cols), axis=1))
        near = np.sort(self._tree.query(outline, predicate="intersects"))
        if near.size == 0:
            return np.zeros(window.shape, np.uint8)
        burnt = rasterize(
            zip(self._geometries[near], self._class_id[near].tolist(), strict=True),
            out_shape=window.shape,
            transform=self._grid.transform @ Affine.translation(window.col, window.row),
            dtype=np.uint8,
        )
        return np.asarray(burnt, np.uint8)


class RasterClasses:
    """The first band of a class raster."""

    def __init__(self, dataset: DatasetReader | WarpedVRT) -> None:
        self._dataset = dataset

    def read(self, window: Window) -> NDArray[np.uint8]:
        """(rows, cols) uint8 class ids."""
        box = rasterio.windows.Window(window.col, window.row, window.cols, window.rows)
        try:
            return np.asarray(self._dataset.read(1, window=box), np.uint8)
        except RasterioError as error:
            raise InputError(f"{self._dataset.name} cannot be read: {error}", expected="a complete raster") from error


@contextmanager
def open_sides(
    predicted: Path | ClassLayer, truth: Path | ClassLayer, *, resolution_m: float
) -> Iterator[tuple[GeoGrid, ClassSource, ClassSource]]:
    """Open both sides on one grid: that of the truth if it is a raster, else that of the prediction, else a new one.

    Args:
        predicted: class raster or polygons.
        truth: class raster or polygons.
        resolution_m: pixel of the grid if both are polygons.

    Raises:
        InputError: a raster cannot be opened, or the two cannot be brought together.
    """
    if isinstance(truth, ClassLayer):
        if isinstance(predicted, ClassLayer):
            grid = _lay_grid(predicted.frame, truth.frame, resolution_m)
            yield grid, LayerClasses(predicted, grid), LayerClasses(truth, grid)
            return
        with _open_raster(predicted) as dataset:
            grid = _grid_of(dataset)
            _check_overlap(truth, grid, dataset.name)
            yield grid, RasterClasses(dataset), LayerClasses(truth, grid)
    elif isinstance(predicted, ClassLayer):
        with _open_raster(truth) as dataset:
            grid = _grid_of(dataset)
            _check_overlap(predicted, grid, dataset.name)
            yield grid, LayerClasses(predicted, grid), RasterClasses(dataset)
    else:
        with _open_raster(predicted) as found, _open_raster(truth) as expected:
            if _same_grid(found, expected):
                grid = GeoGrid("", expected.transform, expected.height, expected.width)
                yield grid, RasterClasses(found), RasterClasses(expected)
                return
            _grid_of(found)  # only a georeferenced prediction can be brought to another grid
            grid = _grid_of(expected)
            with WarpedVRT(
                found,
                crs=expected.crs,
                transform=expected.transform,
                height=expected.height,
                width=expected.width,
                resampling=Resampling.nearest,
                nodata=NODATA,
            ) as warped:
                yield grid, RasterClasses(warped), RasterClasses(expected)


def _open_raster(path: Path) -> DatasetReader:
    try:
        with warnings.catch_warnings():
            # Two pictures of one size without a georeference can be compared as well.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(path)
    except RasterioError as error:
        raise InputError(
            f"{path} cannot be opened: {error}", expected="a class raster or a polygon layer", remedy="check the path"
        ) from error
    if dataset.count != 1 or dataset.dtypes[0] != "uint8":
        dataset.close()
        raise InputError(
            f"{path}: {dataset.count} band(s) of {dataset.dtypes[0]}",
            expected="a class raster: one band of uint8 class ids, 255 where nothing is known",
            remedy="extract the band with the classes: gdal_translate -b N -ot Byte FILE classes.tif",
        )
    return dataset


def _grid_of(dataset: DatasetReader) -> GeoGrid:
    if dataset.crs is None:
        raise InputError(
            f"{dataset.name} has no CRS", expected="two georeferenced sides, or two rasters of one size without CRS"
        )
    return GeoGrid(dataset.crs.to_wkt(), dataset.transform, dataset.height, dataset.width)


def _check_overlap(layer: ClassLayer, grid: GeoGrid, name: str) -> None:
    """A layer that is all elsewhere would pass for background; an empty one may be so by right."""
    rows, cols = np.array([0.0, 0.0, grid.rows, grid.rows]), np.array([0.0, grid.cols, grid.cols, 0.0])
    outline = shapely.Polygon(np.stack(grid.to_world(rows, cols), axis=1))
    extent = shapely.box(*layer.frame.to_crs(grid.crs).total_bounds)
    if len(layer.frame) and not extent.intersects(outline):
        raise InputError(
            f"the layer does not overlap the raster {name}", expected="two sides of one place", remedy=CHECK_PLACE
        )


def _same_grid(a: DatasetReader, b: DatasetReader) -> bool:
    """Whether the corners of the two rasters are less than a hundredth of a pixel apart."""
    if a.crs != b.crs or a.shape != b.shape:
        return False
    pixel = ~a.transform
    corners = [(0, 0), (a.width, 0), (0, a.height)]
    return all(math.dist(pixel @ (b.transform @ corner), corner) < 0.01 for corner in corners)


def _lay_grid(predicted: geopandas.GeoDataFrame, truth: geopandas.GeoDataFrame, resolution_m: float) -> GeoGrid:
    """A north-up grid of square metres over both layers, in the UTM zone of the truth."""
    filled = [frame for frame in (truth, predicted) if len(frame)]
    if not filled:
        raise InputError("both layers are empty", expected="at least one polygon")
    crs = filled[0].estimate_utm_crs()
    bounds = np.array([frame.to_crs(crs).total_bounds for frame in filled])
    if not shapely.intersects(*shapely.box(*bounds[[0, -1]].T)):
        raise InputError("the two layers do not overlap", expected="two sides of one place", remedy=CHECK_PLACE)
    (west, south), (east, north) = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
    rows, cols = math.ceil((north - south) / resolution_m), math.ceil((east - west) / resolution_m)
    transform = Affine.translation(west, north) @ Affine.scale(resolution_m, -resolution_m)
    return GeoGrid(crs.to_wkt(), transform, max(rows, 1), max(cols, 1))
