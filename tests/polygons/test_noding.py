"""Straight edges get the corners that lie on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.grid import Window
from geoseg.polygons.join import join_tiles
from geoseg.polygons.noding import insert_touching_corners
from geoseg.polygons.rings import PolygonBatch
from geoseg.polygons.trace import trace_tile


def polygonize(classes: np.ndarray, skip: tuple[int, ...] = ()) -> PolygonBatch:
    window = Window(0, 0, *classes.shape)
    trace = trace_tile(classes, None, window=window, grid_shape=classes.shape, skip=skip)
    return PolygonBatch.concatenate(join_tiles([trace])).sort()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10_000))
def test_noded_rings_are_a_valid_coverage_of_the_same_shapes(rows: int, cols: int, seed: int) -> None:
    polygons = polygonize(np.random.default_rng(seed).integers(0, 3, (rows, cols)).astype(np.uint8))
    coords, offsets = insert_touching_corners(polygons.coords, polygons.ring_offsets)
    noded = replace(polygons, coords=coords, ring_offsets=offsets)
    before, after = polygons.geometries(Affine.identity()), noded.geometries(Affine.identity())
    assert shapely.equals(before, after).all()
    assert shapely.coverage_is_valid(after)
    corners = {tuple(corner) for corner in polygons.coords.tolist()}
    assert {tuple(corner) for corner in coords.tolist()} == corners
    steps = np.abs(np.diff(coords, axis=0))
    inner = np.setdiff1d(np.arange(len(steps)), offsets[1:-1] - 1)
    assert (steps[inner].min(axis=1) == 0).all()
