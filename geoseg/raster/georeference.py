"""Whether and where a dataset's pixels are on Earth."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np
import rasterio

from geoseg.errors import InputError
from geoseg.grid import GeoGrid


def read_grid(name: str, dataset: rasterio.DatasetReader) -> GeoGrid:
    """The pixel grid of an open dataset; `name` is for messages.

    Raises:
        InputError: it has no CRS, no affine geotransform, or they lead nowhere on Earth.
    """
    gcps, _ = dataset.gcps
    if gcps and dataset.transform.is_identity:
        raise InputError(
            f"{name}: georeferenced by {len(gcps)} ground control points only",
            expected="a raster with an affine geotransform",
            remedy=f"warp it once: gdalwarp -r bilinear {Path(name).name} warped.tif",
        )
    if dataset.crs is None:
        raise InputError(
            f"{name}: no coordinate reference system",
            expected="a georeferenced raster",
            remedy="if you know it, write it into the file: gdal_edit.py -a_srs EPSG:CODE FILE",
        )
    t = dataset.transform
    if t.is_identity or t.determinant == 0 or not np.isfinite(t[:6]).all():
        raise InputError(
            f"{name}: no usable geotransform ({', '.join(f'{v:g}' for v in t[:6])})",
            expected="a transform from pixels to map coordinates",
            remedy="add a world file, or write the corners into the file: gdal_edit.py -a_ullr ULX ULY LRX LRY FILE",
        )
    grid = GeoGrid(dataset.crs.to_wkt(), t, dataset.height, dataset.width)
    try:
        resolution = grid.ground_resolution_m()
    except Exception as error:  # pyproj has several kinds of refusal; each means the same here
        _refuse_place(name, str(error))
    if not (np.isfinite(resolution).all() and min(resolution) > 0):
        _refuse_place(name, f"ground resolution {resolution}")
    return grid


def _refuse_place(name: str, reason: str) -> NoReturn:
    raise InputError(
        f"{name}: its centre is nowhere on Earth ({reason})",
        expected="a CRS that leads to longitude and latitude, and a geotransform in its units",
        remedy="compare CRS and corner coordinates with `gdalinfo FILE`; correct them with gdal_edit.py",
    )
