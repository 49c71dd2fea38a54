"""Raster files of a training job."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow

from geoseg.errors import InputError
from geoseg.grid import GeoGrid, Window


@dataclass(frozen=True)
class ImageInfo:
    """What a raster file is: size in pixels, bands (3 for a palette), and, where there is one, the georeference."""

    rows: int
    cols: int
    bands: int
    grid: GeoGrid | None


def describe_image(path: Path) -> ImageInfo:
    """Look at a raster without reading its pixels.

    Raises:
        InputError: it cannot be read, or is not of uint8.
    """
    try:
        with _open(path) as raster:
            if raster.dtypes[0] != "uint8":
                raise InputError(f"{path} is {raster.dtypes[0]}", expected="uint8")
            grid = None
            if raster.crs is not None:
                grid = GeoGrid(raster.crs.to_wkt(), raster.transform, raster.height, raster.width)
            bands = 3 if _has_palette(raster) else raster.count
            return ImageInfo(raster.height, raster.width, bands, grid)
    except (RasterioError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}", expected="a raster that GDAL opens") from error


def read_bands(path: Path, window: Window, *, as_colors: bool = True) -> NDArray[np.uint8]:
    """All bands uint8 (B, H, W) of a window inside the raster; a palette becomes red, green, blue if `as_colors`.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with _open(path) as raster:
            bands: NDArray[np.uint8] = raster.read(
                window=RasterWindow(window.col, window.row, window.cols, window.rows)
            )
            if as_colors and _has_palette(raster):
                table = np.zeros((256, 3), np.uint8)
                for value, color in raster.colormap(1).items():
                    table[value] = color[:3]
                bands = np.ascontiguousarray(table[bands[0]].transpose(2, 0, 1))
            return bands
    except (RasterioError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}", expected="a raster that GDAL opens") from error


def _has_palette(raster: rasterio.DatasetReader) -> bool:
    return bool(raster.count == 1 and raster.colorinterp[0] == ColorInterp.palette)


def _open(path: Path) -> rasterio.DatasetReader:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path)
