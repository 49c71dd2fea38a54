"""The imagery beneath a layer, as square tiles of the page's plane."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from PIL import Image
from pyproj import CRS
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from geoseg.errors import InputError
from geoseg.raster.opening import open_dataset
from geoseg.raster.reader import GDAL_FAULTS, RasterSource, gdal_environment
from geoseg.raster.source import open_raster
from geoseg.view.projection import WORLD_M, Box, PageProjection, boxes_meet, ground_scale, intersect_boxes

TILE_PX = 512
PAGE_PX = 16_000_000
"""Pixels of the finest level that a page holds; those of the coarser ones come on top, a third as many."""

QUALITY = 80

TileKey = tuple[int, int, int]
"""Level, column from the west, row from the north: level z has 2**z x 2**z tiles."""


@dataclass(frozen=True, slots=True)
class ImageTiles:
    """A raster seen on the page's plane.

    Attributes:
        source: the raster, checked.
        projection: of the page.
        box: what it covers, in page metres.
        finest: level whose pixels are about as large as the raster's.
        overviews: how much coarser than the raster each of its overviews is.
    """

    source: RasterSource
    projection: PageProjection
    box: Box
    finest: int
    overviews: tuple[int, ...] = ()

    def list_tiles(self, level: int, box: Box) -> list[TileKey]:
        """The tiles of a level that show some of the raster inside a box in page metres."""
        if not boxes_meet(box, self.box):
            return []
        side = WORLD_M / 2**level
        west, south, east, north = (v / side for v in intersect_boxes(box, self.box))
        middle = 2**level / 2
        cols = range(math.floor(west + middle), math.floor(east + middle) + 1)
        rows = range(math.floor(middle - north), math.floor(middle - south) + 1)
        last = 2**level - 1
        return [(level, min(col, last), min(row, last)) for row in rows for col in cols]

    def choose_levels(self, box: Box, *, budget_px: int = PAGE_PX) -> range:
        """The levels for a page: from one tile or four to the finest that keeps to a budget of pixels inside a box."""
        counts = {z: len(self.list_tiles(z, box)) for z in range(self.finest + 1)}
        finest = max(z for z, tiles in counts.items() if z == 0 or tiles * TILE_PX**2 <= budget_px)
        coarsest = max(z for z, tiles in counts.items() if z == 0 or (tiles <= 4 and z <= finest))
        return range(coarsest, finest + 1)

    def describe(self, levels: range) -> dict[str, object]:
        """What the page's script needs to ask for tiles."""
        return {"coarsest": levels[0], "finest": levels[-1], "box": self.box}

    def render(self, key: TileKey) -> NDArray[np.uint8]:
        """Pixels of a tile, uint8 (TILE_PX, TILE_PX, 4), 0 to 255, red, green, blue and alpha.

        Raises:
            InputError: the raster cannot be read there.
        """
        level, col, row = key
        side = WORLD_M / 2**level
        pixel = side / TILE_PX
        target = Affine(pixel, 0, -WORLD_M / 2 + col * side, 0, -pixel, WORLD_M / 2 - row * side)
        coarser = Resampling.average if level < self.finest else Resampling.bilinear
        options = {
            "crs": self.projection.crs.to_wkt(),
            "transform": target,
            "width": TILE_PX,
            "height": TILE_PX,
            # Numbers in a colour table have no mean.
            "resampling": Resampling.nearest if self.source.palette else coarser,
            "add_alpha": self.source.alpha_band is None,
        }
        try:
            with (
                gdal_environment(self.source.path),
                open_dataset(self.source.path, **self._choose_overview(level)) as raster,
                WarpedVRT(raster, **options) as warped,
            ):
                values = warped.read(self.source.bands)
                alpha = warped.dataset_mask()
        except GDAL_FAULTS as error:
            raise InputError(
                f"{self.source.path}: pixels cannot be read ({error})",
                expected="a complete raster",
                remedy="check it with gdalinfo -checksum",
            ) from error
        return self._paint(values, alpha)

    def _choose_overview(self, level: int) -> dict[str, int]:
        """The coarsest overview that is finer than a level: warping reads no overview by itself."""
        enough = [i for i, factor in enumerate(self.overviews) if factor <= 2 ** (self.finest - level - 1)]
        return {"overview_level": enough[-1]} if enough else {}

    def _paint(self, values: NDArray[np.generic], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.source.palette:
            table = np.frombuffer(self.source.palette, np.uint8).reshape(-1, 4)
            colors = table[np.minimum(values[0].astype(np.int64), len(table) - 1)]
            return np.dstack([colors[..., :3], np.minimum(colors[..., 3], alpha)])
        if values.dtype.kind == "f":
            alpha = np.where(np.isfinite(values).all(axis=0), alpha, 0).astype(np.uint8)
        colors = np.moveaxis(self.source.scale.to_uint8(values), 0, -1)
        return np.dstack([np.broadcast_to(colors, (*alpha.shape, 3)), alpha])


def open_image(path: str | Path, projection: PageProjection) -> ImageTiles:
    """Check a raster and place it on the page; of more than three bands the first three are shown, of two the first.

    Raises:
        InputError: it cannot be read, is not georeferenced or has no valid pixel.
    """
    try:
        source = open_raster(path)
    except InputError:  # grey ones have one band; what else is wrong is wrong with one band too
        source = open_raster(path, bands=1)
    grid = source.grid
    rows, cols = (np.linspace(0, side, 22) for side in (grid.rows, grid.cols))
    edge_rows = np.concatenate([rows, rows, np.zeros(22), np.full(22, float(grid.rows))])
    edge_cols = np.concatenate([np.zeros(22), np.full(22, float(grid.cols)), cols, cols])
    to_page = projection.transformer_from(CRS.from_wkt(grid.crs))
    x, y = to_page.transform(*grid.to_world(edge_rows, edge_cols))
    half = WORLD_M / 2
    x, y = (np.clip(v[np.isfinite(v)], -half, half) for v in (x, y))
    if not (x.size and y.size):
        raise InputError(f"{path} lies nowhere on the page", expected="a raster with a place on Earth")
    box = float(x.min()), float(y.min()), float(x.max()), float(y.max())
    pixel = grid.ground_resolution_m()[1] / ground_scale((box[1] + box[3]) / 2)
    finest = max(0, math.ceil(math.log2(WORLD_M / (TILE_PX * pixel)) - 0.5))
    with gdal_environment(source.path), open_dataset(source.path) as raster:
        overviews = tuple(raster.overviews(source.bands[0]))
    return ImageTiles(source, projection, box, finest, overviews)


def encode_tile(pixels: NDArray[np.uint8]) -> bytes:
    """A tile as WebP."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=QUALITY, method=2)
    return buffer.getvalue()


def render_pyramid(tiles: ImageTiles, levels: range, box: Box) -> Iterator[tuple[str, str]]:
    """The tiles of a page inside a box, as "level/column/row" and data URL; empty ones are left out.

    Raises:
        InputError: the raster cannot be read.
    """
    held = {key: tiles.render(key) for key in tiles.list_tiles(levels[-1], box)}
    for level in reversed(levels):
        for key, pixels in held.items():
            if pixels[..., 3].any():
                data = b64encode(encode_tile(pixels)).decode("ascii")
                yield "/".join(map(str, key)), f"data:image/webp;base64,{data}"
        if level > levels[0]:
            held = _halve(held)


def _halve(tiles: dict[TileKey, NDArray[np.uint8]]) -> dict[TileKey, NDArray[np.uint8]]:
    """The tiles of the next coarser level; where there is no tile, nothing is seen."""
    halved: dict[TileKey, NDArray[np.uint8]] = {}
    half = TILE_PX // 2
    for (level, col, row), pixels in tiles.items():
        parent = halved.setdefault((level - 1, col // 2, row // 2), np.zeros((TILE_PX, TILE_PX, 4), np.uint8))
        blocks = pixels.reshape(half, 2, half, 2, 4).astype(np.float32)
        alpha = blocks[..., 3:]
        # What is not seen has no part in the mean.
        colors = (blocks[..., :3] * alpha).sum(axis=(1, 3)) / np.maximum(alpha.sum(axis=(1, 3)), 1)
        top, left = row % 2 * half, col % 2 * half
        mean = np.concatenate([colors, alpha.mean(axis=(1, 3))], axis=2)
        parent[top : top + half, left : left + half] = np.rint(mean).astype(np.uint8)
    return halved
