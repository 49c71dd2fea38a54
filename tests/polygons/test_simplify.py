"""Simplified neighbours share their boundary still."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geoseg.grid import Window
from geoseg.polygons.join import join_tiles
from geoseg.polygons.rings import PolygonBatch
from geoseg.polygons.simplify import insert_touching_corners, simplify_coverage
from geoseg.polygons.trace import trace_tile


def polygonize(classes: np.ndarray, skip: tuple[int, ...] = ()) -> PolygonBatch:
    window = Window(0, 0, *classes.shape)
    trace = trace_tile(classes, None, window=window, grid_shape=classes.shape, skip=skip)
    return PolygonBatch.concatenate(join_tiles([trace])).sort()


def make_blobs(seed: int, size_px: int = 120) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((size_px, size_px)), 3)
    return np.digitize(noise, np.quantile(noise, [0.3, 0.5, 0.8])).astype(np.uint8)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), tolerance_m=st.floats(0.5, 5), skip=st.sampled_from([(), (0,), (1, 2)]))
def test_neighbours_keep_their_common_boundary(seed: int, tolerance_m: float, skip: tuple[int, ...]) -> None:
    polygons = polygonize(make_blobs(seed), skip)
    simple = simplify_coverage(polygons, tolerance_m=tolerance_m, pixel_m=(0.5, 0.4))
    shapes = simple.geometries(Affine.identity())
    assert len(shapes) == len(polygons)
    assert shapely.is_valid(shapes).all()
    assert (shapely.area(shapes) > 0).all()
    assert shapely.coverage_is_valid(shapes)
    assert len(simple.coords) < len(polygons.coords)
    if not skip:
        union = shapely.union_all(shapes)
        assert shapely.area(shapes).sum() == pytest.approx(union.area)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10_000))
def test_noded_rings_are_a_valid_coverage_of_the_same_shapes(rows: int, cols: int, seed: int) -> None:
    polygons = polygonize(np.random.default_rng(seed).integers(0, 3, (rows, cols)).astype(np.uint8))
    coords, offsets = insert_touching_corners(polygons.coords, polygons.ring_offsets)
    noded = PolygonBatch(
        polygons.class_id, polygons.pixels, polygons.confidence_sum, coords, offsets, polygons.polygon_offsets
    )
    before, after = polygons.geometries(Affine.identity()), noded.geometries(Affine.identity())
    assert shapely.equals(before, after).all()
    assert shapely.coverage_is_valid(after)
    corners = {tuple(corner) for corner in polygons.coords.tolist()}
    assert {tuple(corner) for corner in coords.tolist()} == corners
    steps = np.abs(np.diff(coords, axis=0))
    inner = np.setdiff1d(np.arange(len(steps)), offsets[1:-1] - 1)
    assert (steps[inner].min(axis=1) == 0).all()


def test_no_polygons() -> None:
    assert len(simplify_coverage(PolygonBatch.empty(), tolerance_m=1, pixel_m=(1, 1))) == 0
