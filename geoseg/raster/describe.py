"""What a raster is, in words and numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyproj import CRS

from geoseg.errors import InputError
from geoseg.grid import GeoGrid
from geoseg.raster.opening import explain_fault, open_dataset
from geoseg.raster.reader import GDAL_FAULTS, RasterSource, gdal_environment
from geoseg.raster.source import open_raster
from geoseg.redact import redact


@dataclass(frozen=True, slots=True)
class RasterDescription:
    """What `geoseg info` says about a raster.

    Attributes:
        path: file or URL, without credentials.
        driver: GDAL's name of the format.
        rows: height in pixels.
        cols: width in pixels.
        megapixels: rows x cols / 10^6.
        crs: name of the coordinate reference system.
        epsg: its EPSG code where it has one.
        bounds_lonlat: west, south, east, north in degrees (WGS 84), of the outline.
        ground_resolution_m: geodesic (height, width) of the centre pixel in metres.
        dtype: data type of the stored values.
        band_count: bands in the file.
        bands_used: 1-based indices of those that are read.
        nodata: what makes a pixel nodata, in words.
        scale: how values become uint8, in words.
        files: files of the dataset.
    """

    path: str
    driver: str
    rows: int
    cols: int
    megapixels: float
    crs: str
    epsg: int | None
    bounds_lonlat: tuple[float, float, float, float]
    ground_resolution_m: tuple[float, float]
    dtype: str
    band_count: int
    bands_used: tuple[int, ...]
    nodata: str
    scale: str
    files: tuple[str, ...]

    def format(self) -> str:
        """A line a fact."""
        code = f" (EPSG:{self.epsg})" if self.epsg else ""
        west, south, east, north = self.bounds_lonlat
        high, wide = self.ground_resolution_m
        facts = {
            "raster": f"{self.path} ({self.driver})",
            "size": f"{self.rows} rows x {self.cols} columns, {self.megapixels:.1f} Mpx",
            "CRS": f"{self.crs}{code}",
            "bounds": f"{west:.6f} {south:.6f} {east:.6f} {north:.6f} (west south east north, degrees)",
            "pixel": f"{high:.3f} m high, {wide:.3f} m wide on the ground",
            "bands": f"{self.band_count} of {self.dtype}, used: {', '.join(map(str, self.bands_used))}",
            "values": self.scale,
            "nodata": self.nodata,
            "files": ", ".join(self.files) or "none",
        }
        return "\n".join(f"{name:<7} {fact}" for name, fact in facts.items())


def describe_raster(path: str | Path) -> RasterDescription:
    """Describe a raster as `open_raster` would read it.

    Raises:
        InputError: the raster is one that `open_raster` refuses.
    """
    source = open_raster(path)
    try:
        with gdal_environment(source.path), open_dataset(source.path) as dataset:
            driver, count, files = dataset.driver, dataset.count, tuple(dataset.files)
    except GDAL_FAULTS as error:
        raise InputError(
            f"{path}: not readable as a raster ({explain_fault(error)})", remedy="check it with gdalinfo"
        ) from error
    grid, crs = source.grid, CRS.from_wkt(source.grid.crs)
    return RasterDescription(
        path=redact(source.path),
        driver=driver,
        rows=grid.rows,
        cols=grid.cols,
        megapixels=grid.rows * grid.cols / 1e6,
        crs=crs.name,
        epsg=crs.to_epsg(),
        bounds_lonlat=_measure_bounds(grid),
        ground_resolution_m=grid.ground_resolution_m(),
        dtype=source.dtype,
        band_count=count,
        bands_used=source.bands,
        nodata=_name_nodata(source),
        scale=source.scale.describe() if source.palette is None else "colour table to RGB",
        files=tuple(map(redact, files)),
    )


def _measure_bounds(grid: GeoGrid) -> tuple[float, float, float, float]:
    along = np.linspace(0, 1, 21)
    zero, one = np.zeros_like(along), np.ones_like(along)
    rows = np.concatenate([zero, along, one, along]) * grid.rows
    cols = np.concatenate([along, one, along, zero]) * grid.cols
    lon, lat = grid.to_lonlat.transform(*grid.to_world(rows, cols))
    return float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())


def _name_nodata(source: RasterSource) -> str:
    rules = []
    if source.nodata is not None:
        rules.append(f"value {', '.join(f'{v:g}' for v in sorted(set(source.nodata)))} in all bands")
    if source.alpha_band is not None:
        rules.append(f"alpha band {source.alpha_band} is 0")
    if source.has_mask:
        rules.append("mask band")
    if np.dtype(source.dtype).kind == "f":
        rules.append("NaN or infinity in any band")
    if source.palette is not None:
        rules.append("transparent colours")
    return "; ".join(rules) or "none"
