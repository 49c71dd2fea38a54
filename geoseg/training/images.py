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
from geoseg.raster.opening import open_dataset

ALPHA_LOOK_PX = 256
"""Side of the small picture of a band in which alpha is told from near infrared."""


@dataclass(frozen=True)
class ImageInfo:
    """What a raster file is.

    Args:
        rows: height in pixels.
        cols: width in pixels.
        bands: how many, alpha not among them; 3 for a palette.
        grid: the georeference, where there is one.
        alpha: 1-based index of the alpha band; 0 where there is none.
    """

    rows: int
    cols: int
    bands: int
    grid: GeoGrid | None
    alpha: int = 0


def describe_image(path: Path) -> ImageInfo:
    """Look at a raster without reading its pixels, but for those of an alpha band.

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
            alpha = _find_alpha(raster)
            bands = 3 if _has_palette(raster) else raster.count - bool(alpha)
            return ImageInfo(raster.height, raster.width, bands, grid, alpha)
    except (RasterioError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}", expected="a raster that GDAL opens") from error


def read_bands(path: Path, window: Window, *, as_colors: bool = True) -> NDArray[np.uint8]:
    """All bands uint8 (B, H, W) of a window inside the raster; a palette becomes red, green, blue if `as_colors`.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with _open(path) as raster:
            return _read(raster, window, as_colors=as_colors)
    except (RasterioError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}", expected="a raster that GDAL opens") from error


def read_image(path: Path, window: Window, *, alpha: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Bands uint8 (B, H, W) without the alpha band, as `read_bands` reads them, and bool (H, W): where they are valid.

    Nodata in all bands, alpha 0 and what a mask leaves out are not valid.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with _open(path) as raster:
            bands = _read(raster, window, as_colors=True)
            if alpha:
                return np.delete(bands, alpha - 1, axis=0), bands[alpha - 1] > 0
            if ColorInterp.alpha in raster.colorinterp:  # the mask would be what is no alpha
                return bands, np.ones(window.shape, bool)
            return bands, raster.dataset_mask(window=_to_rasterio(window)) > 0
    except (RasterioError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}", expected="a raster that GDAL opens") from error


def _read(raster: rasterio.DatasetReader, window: Window, *, as_colors: bool) -> NDArray[np.uint8]:
    bands: NDArray[np.uint8] = raster.read(window=_to_rasterio(window))
    if as_colors and _has_palette(raster):
        table = np.zeros((256, 3), np.uint8)
        for value, color in raster.colormap(1).items():
            table[value] = color[:3]
        bands = np.ascontiguousarray(table[bands[0]].transpose(2, 0, 1))
    return bands


def _to_rasterio(window: Window) -> RasterWindow:
    return RasterWindow(window.col, window.row, window.cols, window.rows)


def _find_alpha(raster: rasterio.DatasetReader) -> int:
    """1-based index of the alpha band, 0 for none.

    GDAL calls the fourth band alpha where the writer of a file did not say what it is. Near infrared is told from
    alpha by its values: those of alpha are 0 and 255, but for a blurred border.
    """
    shape = min(raster.height, ALPHA_LOOK_PX), min(raster.width, ALPHA_LOOK_PX)
    for index, meaning in enumerate(raster.colorinterp, start=1):
        if meaning == ColorInterp.alpha and np.isin(raster.read(index, out_shape=shape), (0, 255)).mean() > 0.5:
            return index
    return 0


def _has_palette(raster: rasterio.DatasetReader) -> bool:
    return bool(raster.count == 1 and raster.colorinterp[0] == ColorInterp.palette)


def _open(path: Path) -> rasterio.DatasetReader:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return open_dataset(path)
