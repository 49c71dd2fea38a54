"""GeoJSON against OGR's RFC 7946 output and against the RFC itself."""

from __future__ import annotations

import io
import json
from itertools import pairwise

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS

from geoseg.errors import OutputError
from geoseg.layers.geojson import write_geojson
from geoseg.layers.write import LayerColumns

from .polygons import UTM, make_columns

PLACES = {
    "EPSG:32633": (390_000, 5_820_000),
    "EPSG:3857": (-8_000_000, -4_000_000),
    "EPSG:2263": (985_000, 200_000),
    "EPSG:3031": (300_000, -1_200_000),
}


def to_columns(*polygons: shapely.Polygon) -> LayerColumns:
    n = len(polygons)
    return LayerColumns(
        np.array(polygons, dtype=object), np.array(["a"] * n, dtype=object), np.ones(n, int), *np.ones((3, n))
    )


def to_features(columns: LayerColumns, crs: str) -> list[dict]:
    file = io.BytesIO()
    write_geojson(file, [columns], crs_wkt=CRS.from_user_input(crs).to_wkt(), name="polygons")
    text = file.getvalue().decode()
    collection = json.loads(text)
    assert set(collection) == {"type", "name", "features"}
    assert len(text.splitlines()) == 2 + len(collection["features"])
    return collection["features"]


def check_rfc7946(geometry: dict) -> shapely.Geometry:
    parts = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    for part in parts:
        for i, ring in enumerate(part):
            assert len(ring) >= 4
            assert ring[0] == ring[-1]
            assert all(a != b for a, b in pairwise(ring))
            assert shapely.is_ccw(shapely.LinearRing(ring)) == (i == 0)
            assert (np.abs(np.array(ring)) <= [180, 90]).all()
    shape = shapely.geometry.shape(geometry)
    assert shape.is_valid
    return shape


@pytest.mark.parametrize("crs", PLACES)
def test_equals_ogr(crs, tmp_path):
    columns = make_columns(200, center=PLACES[crs])
    frame = geopandas.GeoDataFrame({"class": columns.class_name}, geometry=columns.geometries, crs=crs)
    frame.to_file(tmp_path / "ogr.geojson", driver="GeoJSON", RFC7946="YES")
    expected = json.loads((tmp_path / "ogr.geojson").read_text())["features"]
    errors = []
    for ours, theirs in zip(to_features(columns, crs), expected, strict=True):
        assert ours["properties"]["class"] == theirs["properties"]["class"]
        assert ours["geometry"]["type"] == theirs["geometry"]["type"]
        pairs = zip(ours["geometry"]["coordinates"], theirs["geometry"]["coordinates"], strict=True)
        for our_ring, their_ring in pairs:
            errors.append(np.abs(np.array(our_ring) - their_ring).ravel())
        check_rfc7946(ours["geometry"])
    # OGR writes -74.0000005 as -74.0: it takes a 5 after six zeros for noise.
    errors = np.concatenate(errors)
    assert np.quantile(errors, 0.999) <= 1.01e-7
    assert errors.max() < 1e-6


def test_features_stream_over_batches():
    columns = make_columns(6)
    one, several = io.BytesIO(), io.BytesIO()
    write_geojson(one, [columns], crs_wkt=UTM, name="polygons")
    pieces = (LayerColumns(*(getattr(columns, name)[i : i + 1] for name in LayerColumns.__slots__)) for i in range(6))
    write_geojson(several, pieces, crs_wkt=UTM, name="polygons")
    assert one.getvalue() == several.getvalue()


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-180, 180, allow_subnormal=False), st.floats(-90, 90, allow_subnormal=False)),
        min_size=3,
        max_size=8,
    ),
    st.floats(0, 1),
    st.floats(0, 1e13),
)
def test_numbers_survive(vertices, confidence, area):
    columns = to_columns(shapely.Polygon(vertices))
    columns.confidence[0], columns.area_m2[0] = confidence, area
    feature = to_features(columns, "EPSG:4326")[0]
    assert feature["properties"]["confidence"] == pytest.approx(confidence, abs=0.51e-4)
    assert feature["properties"]["area_m2"] == pytest.approx(area, abs=0.51e-3, rel=1e-15)
    written = np.array(feature["geometry"]["coordinates"][0])
    for vertex in np.array(vertices):
        assert np.abs(written - vertex).max(axis=1).min() <= 0.51e-7


def test_vertices_that_fall_together_are_written_once():
    tiny = 1e-9
    ring = [(0, 0), (tiny, 0), (1, 0), (1, 1), (1, 1 - tiny), (0, 1), (0, tiny)]
    hole = [(0.5, 0.5), (0.5 + tiny, 0.5), (0.5, 0.5 + tiny)]
    (feature,) = to_features(to_columns(shapely.Polygon(ring, [hole])), "EPSG:4326")
    assert feature["geometry"]["coordinates"] == [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]


def test_unknown_numbers_are_null():
    columns = to_columns(shapely.box(0, 0, 1, 1))
    columns.confidence[0] = np.nan
    assert to_features(columns, "EPSG:4326")[0]["properties"]["confidence"] is None


def test_antimeridian_in_degrees():
    outer, hole = shapely.box(179, -1, 181, 1), shapely.box(179.5, -0.5, 180.5, 0.5)
    polygon = shapely.Polygon(outer.exterior, [hole.exterior])
    (feature,) = to_features(to_columns(polygon), "EPSG:4326")
    assert feature["geometry"]["type"] == "MultiPolygon"
    expected = shapely.union_all([shapely.box(179, -1, 180, 1), shapely.box(-180, -1, -179, 1)])
    inside = shapely.union_all([shapely.box(179.5, -0.5, 180, 0.5), shapely.box(-180, -0.5, -179.5, 0.5)])
    assert check_rfc7946(feature["geometry"]).equals(expected - inside)


@pytest.mark.parametrize("turn", [-1, 1])
def test_beyond_the_antimeridian_in_degrees(turn):
    (feature,) = to_features(to_columns(shapely.box(10 + 360 * turn, 0, 20 + 360 * turn, 5)), "EPSG:4326")
    assert check_rfc7946(feature["geometry"]).equals(shapely.box(10, 0, 20, 5))


def test_antimeridian_in_a_projection():
    # UTM zone 1 south begins at 180 degrees; this square reaches some kilometres west of it.
    square = shapely.box(170_000, 8_140_000, 190_000, 8_150_000)
    plain = shapely.box(390_000, 8_140_000, 391_000, 8_141_000)
    cut, whole = to_features(to_columns(square, plain), "EPSG:32701")
    assert cut["geometry"]["type"] == "MultiPolygon"
    assert whole["geometry"]["type"] == "Polygon"
    shape = check_rfc7946(cut["geometry"])
    west, east = (shapely.box(a, -90, b, 90) for a, b in ((179, 180), (-180, -179)))
    assert len(shape.geoms) == 2
    assert sum(shape.intersection(side).area for side in (west, east)) == pytest.approx(shape.area)
    ogr = geopandas.GeoSeries([square], crs="EPSG:32701").to_crs(4326)
    unwrapped = shapely.transform(ogr[0], lambda c: np.stack([c[:, 0] % 360, c[:, 1]], axis=1))
    assert shape.area == pytest.approx(unwrapped.area, rel=1e-6)


def test_round_a_pole():
    cap = shapely.Point(0, 0).buffer(500_000, quad_segs=90)
    hole = shapely.Point(0, 0).buffer(100_000, quad_segs=90)
    cap_feature, ring_feature = to_features(to_columns(cap, cap - hole), "EPSG:3031")
    cap_shape, ring_shape = check_rfc7946(cap_feature["geometry"]), check_rfc7946(ring_feature["geometry"])
    assert cap_shape.bounds[0::2] == (-180, 180)
    assert cap_shape.bounds[1] == -90
    assert cap_shape.contains(shapely.Point(45, -89.9))
    assert not ring_shape.contains(shapely.Point(45, -89.9))
    assert ring_shape.contains(shapely.Point(45, -87))
    assert not cap_shape.contains(shapely.Point(45, -80))


def test_no_longitude():
    far = shapely.box(1e12, 1e12, 2e12, 2e12)
    with pytest.raises(OutputError, match="CRS"):
        to_features(to_columns(far), "EPSG:32633")
