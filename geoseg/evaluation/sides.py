"""The two sides of a comparison, raster or vector, brought to one grid and read window by window."""

from __future__ import annotations

import math
import warnings
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
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT

from geoseg.errors import InputError
from geoseg.evaluation.layer_side import ClassLayer, LayerClasses, outline_window
from geoseg.evaluation.plane import lay_plane
from geoseg.evaluation.turns import bring_onto
from geoseg.grid import GeoGrid, Window
from geoseg.raster.opening import open_dataset
from geoseg.raster.reader import GDAL_FAULTS, gdal_environment

NODATA = 255

BLOCK_PX = 512

CHECK_PLACE = "check the extent and the CRS of both: gdalinfo and ogrinfo list them"


class ClassSource(Protocol):
    """Class ids by window; may be read from several threads at once."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def read(self, window: Window) -> NDArray[np.uint8]:
        """(rows, cols) uint8 class ids of a window inside the grid; 255 where nothing is known."""


@dataclass(frozen=True)
class RasterClasses:
    """A raster of one band of class ids; picklable, opened anew for every window, so that threads share nothing.

    Args:
        path: the file.
        grid: of the file.
        onto: the grid to which it is resampled, to the nearest pixel; None for its own.
    """

    path: Path
    grid: GeoGrid
    onto: GeoGrid | None = None

    @classmethod
    def open(cls, path: Path) -> RasterClasses:
        """Check the file.

        Raises:
            InputError: it cannot be opened, or is no class raster.
        """
        try:
            with _open_quietly(path) as dataset:
                count, dtype, crs = dataset.count, dataset.dtypes[0], dataset.crs
                wkt = crs.to_wkt() if crs else ""
                grid = GeoGrid(wkt, dataset.transform, dataset.height, dataset.width)
        except GDAL_FAULTS as error:
            raise InputError(
                f"{path} cannot be opened: {error}",
                expected="a class raster or a polygon layer",
                remedy="check the path",
            ) from error
        if count != 1 or dtype != "uint8":
            raise InputError(
                f"{path}: {count} band(s) of {dtype}",
                expected="a class raster: one band of uint8 class ids, 255 where nothing is known",
                remedy="extract the band with the classes: gdal_translate -b N -ot Byte FILE classes.tif",
            )
        return cls(path, grid)

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def read(self, window: Window) -> NDArray[np.uint8]:
        """(rows, cols) uint8 class ids.

        Raises:
            InputError: the file cannot be read there.
        """
        try:
            with gdal_environment(self.name), _open_quietly(self.path) as dataset:
                if self.onto is None:
                    return _read(dataset, window)
                with WarpedVRT(
                    dataset,
                    crs=self.onto.crs,
                    transform=self.onto.transform,
                    height=self.onto.rows,
                    width=self.onto.cols,
                    resampling=Resampling.nearest,
                    # What the file itself calls nodata is not asked on its own grid either.
                    src_nodata=NODATA,
                    nodata=NODATA,
                ) as warped:
                    return _read_blocks(warped, window, self.onto.window)
        except GDAL_FAULTS as error:
            raise InputError(f"{self.path} cannot be read: {error}", expected="a complete raster") from error


def bring_together(
    predicted: RasterClasses | ClassLayer, truth: RasterClasses | ClassLayer, *, resolution_m: float
) -> tuple[GeoGrid, RasterClasses | LayerClasses, RasterClasses | LayerClasses]:
    """Both sides on one grid: that of the truth if it is a raster, else that of the prediction, else a new one.

    Args:
        predicted: class raster or polygons.
        truth: class raster or polygons.
        resolution_m: pixel of the grid if both are polygons.

    Returns:
        The grid, the predicted and the true side.

    Raises:
        InputError: the two cannot be brought together.
    """
    if isinstance(predicted, ClassLayer):
        if isinstance(truth, ClassLayer):
            grid = _lay_grid(predicted.frame, truth.frame, resolution_m)
            return grid, LayerClasses(predicted, grid), LayerClasses(truth, grid)
        _check_overlap(predicted, truth)
        return truth.grid, LayerClasses(predicted, truth.grid), truth
    if isinstance(truth, ClassLayer):
        _check_overlap(truth, predicted)
        return predicted.grid, predicted, LayerClasses(truth, predicted.grid)
    if _is_same_grid(predicted.grid, truth.grid):
        return truth.grid, predicted, truth
    for side in (predicted, truth):
        _require_crs(side)
    return truth.grid, RasterClasses(predicted.path, predicted.grid, truth.grid), truth


def _open_quietly(path: Path) -> DatasetReader:
    with warnings.catch_warnings():
        # Two pictures of one size without a georeference can be compared as well.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return open_dataset(path)


def _read(dataset: DatasetReader, window: Window) -> NDArray[np.uint8]:
    box = rasterio.windows.Window(window.col, window.row, window.cols, window.rows)
    return np.asarray(dataset.read(1, window=box), np.uint8)


def _read_blocks(dataset: DatasetReader, window: Window, whole: Window) -> NDArray[np.uint8]:
    """A window put together from blocks of one lattice.

    GDAL approximates the change of CRS within what is read at once, so the window itself would change pixels.
    """
    classes = np.empty(window.shape, np.uint8)
    for row in range(window.row // BLOCK_PX * BLOCK_PX, window.row_stop, BLOCK_PX):
        for col in range(window.col // BLOCK_PX * BLOCK_PX, window.col_stop, BLOCK_PX):
            block = Window(row, col, BLOCK_PX, BLOCK_PX).intersect(whole)
            part = block.intersect(window)
            classes[part.within(window)] = _read(dataset, block)[part.within(block)]
    return classes


def _require_crs(side: RasterClasses) -> None:
    if not side.grid.crs:
        raise InputError(
            f"{side.name} has no CRS", expected="two georeferenced sides, or two rasters of one size without CRS"
        )


def _check_overlap(layer: ClassLayer, raster: RasterClasses) -> None:
    """A layer that is all elsewhere would pass for background; an empty one may be so by right."""
    _require_crs(raster)
    if len(layer.frame) == 0:
        return
    extent = shapely.box(*shapely.total_bounds(bring_onto(layer.frame.geometry, raster.grid)))
    if not extent.intersects(outline_window(raster.grid.window, raster.grid)):
        raise InputError(
            f"{layer.path} does not overlap the raster {raster.path}",
            expected="two sides of one place",
            remedy=CHECK_PLACE,
        )


def _is_same_grid(a: GeoGrid, b: GeoGrid) -> bool:
    """Whether the corners of the two grids are less than a hundredth of a pixel apart."""
    if not _is_same_crs(a.crs, b.crs):
        return False
    pixel = ~a.transform
    corners = [(0, 0), (a.cols, 0), (0, a.rows)]
    return a.window == b.window and all(math.dist(pixel @ (b.transform @ corner), corner) < 0.01 for corner in corners)


def _is_same_crs(a: str, b: str) -> bool:
    return a == b or bool(a and b and rasterio.CRS.from_wkt(a) == rasterio.CRS.from_wkt(b))


def _lay_grid(predicted: geopandas.GeoDataFrame, truth: geopandas.GeoDataFrame, resolution_m: float) -> GeoGrid:
    """A grid of square ground metres over both layers, north up in the midst of the truth."""
    filled = [frame for frame in (truth, predicted) if len(frame)]
    if not filled:
        raise InputError("both layers are empty", expected="at least one polygon")
    crs = lay_plane(filled[0].geometry)
    bounds = np.array([frame.to_crs(crs).total_bounds for frame in filled])
    if not shapely.intersects(*shapely.box(*bounds[[0, -1]].T)):
        raise InputError("the two layers do not overlap", expected="two sides of one place", remedy=CHECK_PLACE)
    (west, south), (east, north) = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
    rows, cols = math.ceil((north - south) / resolution_m), math.ceil((east - west) / resolution_m)
    transform = Affine.translation(west, north) @ Affine.scale(resolution_m, -resolution_m)
    return GeoGrid(crs.to_wkt(), transform, max(rows, 1), max(cols, 1))
