"""What every format must keep: content, order, identical bytes, all or nothing."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import textwrap

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from pyproj import CRS

from geoseg.errors import InputError, OptionError, OutputError
from geoseg.layers import columns as columns_module
from geoseg.layers.read import open_layer
from geoseg.layers.write import write_layer

from .polygons import SUFFIXES, UTM, cut, make_columns


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path):
    return tmp_path / f"layer{request.param}"


def sort_rows(frame: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """FlatGeobuf stores features along a Hilbert curve."""
    return frame.sort_values("area_m2", ignore_index=True)


def test_content(path):
    columns = make_columns(300)
    written = write_layer(path, [columns], crs_wkt=UTM)
    assert written.path == path
    assert written.polygons == 300
    assert written.size_bytes == path.stat().st_size
    frame = sort_rows(open_layer(path))
    order = np.argsort(columns.area_m2)
    assert set(frame.columns) == {"class", "class_id", "confidence", "area_m2", "perimeter_m", "geometry"}
    assert frame["class"].tolist() == columns.class_name[order].tolist()
    assert frame["class_id"].tolist() == columns.class_id[order].tolist()
    np.testing.assert_allclose(frame["confidence"], columns.confidence[order], atol=0.51e-4)
    np.testing.assert_allclose(frame["area_m2"], columns.area_m2[order], atol=0.51e-3)
    np.testing.assert_allclose(frame["perimeter_m"], columns.perimeter_m[order], atol=0.51e-3)
    expected = columns.geometries[order]
    if path.suffix == ".geojson":
        assert frame.crs == CRS.from_epsg(4326)
        assert (shapely.hausdorff_distance(frame.to_crs(UTM).geometry.to_numpy(), expected) < 0.02).all()
    else:
        assert CRS(frame.crs) == CRS.from_wkt(UTM)
        assert shapely.equals_identical(frame.geometry.to_numpy(), expected).all()


def test_every_format_holds_the_same_numbers(tmp_path):
    columns = make_columns(50)
    frames = []
    for suffix in SUFFIXES:
        write_layer(tmp_path / f"layer{suffix}", [columns], crs_wkt=UTM)
        frames.append(sort_rows(open_layer(tmp_path / f"layer{suffix}")))
    for frame in frames[1:]:
        for name in ("class", "class_id", "confidence", "area_m2", "perimeter_m"):
            assert frame[name].tolist() == frames[0][name].tolist()


@pytest.mark.parametrize("at", [(7,), (64, 128), (1, 63, 65, 129, 130, 131), (0, 0, 200)])
def test_bytes_do_not_depend_on_batches(path, at, monkeypatch):
    monkeypatch.setattr(columns_module, "BATCH_ROWS", 64)
    columns = make_columns(200)
    write_layer(path, [columns], crs_wkt=UTM)
    expected = path.read_bytes()
    write_layer(path, iter(cut(columns, *at)), crs_wkt=UTM, overwrite=True)
    assert path.read_bytes() == expected


def test_no_polygons(path):
    written = write_layer(path, [], crs_wkt=UTM)
    assert written.polygons == 0
    frame = open_layer(path)
    assert len(frame) == 0
    if path.suffix != ".geojson":
        assert set(frame.columns) == {"class", "class_id", "confidence", "area_m2", "perimeter_m", "geometry"}
        assert CRS(frame.crs) == CRS.from_wkt(UTM)


def test_unknown_confidence_is_null(path):
    columns = make_columns(5)
    columns.confidence[:] = np.nan
    write_layer(path, [columns], crs_wkt=UTM)
    frame = open_layer(path)
    assert frame["confidence"].isna().all()
    assert not frame["area_m2"].isna().any()


def test_spatial_index_answers(tmp_path):
    columns = make_columns(500)
    box = (389_500.0, 5_819_500.0, 390_500.0, 5_820_500.0)
    expected = shapely.intersects(shapely.box(*box), columns.geometries).sum()
    for suffix in (".gpkg", ".fgb"):
        write_layer(tmp_path / f"a{suffix}", [columns], crs_wkt=UTM)
        assert pyogrio.read_info(tmp_path / f"a{suffix}")["capabilities"]["fast_spatial_filter"]
        assert len(pyogrio.read_dataframe(tmp_path / f"a{suffix}", bbox=box)) == expected
    write_layer(tmp_path / "a.parquet", [columns], crs_wkt=UTM)
    assert len(geopandas.read_parquet(tmp_path / "a.parquet", bbox=box)) == expected


def test_geopackage_is_sound(tmp_path):
    write_layer(tmp_path / "a.gpkg", [make_columns(100)], crs_wkt=UTM)
    with sqlite3.connect(tmp_path / "a.gpkg") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT table_name, data_type, srs_id FROM gpkg_contents").fetchall() == [
            ("polygons", "features", 32633)
        ]
        assert connection.execute("SELECT count(*) FROM rtree_polygons_geom").fetchone() == (100,)


def test_geoparquet_metadata(tmp_path):
    columns = make_columns(100)
    write_layer(tmp_path / "a.parquet", [columns], crs_wkt=UTM)
    geo = json.loads(pq.read_metadata(tmp_path / "a.parquet").metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    geometry = geo["columns"][geo["primary_column"]]
    assert geometry["encoding"] == "WKB"
    assert geometry["geometry_types"] == ["Polygon"]
    assert CRS.from_json_dict(geometry["crs"]) == CRS.from_wkt(UTM)
    np.testing.assert_array_equal(geometry["bbox"], shapely.total_bounds(columns.geometries))
    assert geometry["covering"] == {"bbox": {s: ["bbox", s] for s in ("xmin", "ymin", "xmax", "ymax")}}


class BrokenError(Exception):
    pass


def break_off(columns):
    yield columns
    raise BrokenError


@pytest.mark.parametrize("rows", [10, 200])
def test_an_exception_leaves_the_old_file(path, rows, monkeypatch):
    monkeypatch.setattr(columns_module, "BATCH_ROWS", 64)
    path.write_bytes(b"old")
    with pytest.raises(BrokenError):
        write_layer(path, break_off(make_columns(rows)), crs_wkt=UTM, overwrite=True)
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the size of files as Linux does")
@pytest.mark.parametrize("limit", [20_000, 200_000])
def test_a_full_disk_leaves_the_old_file(path, limit):
    path.write_bytes(b"old")
    script = f"""
        import resource, sys
        from geoseg.errors import OutputError
        from geoseg.layers.write import write_layer
        from layers.polygons import UTM, make_columns
        columns = make_columns(2000)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        try:
            write_layer({str(path)!r}, [columns], crs_wkt=UTM, overwrite=True)
        except OutputError as error:
            sys.exit(0 if {str(path)!r} in str(error) else 5)
        sys.exit(3)
    """
    # The limit would hit numba's cache files as well.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["tests", ".", *sys.path]), "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=environment, timeout=120, check=False)
    assert done.returncode == 0
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


def test_unknown_suffix(tmp_path):
    with pytest.raises(OptionError, match=r"\.gpkg, \.geojson, \.fgb, \.parquet"):
        write_layer(tmp_path / "a.shp", [], crs_wkt=UTM)


def test_an_existing_file_is_kept(path):
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists"):
        write_layer(path, [make_columns(1)], crs_wkt=UTM)
    assert path.read_bytes() == b"old"


def test_a_database_in_use_is_kept(tmp_path):
    path = tmp_path / "a.gpkg"
    write_layer(path, [make_columns(3)], crs_wkt=UTM)
    (tmp_path / "a.gpkg-wal").write_bytes(b"journal of another program")
    with pytest.raises(OutputError, match="another program"):
        write_layer(path, [make_columns(1)], crs_wkt=UTM, overwrite=True)
    assert len(open_layer(path)) == 3


def test_a_folder_that_cannot_be(path):
    path.parent.joinpath("file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        write_layer(path.parent / "file" / path.name, [make_columns(1)], crs_wkt=UTM)


def test_open_layer_names_the_fault(tmp_path):
    with pytest.raises(InputError, match="not there"):
        open_layer(tmp_path / "a.gpkg")
    (tmp_path / "a.txt").write_text("no layer")
    with pytest.raises(InputError, match="not known as a vector layer"):
        open_layer(tmp_path / "a.txt")
    for suffix in SUFFIXES:
        (tmp_path / f"a{suffix}").write_text("no layer")
        with pytest.raises(InputError, match="cannot be read"):
            open_layer(tmp_path / f"a{suffix}")
