"""The network does not know tiles."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from scipy.ndimage import gaussian_filter

from geoseg.errors import InputError, OptionError
from geoseg.grid import GeoGrid, Window
from geoseg.roads.gaps import BridgeRule, ReadClasses
from geoseg.roads.scale import RoadScale
from geoseg.roads.trace import RoadTile, trace_road_tile
from tests.roads.cities import make_city
from tests.roads.plain import join_plainly
from tests.roads.streets import ROAD, RoadNetwork, burn, cut, join, make_grid, trace


def assert_same(found: RoadNetwork, expected: RoadNetwork) -> None:
    for field in fields(RoadNetwork):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name), field.name)


def make_classes(kind: str, rows: int, cols: int, rng: np.random.Generator) -> np.ndarray:
    if kind == "noise":
        mask = rng.random((rows, cols)) < 0.5
    elif kind == "blobs":
        mask = gaussian_filter(rng.random((rows, cols)), rng.uniform(0.5, 6))
        mask = mask > np.quantile(mask, rng.uniform(0.2, 0.8))
    elif kind == "places":
        mask = gaussian_filter(rng.random((rows, cols)), rng.uniform(4, 14))
        mask = mask > np.quantile(mask, rng.uniform(0.3, 0.7))
    else:
        lines = [shapely.LineString(rng.random((2, 2)) * [cols, rows]) for _ in range(rng.integers(1, 12))]
        shapes = [line.buffer(rng.uniform(0.5, 12), cap_style="flat") for line in lines]
        mask = rasterize([s for s in shapes if not s.is_empty] or [shapely.Point(0, 0)], (rows, cols)).astype(bool)
        mask ^= rng.random(mask.shape) < 0.01
    return (mask * ROAD).astype(np.uint8)


def make_reader(kind: str, grid: GeoGrid, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, ReadClasses]:
    """Classes and confidence (rows, cols) of a raster, and what reads windows of both."""
    classes = make_classes(kind, grid.rows, grid.cols, rng)
    confidence = rng.integers(0, 256, classes.shape).astype(np.uint8)

    def read(window: Window) -> tuple[np.ndarray, np.ndarray]:
        return classes[window.within(grid.window)], confidence[window.within(grid.window)]

    return classes, confidence, read


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["noise", "blobs", "streets"]),
    rows=st.integers(1, 140),
    cols=st.integers(1, 140),
    tile_px=st.tuples(st.integers(12, 90), st.integers(12, 90)),
    pixel_m=st.sampled_from([0.2, 0.5, 1.0, 3.0]),
    squeeze=st.sampled_from([1.0, 0.4, 2.5]),
    width_cells=st.sampled_from([2, 4, 10]),
    batch_points=st.integers(1, 300),
    seed=st.integers(0, 2**16),
)
def test_any_tiling_gives_the_same_network(
    kind, rows, cols, tile_px, pixel_m, squeeze, width_cells, batch_points, seed
) -> None:
    rng = np.random.default_rng(seed)
    base = make_grid(rows, cols, pixel_m)
    grid = GeoGrid(base.crs, base.transform @ Affine.scale(1, squeeze), rows, cols)
    side = max(pixel_m, 0.5)
    scale = RoadScale.of(grid, max_width_m=width_cells * side, fill_m=2 * side)
    classes, confidence, read = make_reader(kind, grid, rng)
    rule = BridgeRule(30.0, 50.0, 0.55, background=[0], read=read)
    whole = trace(classes, grid, scale=scale, confidence=confidence, bridges=rule)
    options = {"scale": scale, "confidence": confidence, "bridges": rule, "batch_points": batch_points}
    assert_same(trace(classes, grid, tile_px=tile_px, **options), whole)
    ids = whole.node_ids(grid)
    assert len(np.unique(ids)) == len(ids)
    assert (np.bincount(whole.ends.ravel(), minlength=len(ids)) > 0).all()
    starts, stops = whole.coords[whole.offsets[:-1]], whole.coords[whole.offsets[1:] - 1]
    np.testing.assert_array_equal(np.stack([starts, stops], axis=1), whole.node_px[whole.ends])
    batch = whole.describe(grid)
    assert (batch.columns["length_m"] > 0).all()
    assert shapely.is_valid(batch.geometries).all()


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(["noise", "blobs", "streets", "places"]),
    rows=st.integers(1, 200),
    cols=st.integers(1, 160),
    tile_px=st.tuples(st.integers(12, 200), st.integers(12, 200)),
    pixel_m=st.sampled_from([0.2, 0.5, 3.0]),
    width_cells=st.sampled_from([2, 4, 10]),
    band_cells=st.sampled_from([1, 2, 5, 16, 64]),
    gap_m=st.sampled_from([0.0, 12.0, 30.0, 80.0]),
    angle_deg=st.sampled_from([30.0, 90.0]),
    seed=st.integers(0, 2**16),
)
def test_bands_give_the_network_of_the_whole(
    kind, rows, cols, tile_px, pixel_m, width_cells, band_cells, gap_m, angle_deg, seed
) -> None:
    rng = np.random.default_rng(seed)
    grid = make_grid(rows, cols, pixel_m)
    side = max(pixel_m, 0.5)
    scale = RoadScale.of(grid, max_width_m=width_cells * side, fill_m=2 * side)
    classes, confidence, read = make_reader(kind, grid, rng)
    rule = BridgeRule(gap_m, angle_deg, 0.55, background=[0], read=read)
    tiles = cut(classes, scale, tile_px, confidence)
    assert_same(join(iter(tiles), scale, bridges=rule, band_cells=band_cells), join_plainly(tiles, scale, rule))


def test_order_of_tiles_threads_and_files_change_nothing(tmp_path: Path) -> None:
    grid = make_grid(1000, 1000)
    classes = burn(make_city(3), grid)
    scale = RoadScale.of(grid)
    tiles = cut(classes, scale, (256, 300))
    expected = trace(classes, grid)
    for i, tile in enumerate(tiles):
        tile.save(tmp_path / f"{i}.safetensors")
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda i: RoadTile.load(tmp_path / f"{i}.safetensors"), reversed(range(len(tiles)))))
    assert_same(join(iter(read), scale), expected)
    assert len(expected) > 20


def test_the_halo_is_enough_but_not_less() -> None:
    grid = make_grid(600, 600)
    scale = RoadScale.of(grid)
    core = Window(200, 200, 100, 100)
    window = core.pad(*scale.halo_px())
    classes = np.zeros(window.shape, np.uint8)
    trace_road_tile(classes, class_id=ROAD, window=window, core=core, scale=scale)
    less = core.pad(scale.halo_px()[0] - 1, scale.halo_px()[1])
    with pytest.raises(OptionError, match="halo"):
        trace_road_tile(np.zeros(less.shape, np.uint8), class_id=ROAD, window=less, core=core, scale=scale)
    with pytest.raises(OptionError, match="pixels"):
        trace_road_tile(classes[1:], class_id=ROAD, window=window, core=core, scale=scale)
    with pytest.raises(OptionError, match="uint8"):
        trace_road_tile(classes.astype(int), class_id=ROAD, window=window, core=core, scale=scale)


def test_bytes_that_are_no_tile_are_refused() -> None:
    with pytest.raises(InputError):
        RoadTile.from_bytes(b"nothing")
    blank = RoadTile.from_bytes(RoadTile.blank().to_bytes())
    assert blank.is_blank


def test_impossible_scales_are_refused() -> None:
    with pytest.raises(OptionError):
        RoadScale.of(make_grid(10, 10), max_width_m=0)
    with pytest.raises(InputError):
        RoadScale.of(GeoGrid(make_grid(1, 1).crs, Affine(1e9, 0, 1e12, 0, -1e9, 1e12), 10, 10))
