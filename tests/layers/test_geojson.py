"""GeoJSON against OGR's RFC 7946 output and against the RFC itself."""

from __future__ import annotations

import io
import json
from itertools import pairwise

import geopandas
import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS

from geoseg.errors import OutputError
from geoseg.layers.columns import Column, Layer, LayerBatch
from geoseg.layers.geojson import RECORD_SEPARATOR, write_geojson, write_geojson_sequence

from .polygons import PROVENANCE, UTM, cut, make_batch, make_roads, to_layer, to_roads

PLACES = {
    "EPSG:32633": (390_000, 5_820_000),
    "EPSG:3857": (-8_000_000, -4_000_000),
    "EPSG:2263": (985_000, 200_000),
    "EPSG:3031": (300_000, -1_200_000),
}


COLUMNS = (
    Column("class", pa.string()),
    Column("class_id", pa.int32()),
    Column("confidence", pa.float64(), 4),
    Column("area_m2", pa.float64(), 3),
)


def to_batch(*geometries: shapely.Geometry) -> LayerBatch:
    n = len(geometries)
    values = (np.array(["a"] * n, dtype=object), np.ones(n, int), np.ones(n), np.ones(n))
    return LayerBatch(np.array(geometries, dtype=object), {c.name: v for c, v in zip(COLUMNS, values, strict=True)})


def to_text(*batches: LayerBatch, crs: str = UTM) -> str:
    kind = batches[0].geometries[0].geom_type
    columns = (
        COLUMNS if len(batches[0].columns) == len(COLUMNS) else (to_layer if kind == "Polygon" else to_roads)().columns
    )
    file = io.BytesIO()
    layer = Layer("layer", kind, columns, batches)
    written = write_geojson(file, layer, crs_wkt=CRS.from_user_input(crs).to_wkt(), provenance=PROVENANCE)
    assert written == sum(map(len, batches))
    return file.getvalue().decode()


def to_features(batch: LayerBatch, crs: str) -> list[dict]:
    text = to_text(batch, crs=crs)
    collection = json.loads(text)
    assert set(collection) == {"type", "name", "geoseg", "features"}
    assert collection["geoseg"] == PROVENANCE
    assert text.count("\n") == 2 + len(collection["features"])
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


@pytest.mark.parametrize("make", [make_batch, make_roads])
@pytest.mark.parametrize("crs", PLACES)
def test_equals_ogr(crs, make, tmp_path):
    batch = make(200, center=PLACES[crs])
    frame = geopandas.GeoDataFrame({"class": batch.columns["class"]}, geometry=batch.geometries, crs=crs)
    frame.to_file(tmp_path / "ogr.geojson", driver="GeoJSON", RFC7946="YES")
    expected = json.loads((tmp_path / "ogr.geojson").read_text())["features"]
    errors = []
    for ours, theirs in zip(to_features(batch, crs), expected, strict=True):
        assert ours["properties"]["class"] == theirs["properties"]["class"]
        assert ours["geometry"]["type"] == theirs["geometry"]["type"]
        lists = [g["geometry"]["coordinates"] for g in (ours, theirs)]
        pairs = zip(*(lists if make is make_batch else [[line] for line in lists]), strict=True)
        for our_ring, their_ring in pairs:
            errors.append(np.abs(np.array(our_ring) - their_ring).ravel())
        if make is make_batch:
            check_rfc7946(ours["geometry"])
    # OGR writes -74.0000005 as -74.0: it takes a 5 after six zeros for noise.
    errors = np.concatenate(errors)
    assert np.quantile(errors, 0.999) <= 1.01e-7
    assert errors.max() < 1e-6


def test_features_stream_over_batches():
    batch = make_batch(6)
    assert to_text(*cut(batch, 1, 2, 3, 4, 5)) == to_text(batch)


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
    batch = to_batch(shapely.Polygon(vertices))
    batch.columns["confidence"][0], batch.columns["area_m2"][0] = confidence, area
    feature = to_features(batch, "EPSG:4326")[0]
    assert feature["properties"]["confidence"] == pytest.approx(confidence, abs=0.51e-4)
    assert feature["properties"]["area_m2"] == pytest.approx(area, abs=0.51e-3, rel=1e-15)
    written = np.array(feature["geometry"]["coordinates"][0])
    for vertex in np.array(vertices):
        assert np.abs(written - vertex).max(axis=1).min() <= 0.51e-7


def test_vertices_that_fall_together_are_written_once():
    tiny = 1e-9
    ring = [(0, 0), (tiny, 0), (1, 0), (1, 1), (1, 1 - tiny), (0, 1), (0, tiny)]
    hole = [(0.5, 0.5), (0.5 + tiny, 0.5), (0.5, 0.5 + tiny)]
    (feature,) = to_features(to_batch(shapely.Polygon(ring, [hole])), "EPSG:4326")
    assert feature["geometry"]["coordinates"] == [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]


def test_unknown_numbers_are_null():
    batch = to_batch(shapely.box(0, 0, 1, 1))
    batch.columns["confidence"][0] = np.nan
    assert to_features(batch, "EPSG:4326")[0]["properties"]["confidence"] is None


def test_antimeridian_in_degrees():
    outer, hole = shapely.box(179, -1, 181, 1), shapely.box(179.5, -0.5, 180.5, 0.5)
    polygon = shapely.Polygon(outer.exterior, [hole.exterior])
    (feature,) = to_features(to_batch(polygon), "EPSG:4326")
    assert feature["geometry"]["type"] == "MultiPolygon"
    expected = shapely.union_all([shapely.box(179, -1, 180, 1), shapely.box(-180, -1, -179, 1)])
    inside = shapely.union_all([shapely.box(179.5, -0.5, 180, 0.5), shapely.box(-180, -0.5, -179.5, 0.5)])
    assert check_rfc7946(feature["geometry"]).equals(expected - inside)


@pytest.mark.parametrize("turn", [-1, 1])
def test_beyond_the_antimeridian_in_degrees(turn):
    (feature,) = to_features(to_batch(shapely.box(10 + 360 * turn, 0, 20 + 360 * turn, 5)), "EPSG:4326")
    assert check_rfc7946(feature["geometry"]).equals(shapely.box(10, 0, 20, 5))


def test_antimeridian_in_a_projection():
    # UTM zone 1 south begins at 180 degrees; this square reaches some kilometres west of it.
    square = shapely.box(170_000, 8_140_000, 190_000, 8_150_000)
    plain = shapely.box(390_000, 8_140_000, 391_000, 8_141_000)
    cut, whole = to_features(to_batch(square, plain), "EPSG:32701")
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
    cap_feature, ring_feature = to_features(to_batch(cap, cap - hole), "EPSG:3031")
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
        to_features(to_batch(far), "EPSG:32633")


def test_lines_across_the_antimeridian():
    degrees = shapely.LineString([(178, 0), (182, 4), (183, 4)])
    for turned in (degrees, shapely.reverse(degrees)):
        (feature,) = to_features(to_batch(turned), "EPSG:4326")
        assert feature["geometry"]["type"] == "MultiLineString"
        found = shapely.geometry.shape(feature["geometry"])
        expected = [[(178, 0), (180, 2)], [(-180, 2), (-178, 4), (-177, 4)]]
        assert found.normalize() == shapely.MultiLineString(expected).normalize()


def test_lines_across_the_antimeridian_in_a_projection():
    batch = to_batch(
        shapely.LineString([(170_000, 8_140_000), (190_000, 8_150_000)]), shapely.LineString([(3e5, 8e6), (4e5, 8e6)])
    )
    cut_line, whole = to_features(batch, "EPSG:32701")
    assert whole["geometry"]["type"] == "LineString"
    west, east = sorted(cut_line["geometry"]["coordinates"], key=lambda line: line[0][0], reverse=True)
    assert west[-1][0] == 180
    assert east[0] == [-180, west[-1][1]]
    assert west[0][0] < 180
    assert -180 < east[-1][0] < -179


def test_lines_keep_two_positions():
    tiny = 1e-9
    lines = [
        [(0, 0), (tiny, 0), (1, 0), (1, tiny)],
        [(0, 0), (0, tiny)],
        [(0, 0), (tiny, 0), (0, tiny)],
        [(0, 0), (1, 1), (0, 0)],
    ]
    found = [f["geometry"]["coordinates"] for f in to_features(to_batch(*map(shapely.LineString, lines)), "EPSG:4326")]
    assert found == [[[0, 0], [1, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [1, 1], [0, 0]]]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.text(), st.none() | st.text(), st.integers(-(2**63) + 1, 2**63 - 1), st.booleans()), min_size=1
    )
)
def test_texts_integers_and_truths_survive(rows):
    columns = (Column("a", pa.string()), Column("b", pa.string()), Column("c", pa.int64()), Column("d", pa.bool_()))
    texts, nullable, integers, truths = zip(*rows, strict=True)
    values = (np.array(texts, object), np.array(nullable, object), np.array(integers), np.array(truths))
    batch = LayerBatch(
        np.array([shapely.LineString([(0, 0), (1, 1)])] * len(rows)), dict(zip("abcd", values, strict=True))
    )
    file = io.BytesIO()
    layer = Layer("layer", "LineString", columns, [batch])
    write_geojson_sequence(file, layer, crs_wkt=CRS.from_epsg(4326).to_wkt(), provenance={}, separator=RECORD_SEPARATOR)
    records = file.getvalue().decode().split("\x1e")[1:]
    assert [tuple(json.loads(record)["properties"].values()) for record in records] == rows


def test_a_sequence_begins_with_its_provenance():
    file = io.BytesIO()
    batch = make_batch(3)
    write_geojson_sequence(file, to_layer(*cut(batch, 1)), crs_wkt=UTM, provenance=PROVENANCE)
    features = [json.loads(line) for line in file.getvalue().decode().split("\n")[:-1]]
    assert features[0].pop("geoseg") == PROVENANCE
    assert features == to_features(batch, UTM)
