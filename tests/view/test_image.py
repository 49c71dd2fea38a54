"""Imagery on the page's plane."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from pyproj import CRS
from rasterio.enums import Resampling

from geoseg.view.image import TILE_PX, ImageTiles, open_image, render_pyramid
from geoseg.view.page import write_map_page
from geoseg.view.projection import WORLD_M, PageProjection
from tests.conftest import CORNER, MakeRaster

PLAIN = PageProjection()
BLOCK = slice(120, 160), slice(200, 260)


def block_image(bands: int = 3, dtype: type = np.uint8, scale: int = 1) -> np.ndarray:
    """Dark, with one bright block."""
    values = np.full((bands, 300, 400), 40 * scale, dtype)
    values[:, *BLOCK] = 200 * scale
    return values


def page_place(transform: Affine, crs: str, row: float, col: float) -> tuple[float, float]:
    return PLAIN.transformer_from(CRS.from_user_input(crs)).transform(*(transform @ (col, row)))


def pixel_at(tiles: ImageTiles, level: int, x: float, y: float) -> np.ndarray:
    side = WORLD_M / 2**level
    col, row = (x + WORLD_M / 2) / side, (WORLD_M / 2 - y) / side
    pixels = tiles.render((level, int(col), int(row)))
    return pixels[int(row % 1 * TILE_PX), int(col % 1 * TILE_PX)]


ROTATED = CORNER @ Affine.rotation(30)
CASES = [
    ("EPSG:32737", CORNER),
    ("EPSG:32737", ROTATED),
    ("EPSG:3857", Affine(0.5, 0, 4_370_000, 0, -0.5, -670_000)),
    ("EPSG:4326", Affine(5e-6, 0, 39.2, 0, -5e-6, -6.1)),
]


@pytest.mark.parametrize(("crs", "transform"), CASES)
@pytest.mark.parametrize("finer", [0, 1])
def test_pixels_lie_where_they_are_on_earth(make_raster: MakeRaster, crs: str, transform: Affine, finer: int) -> None:
    tiles = open_image(make_raster(block_image(), crs=crs, transform=transform), PLAIN)
    level = tiles.finest - finer
    for row, col, value in [(140, 230, 200), (123, 203, 200), (157, 257, 200), (100, 230, 40), (140, 180, 40)]:
        pixel = pixel_at(tiles, level, *page_place(transform, crs, row, col))
        assert pixel.tolist() == pytest.approx([value] * 3 + [255], abs=2)
    outside = pixel_at(tiles, level, *page_place(transform, crs, -40, 200))
    assert outside[3] == 0


def test_overviews_show_the_same_place(make_raster: MakeRaster) -> None:
    path = make_raster(block_image())
    with rasterio.open(path, "r+") as raster:
        raster.build_overviews([2, 4, 8], Resampling.average)
    tiles = open_image(path, PLAIN)
    for row, col, value in [(140, 230, 200), (100, 230, 40), (140, 180, 40)]:
        for level in range(tiles.finest - 3, tiles.finest):
            pixel = pixel_at(tiles, level, *page_place(CORNER, "EPSG:32737", row, col))
            assert pixel.tolist() == pytest.approx([value] * 3 + [255], abs=2)


def test_coarser_levels_of_a_page_show_what_they_would_if_rendered(make_raster: MakeRaster) -> None:
    tiles = open_image(make_raster(block_image()), PLAIN)
    levels = range(tiles.finest - 2, tiles.finest + 1)
    for key, url in render_pyramid(tiles, levels, tiles.box):
        level, col, row = map(int, key.split("/"))
        seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGBA")).astype(int)
        true = tiles.render((level, col, row)).astype(int)
        inside = (seen[..., 3] == 255) & (true[..., 3] == 255)
        assert np.abs(seen[inside] - true[inside]).mean() < 2
        assert np.mean((seen[..., 3] > 127) != (true[..., 3] > 127)) < 0.02


def test_other_kinds_of_rasters(make_raster: MakeRaster) -> None:
    inside = page_place(CORNER, "EPSG:32737", 140, 230)
    grey = open_image(make_raster(block_image(1), "grey.tif"), PLAIN)
    assert pixel_at(grey, grey.finest, *inside).tolist() == [200, 200, 200, 255]
    deep = open_image(make_raster(block_image(4, np.uint16, 50), "deep.tif"), PLAIN)
    assert pixel_at(deep, deep.finest, *inside).tolist() == [255, 255, 255, 255]
    holed = open_image(make_raster(block_image(), "holed.tif", nodata=200), PLAIN)
    assert pixel_at(holed, holed.finest, *inside)[3] == 0
    classes = (block_image(1) > 100).astype(np.uint8)
    path = make_raster(classes, "classes.tif", photometric="palette")
    with rasterio.open(path, "r+") as raster:
        raster.write_colormap(1, {0: (1, 2, 3, 255), 1: (250, 120, 10, 255)})
    palette = open_image(path, PLAIN)
    assert pixel_at(palette, palette.finest, *inside).tolist() == [250, 120, 10, 255]
    alpha = np.concatenate([block_image(), np.full((1, 300, 400), 255, np.uint8)])
    alpha[3, *BLOCK] = 0
    clear = open_image(make_raster(alpha, "alpha.tif", photometric="rgb", alpha="yes"), PLAIN)
    assert pixel_at(clear, clear.finest, *inside)[3] == 0


def test_a_page_keeps_to_its_budget(make_raster: MakeRaster) -> None:
    tiles = open_image(make_raster(block_image()), PLAIN)
    for budget in (0, 300_000, 2_000_000, 10**9):
        levels = tiles.choose_levels(tiles.box, budget_px=budget)
        assert len(tiles.list_tiles(levels[0], tiles.box)) <= 4
        finest = len(tiles.list_tiles(levels[-1], tiles.box)) * TILE_PX**2
        assert finest <= max(budget, TILE_PX**2 * 4)
    assert levels[-1] == tiles.finest
    keys = [key for key, _ in render_pyramid(tiles, levels, tiles.box)]
    assert len(keys) == len(set(keys))


def test_tiles_of_a_page_cover_the_layer(make_raster: MakeRaster, layer_path: Path) -> None:
    image = make_raster(block_image())
    text = write_map_page(layer_path, layer_path.with_suffix(".html"), image=image).path.read_text()
    found = re.search(r'<script type="application/json" id="tiles">(.*?)</script>', text)
    assert found
    tiles = json.loads(found[1])
    for key, url in tiles.items():
        kind, data = url.split(",")
        assert kind == "data:image/webp;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (TILE_PX, TILE_PX)
        assert re.fullmatch(r"\d+/\d+/\d+", key)
    assert tiles


def test_a_raster_across_the_antimeridian_is_whole(make_raster: MakeRaster) -> None:
    turned = PageProjection(180.0)
    transform = Affine(0.5, 0, 180_000, 0, -0.5, 8_120_000)  # UTM 1 South; 180 degrees is near x = 180 km
    tiles = open_image(make_raster(block_image(), crs="EPSG:32701", transform=transform), turned)
    assert tiles.box[2] - tiles.box[0] < 1000
    x, y = turned.transformer_from(CRS.from_epsg(32701)).transform(*(transform @ (230, 140)))
    assert pixel_at(tiles, tiles.finest, x, y).tolist() == pytest.approx([200, 200, 200, 255], abs=2)
