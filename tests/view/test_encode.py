"""Features as numbers, and back."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

from geoseg.view.encode import FINE_M, encode_features
from geoseg.view.projection import PageProjection
from tests.view.conftest import decode_group, make_frame, make_roads

PLAIN = PageProjection()


def encode(frame: geopandas.GeoDataFrame, **options: Any) -> list[dict[str, Any]]:
    groups = encode_features(frame, np.zeros(len(frame), np.int64), PLAIN, **options)
    json.dumps(groups, allow_nan=False)
    return groups


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_polygons_come_back_to_the_centimetre(data: st.DataObject) -> None:
    number = st.integers(0, 400)
    cells = data.draw(
        st.lists(st.tuples(number, number, st.integers(2, 60), st.integers(2, 60)), min_size=1, max_size=8)
    )
    boxes = [shapely.box(x, y, x + w, y + h) for x, y, w, h in cells]
    merged = shapely.union_all(boxes[: len(boxes) // 2 + 1])
    holed = shapely.difference(merged, shapely.buffer(boxes[-1].centroid, 0.7))
    shapes = [s for s in (holed, *boxes) if s.geom_type in ("Polygon", "MultiPolygon") and not s.is_empty]
    flipped = [shapely.reverse(s) for s in shapes]
    frame = geopandas.GeoDataFrame(geometry=flipped, crs="EPSG:3857")
    (group,) = encode(frame)
    assert group["count"] == len(shapes) == len(group["rings"])
    for mine, true in zip(decode_group(group), shapes, strict=True):
        assert shapely.hausdorff_distance(mine, true) <= FINE_M
        assert mine.symmetric_difference(true).area <= FINE_M * true.length


def test_lines_come_back_and_other_geometries_stay_out() -> None:
    roads = make_roads().to_crs("EPSG:3857")
    mixed = [*roads.geometry, shapely.Point(0, 0), None, shapely.Polygon(), shapely.box(0, 0, 5, 5)]
    polygons, lines = encode(geopandas.GeoDataFrame({"n": range(6)}, geometry=mixed, crs="EPSG:3857"))
    assert (polygons["kind"], lines["kind"]) == ("polygon", "line")
    assert (polygons["columns"]["n"], lines["columns"]["n"]) == ([5], [0, 1])
    for mine, true in zip(decode_group(lines), roads.geometry, strict=True):
        assert shapely.hausdorff_distance(mine, true) <= FINE_M


@pytest.mark.parametrize("lat", [0.0, 45.0, 70.0])
def test_areas_and_lengths_without_a_column_are_ground_measures(lat: float) -> None:
    square, line = shapely.box(10, lat, 10.002, lat + 0.001), shapely.LineString([(10, lat), (10.001, lat + 0.0005)])
    groups = encode(geopandas.GeoDataFrame(geometry=[square, line], crs="EPSG:4326"))
    geod = Geod(ellps="WGS84")
    assert groups[0]["measure"][0] == pytest.approx(abs(geod.geometry_area_perimeter(square)[0]), rel=1e-4)
    assert groups[1]["measure"][0] == pytest.approx(geod.geometry_length(line), rel=1e-6)


def test_a_coarse_step_leaves_vertices_out_and_no_feature() -> None:
    frame = make_frame(200).to_crs("EPSG:3857")
    fine, coarse = encode(frame)[0], encode(frame, step_m=30.0)[0]
    assert coarse["count"] == fine["count"]
    assert min(coarse["sizes"]) >= 1
    assert len(coarse["xy"]) < len(fine["xy"])


def test_values_that_json_lacks() -> None:
    table = {
        "none": [None, "x"],
        "nan": [np.nan, 0.5],
        "big": [2**60 + 1, 3],
        "when": [datetime(2024, 5, 6), None],
        "yes": [True, False],
    }
    frame = geopandas.GeoDataFrame(table, geometry=[shapely.box(0, 0, 1, 1)] * 2, crs="EPSG:3857")
    (group,) = encode(frame)
    columns = group["columns"]
    assert columns["none"] == [None, "x"]
    assert columns["nan"] == [None, 0.5]
    assert columns["big"] == [str(2**60 + 1), 3]
    assert columns["when"][0].startswith("2024-05-06")
    assert columns["when"][1] is None
    assert columns["yes"] == [True, False]


def test_what_lies_beyond_the_plane_is_left_out() -> None:
    shapes = [shapely.box(0, 0, 1, 1), shapely.Polygon([(0, 89), (10, 90), (10, 91), (0, 89)])]
    (group,) = encode(geopandas.GeoDataFrame({"n": [0, 1]}, geometry=shapes, crs="EPSG:4326"))
    assert group["columns"]["n"] == [0]
