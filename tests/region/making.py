"""Scenes whose classes are known, and what a mosaic of them must be, pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from scipy.ndimage import gaussian_filter

from geoseg.grid import GeoGrid, Window
from geoseg.legend import LAND_COVER, ClassLegend
from geoseg.raster.cog import write_class_raster, write_confidence_raster
from geoseg.raster.member import MosaicMember, open_member
from geoseg.raster.scene import SceneInfo
from geoseg.region.layers import RegionMember

Uint8 = NDArray[np.uint8]
NODATA = LAND_COVER.nodata


def make_grid(
    shape: tuple[int, int], *, epsg: int = 32737, x: float = 530_000, y: float = 9_330_000, pixel: float = 0.5
) -> GeoGrid:
    return GeoGrid(CRS.from_epsg(epsg).to_wkt(), Affine(pixel, 0, x, 0, -pixel, y), *shape)


def make_classes(
    shape: tuple[int, int], seed: int, *, unknown: float = 0.05, grain_px: float = 4
) -> tuple[Uint8, Uint8]:
    """Blobs of the four classes and of nothing, and a noisy confidence that is 0 only where nothing is known."""
    random = np.random.default_rng(seed)
    noise = gaussian_filter(random.random(shape), grain_px)
    share = np.argsort(np.argsort(noise, axis=None)).reshape(shape) / noise.size
    classes = np.digitize(share, [0.4, 0.6, 0.75]).astype(np.uint8)
    classes[share > 1 - unknown] = NODATA
    confidence = random.integers(1, 256, shape).astype(np.uint8)
    return classes, np.where(classes == NODATA, 0, confidence).astype(np.uint8)


def write_scene(
    folder: Path,
    name: str,
    grid: GeoGrid,
    pair: tuple[Uint8, Uint8],
    *,
    datetime: str | None = None,
    legend: ClassLegend = LAND_COVER,
) -> RegionMember:
    place = folder / name
    place.mkdir(parents=True)
    classes = np.where(pair[0] == NODATA, legend.nodata, pair[0]).astype(np.uint8)
    write_class_raster(place / "classes.tif", grid, [(grid.window, classes)], legend=legend)
    write_confidence_raster(place / "confidence.tif", grid, [(grid.window, pair[1])])
    return RegionMember(name, place / "classes.tif", place / "confidence.tif", datetime, f"{name}.tif")


def open_scene(member: RegionMember) -> MosaicMember:
    date = member.datetime[:10] if member.datetime else None
    return open_member(member.classes, member.confidence, scene=SceneInfo(member.name, date), datetime=member.datetime)


def locate_by_pixel(target: GeoGrid, source: GeoGrid, window: Window) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the source under the pixel centres of the target, each one projected."""
    rows, cols = np.mgrid[window.row : window.row_stop, window.col : window.col_stop] + 0.5
    x, y = target.to_world(rows, cols)
    if target.crs != source.crs:
        x, y = Transformer.from_crs(target.crs, source.crs, always_xy=True).transform(x, y)
    inverse = ~source.transform
    found_rows, found_cols = inverse.d * x + inverse.e * y + inverse.f, inverse.a * x + inverse.b * y + inverse.c
    return np.floor(found_rows).astype(np.int64), np.floor(found_cols).astype(np.int64)


def mosaic_by_pixel(
    grid: GeoGrid, scenes: list[tuple[GeoGrid, tuple[Uint8, Uint8]]], order: list[int], *, surest: bool = False
) -> tuple[Uint8, Uint8, NDArray[np.int32]]:
    """Classes, confidence and scene of every pixel; `order` says which scene comes first."""
    shape = grid.rows, grid.cols
    classes, confidence = np.full(shape, NODATA, np.uint8), np.zeros(shape, np.uint8)
    members = np.full(shape, -1, np.int32)
    for number in order:
        source, pair = scenes[number]
        rows, cols = locate_by_pixel(grid, source, grid.window)
        there = (rows >= 0) & (rows < source.rows) & (cols >= 0) & (cols < source.cols)
        own = [
            np.where(there, band[rows * there, cols * there], fill)
            for band, fill in zip(pair, (NODATA, 0), strict=True)
        ]
        known = own[0] != NODATA
        wins = known & ((members < 0) | (surest & (own[1] > confidence)))
        classes[wins], confidence[wins], members[wins] = own[0][wins], own[1][wins], number
    return classes, confidence, members
