"""What each format holds beside the features: styles, provenance, indexes, metadata."""

from __future__ import annotations

import gzip
import json
import sqlite3
from pathlib import Path
from xml.etree import ElementTree

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from pmtiles.reader import MmapSource, Reader, all_tiles
from pyproj import CRS

from geoseg.errors import OptionError
from geoseg.layers import parquet as parquet_module
from geoseg.layers import pmtiles as pmtiles_module
from geoseg.layers.pmtiles import EQUATOR_M, EXTENT, check_pmtiles, choose_zooms
from geoseg.layers.provenance import describe_provenance, encode_provenance
from geoseg.layers.read import open_layer
from geoseg.layers.style import make_qml
from geoseg.legend import ClassLegend

from .polygons import LEGEND, NAMES, PROVENANCE, UTM, make_batch, make_roads, to_layer, to_roads, write


def read_categories(qml: str) -> dict[str, list[tuple[str, dict[str, str]]]]:
    """Class name to its symbol layers: kind and options."""
    root = ElementTree.fromstring(qml)
    renderer = root.find("renderer-v2")
    assert renderer.attrib["attr"] == "class"
    symbols = {
        symbol.attrib["name"]: [
            (layer.attrib["class"], {o.attrib["name"]: o.attrib["value"] for o in layer.findall("Option/Option")})
            for layer in symbol.findall("layer")
        ]
        for symbol in renderer.iter("symbol")
    }
    return {c.attrib["value"]: symbols[c.attrib["symbol"]] for c in renderer.iter("category")}


def test_style_of_polygons():
    categories = read_categories(make_qml(LEGEND, "Polygon"))
    assert list(categories) == [*NAMES, ""]
    for kind in LEGEND.classes[1:]:
        ((fill, options),) = categories[kind.name]
        assert fill == "SimpleFill"
        assert options["color"].split(",")[:3] == [str(channel) for channel in kind.color]


def test_style_of_lines():
    categories = read_categories(make_qml(LEGEND, "LineString"))
    for kind in LEGEND.classes[1:]:
        (casing, below), (line, above) = categories[kind.name]
        assert casing == line == "SimpleLine"
        assert above["line_color"] == ",".join(map(str, (*kind.color, 255)))
        assert float(below["line_width"]) > float(above["line_width"])


def test_style_of_a_legend_without_names():
    assert list(read_categories(make_qml(ClassLegend.unnamed(), "Polygon"))) == [""]


@pytest.mark.parametrize("suffix", [".geojson", ".geojson.gz", ".geojsonl", ".geojsonseq", ".fgb", ".parquet"])
def test_style_beside_the_file(tmp_path, suffix):
    write(tmp_path / f"map{suffix}", to_layer(make_batch(3)), to_roads(make_roads(2)))
    assert (tmp_path / "map.qml").read_text("utf-8") == make_qml(LEGEND, "Polygon")
    assert (tmp_path / "map_roads.qml").read_text("utf-8") == make_qml(LEGEND, "LineString")
    (tmp_path / "map.qml").write_text("mine")
    (tmp_path / f"map{suffix}").unlink()
    (tmp_path / f"map_roads{suffix}").unlink()
    for _ in range(2):
        write(tmp_path / f"map{suffix}", to_layer(make_batch(3)), overwrite=True)
        assert (tmp_path / "map.qml").read_text() == "mine"
    (tmp_path / "map.qml").write_text(make_qml(ClassLegend.unnamed(), "Polygon"))
    write(tmp_path / f"map{suffix}", to_layer(make_batch(3)), overwrite=True)
    assert (tmp_path / "map.qml").read_text("utf-8") == make_qml(LEGEND, "Polygon")


def test_provenance_does_not_depend_on_its_order():
    turned = dict(reversed(PROVENANCE.items()))
    assert encode_provenance(turned) == encode_provenance(PROVENANCE)
    assert describe_provenance(turned) == describe_provenance(PROVENANCE)
    assert json.loads(encode_provenance(PROVENANCE)) == PROVENANCE


def read_provenance(path: Path) -> str:
    suffix = "".join(path.suffixes)
    if suffix == ".gpkg":
        with sqlite3.connect(path) as connection:
            return connection.execute("SELECT metadata FROM gpkg_metadata").fetchone()[0]
    if suffix == ".fgb":
        return pyogrio.read_info(path)["layer_metadata"]["geoseg"]
    if suffix == ".parquet":
        return pq.read_metadata(path).metadata[b"geoseg"].decode()
    if suffix == ".pmtiles":
        with path.open("rb") as file:
            return Reader(MmapSource(file)).metadata()["description"]
    text = (gzip.decompress if suffix == ".geojson.gz" else bytes)(path.read_bytes()).decode()
    record = json.loads(text.strip("\x1e").split("\n")[0] if suffix in (".geojsonl", ".geojsonseq") else text)
    return json.dumps(record["geoseg"])


SUFFIXES = (".gpkg", ".geojson", ".geojson.gz", ".geojsonl", ".geojsonseq", ".fgb", ".parquet", ".pmtiles")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_carries_the_provenance(tmp_path, suffix):
    for written in write(tmp_path / f"map{suffix}", to_layer(make_batch(3)), to_roads(make_roads(2))):
        assert json.loads(read_provenance(written.path)) == PROVENANCE


@pytest.fixture
def geopackage(tmp_path):
    write(tmp_path / "a.gpkg", to_layer(make_batch(100)), to_roads(make_roads(50)))
    with sqlite3.connect(tmp_path / "a.gpkg") as connection:
        yield connection


def test_geopackage_is_sound(geopackage):
    assert geopackage.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert geopackage.execute("PRAGMA foreign_key_check").fetchall() == []
    contents = geopackage.execute("SELECT table_name, data_type, srs_id, last_change FROM gpkg_contents").fetchall()
    epoch = "1970-01-01T00:00:00.000Z"
    assert contents == [
        ("polygons", "features", 32633, epoch),
        ("roads", "features", 32633, epoch),
        ("layer_styles", "attributes", 0, epoch),
    ]


@pytest.mark.parametrize(("table", "rows"), [("polygons", 100), ("roads", 50)])
def test_geopackage_index(geopackage, table, rows):
    assert geopackage.execute(f"SELECT count(*) FROM rtree_{table}_geom").fetchone() == (rows,)
    triggers = {name for (name,) in geopackage.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")}
    assert {f"rtree_{table}_geom_insert", f"rtree_{table}_geom_delete"} <= triggers
    extension = ("gpkg_rtree_index",)
    query = "SELECT extension_name FROM gpkg_extensions WHERE table_name = ?"
    assert geopackage.execute(query, (table,)).fetchall() == [extension]


def test_geopackage_metadata(geopackage):
    assert geopackage.execute("SELECT md_scope, mime_type FROM gpkg_metadata").fetchall() == [
        ("dataset", "application/json")
    ]
    references = geopackage.execute("SELECT reference_scope, table_name, md_file_id FROM gpkg_metadata_reference")
    assert references.fetchall() == [("table", "polygons", 1), ("table", "roads", 1)]


def test_geopackage_styles(geopackage):
    rows = geopackage.execute(
        "SELECT f_table_catalog, f_table_schema, f_table_name, f_geometry_column, useAsDefault, styleQML "
        "FROM layer_styles"
    ).fetchall()
    assert [row[:5] for row in rows] == [("", "", "polygons", "geom", 1), ("", "", "roads", "geom", 1)]
    assert [row[5] for row in rows] == [make_qml(LEGEND, "Polygon"), make_qml(LEGEND, "LineString")]


def test_geopackage_can_be_edited(tmp_path, geopackage):
    frame = open_layer(tmp_path / "a.gpkg")
    pyogrio.write_dataframe(frame[:5], tmp_path / "a.gpkg", layer="polygons", append=True)
    assert len(open_layer(tmp_path / "a.gpkg")) == 105
    assert geopackage.execute("SELECT count(*) FROM rtree_polygons_geom").fetchone() == (105,)


def test_flatgeobuf_metadata(tmp_path):
    write(tmp_path / "a.fgb", to_layer(make_batch(3)))
    assert pyogrio.read_info(tmp_path / "a.fgb")["layer_metadata"]["DESCRIPTION"] == describe_provenance(PROVENANCE)


@pytest.mark.parametrize("kind", ["Polygon", "LineString"])
def test_geoparquet_metadata(tmp_path, kind):
    batch = make_batch(100) if kind == "Polygon" else make_roads(100)
    write(tmp_path / "a.parquet", (to_layer if kind == "Polygon" else to_roads)(batch))
    geo = json.loads(pq.read_metadata(tmp_path / "a.parquet").metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    geometry = geo["columns"][geo["primary_column"]]
    assert geometry["encoding"] == "WKB"
    assert geometry["geometry_types"] == [kind]
    assert CRS.from_json_dict(geometry["crs"]) == CRS.from_wkt(UTM)
    np.testing.assert_array_equal(geometry["bbox"], shapely.total_bounds(batch.geometries))
    assert geometry["covering"] == {"bbox": {s: ["bbox", s] for s in ("xmin", "ymin", "xmax", "ymax")}}


def test_geoparquet_row_groups_are_compact(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_module, "WINDOW_ROWS", 4096)
    monkeypatch.setattr(parquet_module, "GROUP_ROWS", 256)
    batch = make_batch(4096)
    row, col = np.divmod(np.arange(4096), 64)
    batch.geometries[:] = shapely.box(col, -row - 1, col + 1, -row)
    write(tmp_path / "a.parquet", to_layer(batch))
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert file.num_row_groups == 16
    for i in range(16):
        box = np.array([list(value.values()) for value in file.read_row_group(i, columns=["bbox"])["bbox"].to_pylist()])
        assert np.prod(np.ptp(box[:, :2], axis=0) + 1) == 256  # squares of 16 x 16, not strips of 4 x 64
    assert sorted(open_layer(tmp_path / "a.parquet")["id"]) == sorted(batch.columns["id"])


def test_sequences(tmp_path):
    batch = make_batch(5)
    for suffix, separator in ((".geojsonl", ""), (".geojsonseq", "\x1e"), (".geojsons", "\x1e")):
        write(tmp_path / f"a{suffix}", to_layer(batch))
        lines = (tmp_path / f"a{suffix}").read_text("utf-8").split("\n")
        assert lines.pop() == ""
        assert len(lines) == 5
        for i, line in enumerate(lines):
            assert line[: len(separator)] == separator
            feature = json.loads(line[len(separator) :])
            assert set(feature) == {"type", "properties", "geometry"} | ({"geoseg"} if i == 0 else set())
        assert pyogrio.read_info(tmp_path / f"a{suffix}")["driver"] == "GeoJSONSeq"


def test_compressed_geojson_is_geojson(tmp_path):
    batch = make_batch(50)
    write(tmp_path / "a.geojson", to_layer(batch))
    write(tmp_path / "b.geojson.gz", to_layer(batch))
    assert gzip.decompress((tmp_path / "b.geojson.gz").read_bytes()) == (tmp_path / "a.geojson").read_bytes()


def test_zooms_follow_the_resolution():
    for pixel_m in (0.1, 0.5, 1.0, 10.0, 30.0):
        low, high = choose_zooms(pixel_m)
        assert EQUATOR_M / 2**high / EXTENT <= pixel_m or high == pmtiles_module.MAX_ZOOM
        assert EQUATOR_M / 2 ** (high - 1) / EXTENT > pixel_m
        assert 0 <= low <= high
    assert choose_zooms(1e6) == (0, 0)


def test_pmtiles(tmp_path):
    batch = make_batch(60)
    write(tmp_path / "a.pmtiles", to_layer(batch))
    with (tmp_path / "a.pmtiles").open("rb") as file:
        source = MmapSource(file)
        header = Reader(source).header()
        tiles = [zxy for zxy, _ in all_tiles(source)]
        (layer,) = Reader(source).metadata()["vector_layers"]
    assert (header["min_zoom"], header["max_zoom"]) == choose_zooms(0.5)
    assert {z for z, _, _ in tiles} == set(range(header["min_zoom"], header["max_zoom"] + 1))
    assert len(tiles) == header["addressed_tiles_count"]
    assert layer["id"] == "polygons"
    west, south, east, north = geopandas.GeoSeries(batch.geometries, crs=UTM).to_crs(4326).total_bounds
    bounds = [header[key] / 1e7 for key in ("min_lon_e7", "min_lat_e7", "max_lon_e7", "max_lat_e7")]
    np.testing.assert_allclose(bounds, [west, south, east, north], atol=1e-4)
    frame = open_layer(tmp_path / "a.pmtiles")
    whole = frame.dissolve("id").to_crs(UTM).geometry
    expected = geopandas.GeoSeries(batch.geometries, index=batch.columns["id"], crs=UTM)
    assert set(whole.index) == set(expected.index)
    unit_m = EQUATOR_M / 2 ** header["max_zoom"] / EXTENT
    assert (whole.hausdorff_distance(expected.loc[whole.index], align=False) < 2 * unit_m).all()


@pytest.mark.parametrize("kind", ["Polygon", "LineString"])
def test_pmtiles_across_the_antimeridian(tmp_path, kind):
    # UTM zone 1 south begins at 180 degrees.
    square = shapely.box(170_000, 8_140_000, 190_000, 8_150_000)
    batch = make_batch(1) if kind == "Polygon" else make_roads(1)
    batch.geometries[0] = square if kind == "Polygon" else shapely.LineString(square.exterior.coords[:3])
    layer = (to_layer if kind == "Polygon" else to_roads)(batch)
    write(tmp_path / "a.pmtiles", layer, crs_wkt=CRS.from_epsg(32701).to_wkt(), pixel_m=20.0)
    pieces = open_layer(tmp_path / "a.pmtiles").to_crs(4326)
    bounds = pieces.bounds
    assert (bounds.maxx - bounds.minx < 1).all()
    assert {-180, 180} == set(np.sign(bounds.minx + bounds.maxx) * 180)
    if kind == "Polygon":
        measured = pieces.to_crs(32701).area.sum()
        assert measured == pytest.approx(square.area, rel=0.01)


def test_an_empty_archive_has_one_empty_tile(tmp_path):
    write(tmp_path / "a.pmtiles", to_layer())
    with (tmp_path / "a.pmtiles").open("rb") as file:
        source = MmapSource(file)
        assert Reader(source).header()["max_zoom"] == 0
        assert [(zxy, gzip.decompress(tile)) for zxy, tile in all_tiles(source)] == [((0, 0, 0), b"")]


def test_gdal_without_pmtiles(tmp_path, monkeypatch):
    monkeypatch.setattr(pyogrio, "list_drivers", dict)
    with pytest.raises(OptionError, match="cannot write PMTiles"):
        check_pmtiles()
    with pytest.raises(OptionError, match="cannot write PMTiles"):
        write(tmp_path / "a.pmtiles", to_layer(make_batch(1)))
