"""Tiled tracing gives what GDAL gives for the whole raster."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from .tracing import (
    Raster,
    check_exact,
    draw_comb,
    draw_frames,
    draw_spiral,
    parse,
    polygonize,
    rasters,
    tile_sizes,
)

TILES = [(1, 1), (1, 5), (4, 1), (2, 3), (3, 3), (5, 4), (8, 8), (100, 100)]
SKIPS = [(), (0,), (255,), (0, 255)]

row, col = np.mgrid[:17, :19]
NAMED = {
    "one pixel": np.zeros((1, 1), np.uint8),
    "one class": np.full((9, 10), 3, np.uint8),
    "nothing but nodata": np.full((6, 7), 255, np.uint8),
    "spiral": draw_spiral(21),
    "comb down": draw_comb(16, 15),
    "comb up": draw_comb(16, 15)[::-1].copy(),
    "comb right": draw_comb(13, 16).T.copy(),
    "checkerboard": ((row + col) % 2).astype(np.uint8),
    "checkerboard of three": ((row + col) % 3).astype(np.uint8),
    "diagonals": ((row - col) % 4).astype(np.uint8),
    "checkerboard in a frame": np.pad(((row + col) % 2).astype(np.uint8), 1, constant_values=1),
    "single row": np.array([[0, 0, 1, 255, 1, 1, 2, 0]], np.uint8),
    "single column": np.array([[0, 0, 1, 255, 1, 1, 2, 0]], np.uint8).T.copy(),
    "nested islands": draw_frames(19),
    "hole touches outer ring": parse("1111 1011 1101 1111"),
    "hole touches outer ring at the raster's border": parse("111 101 110"),
    "hole touches hole": parse("11111 10111 11011 11111 11111"),
    "chain of holes to the outside": parse("011111 101111 110111 111011 111101 111111"),
    "holes around a pixel": parse("1111111 1101111 1010111 1101111 1111111"),
    "two components touch at a point": parse("1100 1100 0011 0011"),
    "components that touch and are joined elsewhere": parse("110000 110000 001100 001100 000111 111101 100001 111111"),
    "pinch with two joined classes": parse("111222 111222 222111 222111 211112 222222"),
    "hole on a seam": parse("11111111 11100111 11100111 11111111"),
    "hole along a seam": parse("11111111 10000001 11111111 11111111"),
    "hole of one pixel at a tile's corner": parse("11111 11111 11011 11111 11111"),
    "around another over four tiles": np.pad(np.full((4, 4), 2, np.uint8), 3, constant_values=1),
    "outer ring closes much later": parse(
        "1111111111 1000000001 1022222201 1020000201 1020110201 1020000201 1022222201"
    )
    .repeat(2, axis=0)
    .copy(),
    "cup around many": np.pad(np.tile(parse("00 02"), (6, 4)), 1, constant_values=1),
    "straight seam of two classes": np.repeat(parse("1122"), 8, axis=0).repeat(2, axis=1),
    "nodata at tile borders": np.where((row % 4 == 0) | (col % 4 == 0), 255, 1).astype(np.uint8),
}


@pytest.mark.parametrize("name", NAMED)
def test_hard_rasters_are_exact(name: str) -> None:
    for tile, skip in product(TILES, SKIPS):
        check_exact(NAMED[name], tile, skip=skip)


@settings(max_examples=120, deadline=None)
@given(rasters(), tile_sizes(), st.sampled_from(SKIPS))
def test_any_raster_in_any_tiles_is_exact(classes: Raster, tile: tuple[int, int], skip: tuple[int, ...]) -> None:
    check_exact(classes, tile, skip=skip)


@settings(max_examples=30, deadline=None)
@given(rasters(200), st.tuples(st.integers(7, 220), st.integers(7, 220)), st.sampled_from(SKIPS))
def test_larger_rasters_are_exact(classes: Raster, tile: tuple[int, int], skip: tuple[int, ...]) -> None:
    check_exact(classes, tile, skip=skip)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 3**16 - 1), st.sampled_from([(1, 1), (2, 2), (3, 2), (1, 4), (4, 4)]))
def test_every_pattern_of_three_classes_is_equally_likely(number: int, tile: tuple[int, int]) -> None:
    digits = [number // 3**k % 3 for k in range(16)]
    check_exact(np.array(digits, np.uint8).reshape(4, 4), tile)


def test_every_pattern_of_two_classes_on_three_by_three_pixels_is_exact() -> None:
    # All patterns side by side, parted by nodata, are one raster.
    patterns = (np.arange(512)[:, None] >> np.arange(9)) & 1
    blocks = np.pad(patterns.reshape(16, 32, 3, 3), ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=255)
    sheet = blocks.transpose(0, 2, 1, 3).reshape(64, 128).astype(np.uint8)
    for tile in [(64, 128), (5, 7), (2, 2), (3, 64)]:
        check_exact(sheet, tile, skip=(255,))


def test_class_zero_is_data_unless_skipped() -> None:
    classes = parse("00 01")
    assert list(polygonize(classes, (1, 1)).class_id) == [0, 1]
    assert list(polygonize(classes, (1, 1), skip=(0,)).class_id) == [1]


def test_the_transform_is_applied_to_pixel_corners() -> None:
    batch = polygonize(parse("001 001"), (1, 2), skip=(0,))
    (polygon,) = batch.geometries(Affine(0.5, 0.1, 100, 0.2, -0.5, 200))
    corners = [(0, 2), (0, 3), (2, 3), (2, 2), (0, 2)]
    expected = [(0.5 * c + 0.1 * r + 100, 0.2 * c - 0.5 * r + 200) for r, c in corners]
    np.testing.assert_allclose(np.array(polygon.exterior.coords), expected)
