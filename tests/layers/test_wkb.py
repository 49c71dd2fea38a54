"""Flat geometries and their binary form against shapely's."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import OutputError
from geoseg.layers import wkb
from geoseg.layers.wkb import encode_wkb
from geoseg.ragged import RaggedGeometries, flatten_geometries

NUMBERS = st.floats(-1e6, 1e6)
RINGS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=8)
POLYGONS = st.lists(RINGS, min_size=1, max_size=4).map(lambda rings: shapely.Polygon(rings[0], rings[1:]))
LINES = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=8).map(shapely.LineString)
LAYERS = st.one_of(st.lists(POLYGONS, min_size=1, max_size=6), st.lists(LINES, min_size=1, max_size=6))


@settings(deadline=None)
@given(LAYERS)
def test_equals_shapely(geometries: list[shapely.Geometry]) -> None:
    expected = shapely.to_wkb(geometries, output_dimension=2, byte_order=1, flavor="iso").tolist()
    assert encode_wkb(flatten_geometries(np.array(geometries, object))).to_pylist() == expected


@settings(deadline=None)
@given(LAYERS, st.integers(0, 6), st.integers(0, 6))
def test_slices_and_their_concatenation(geometries: list[shapely.Geometry], one: int, other: int) -> None:
    shapes = np.array(geometries, object)
    first, last = sorted((min(one, len(shapes)), min(other, len(shapes))))
    whole = flatten_geometries(shapes)
    parts = [whole.slice(0, first), whole.slice(first, last), whole.slice(last, len(shapes))]
    for part, expected in zip(parts, np.split(shapes, [first, last]), strict=True):
        assert encode_wkb(part).to_pylist() == shapely.to_wkb(expected).tolist()
    for found, wanted in zip(RaggedGeometries.concatenate(parts), whole, strict=True):
        np.testing.assert_array_equal(found, wanted)


@given(st.lists(LINES, min_size=1, max_size=6))
def test_bounds(lines: list[shapely.LineString]) -> None:
    outer = [shapely.box(*np.add(line.bounds, (-2, -2, 2, 2))) for line in lines]
    inner = [shapely.box(*np.add(line.bounds, (-1, -1, 1, 1))) for line in lines]
    frames = [shapely.Polygon(one.exterior, [other.exterior]) for one, other in zip(outer, inner, strict=True)]
    for shapes in (lines, frames):
        found = flatten_geometries(np.array(shapes, object)).bounds
        np.testing.assert_array_equal(found, shapely.bounds(shapes))


def test_heights_are_left_out() -> None:
    high = np.array([shapely.LineString([(0, 0, 5), (1, 1, 7)])], object)
    assert encode_wkb(flatten_geometries(high)).to_pylist() == [shapely.LineString([(0, 0), (1, 1)]).wkb]


def test_too_much_for_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wkb, "MAX_BYTES", 100)
    box = np.array([shapely.box(0, 0, 1, 1)], object)
    assert len(encode_wkb(flatten_geometries(box))) == 1
    with pytest.raises(OutputError, match="2 geometries of 10 vertices"):
        encode_wkb(flatten_geometries(np.repeat(box, 2)))
