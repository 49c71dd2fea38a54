"""What every format must keep: content, order, identical bytes, all or nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
from pyproj import CRS

from geoseg.errors import InputError, OptionError, OutputError
from geoseg.layers import columns as columns_module
from geoseg.layers import parquet as parquet_module
from geoseg.layers.columns import POLYGON_COLUMNS, ROAD_COLUMNS, Layer, LayerBatch
from geoseg.layers.read import SUFFIXES, open_layer
from geoseg.layers.write import check_layer_path, write_layers

from .polygons import LEGEND, UTM, cut, make_batch, make_roads, to_layer, to_roads, write

EXACT = tuple(suffix for suffix in SUFFIXES if suffix != ".pmtiles")
LONLAT = tuple(suffix for suffix in SUFFIXES if ".geojson" in suffix)


@pytest.fixture(params=EXACT)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"layer{request.param}"


@pytest.fixture(params=SUFFIXES)
def any_path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"layer{request.param}"


def sort_rows(frame: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """Some formats store features along a Hilbert curve."""
    return frame.sort_values("id", ignore_index=True)


def check_columns(frame: geopandas.GeoDataFrame, layer: Layer, batch: LayerBatch) -> None:
    order = np.argsort(batch.columns["id"])
    assert list(frame.columns) == [*(column.name for column in layer.columns), "geometry"]
    for column in layer.columns:
        expected, found = batch.columns[column.name][order], frame[column.name]
        if column.decimals is not None:
            np.testing.assert_array_equal(found, np.round(expected, column.decimals))
        else:
            assert [None if value != value else value for value in found] == expected.tolist()


@pytest.mark.parametrize("make", [(make_batch, to_layer), (make_roads, to_roads)], ids=["polygons", "roads"])
def test_content(path, make):
    batch = make[0](300)
    layer = make[1](batch)
    (written,) = write(path, layer)
    assert (written.path, written.name, written.features) == (path, layer.name, 300)
    assert written.size_bytes == path.stat().st_size
    frame = sort_rows(open_layer(path))
    check_columns(frame, layer, batch)
    expected = batch.geometries[np.argsort(batch.columns["id"])]
    if path.name.endswith(LONLAT):
        assert frame.crs == CRS.from_epsg(4326)
        assert (shapely.hausdorff_distance(frame.to_crs(UTM).geometry.to_numpy(), expected) < 0.02).all()
    else:
        assert CRS(frame.crs) == CRS.from_wkt(UTM)
        assert shapely.equals_identical(frame.geometry.to_numpy(), expected).all()


def test_every_geojson_has_the_same_coordinates(tmp_path):
    batch = make_batch(100)
    frames = []
    for suffix in LONLAT:
        write(tmp_path / f"a{suffix}", to_layer(batch))
        frames.append(open_layer(tmp_path / f"a{suffix}"))
    for frame in frames[1:]:
        assert shapely.equals_identical(frame.geometry.to_numpy(), frames[0].geometry.to_numpy()).all()


@pytest.mark.parametrize("at", [(7,), (64, 128), (1, 63, 65, 129, 130, 131), (0, 0, 200)])
def test_bytes_do_not_depend_on_batches(any_path, at, monkeypatch):
    monkeypatch.setattr(columns_module, "BATCH_ROWS", 64)
    monkeypatch.setattr(parquet_module, "WINDOW_ROWS", 128)
    batch, roads = make_batch(200), make_roads(200)
    write(any_path, to_layer(batch), to_roads(roads))
    expected = {place.name: place.read_bytes() for place in any_path.parent.iterdir()}
    write(any_path, to_layer(*cut(batch, *at)), to_roads(*cut(roads, *at)), overwrite=True)
    assert {place.name: place.read_bytes() for place in any_path.parent.iterdir()} == expected


def test_two_layers(path):
    polygons, roads = make_batch(40), make_roads(30)
    layers = to_layer(polygons), to_roads(roads)
    written = write(path, *layers)
    assert [(w.name, w.features) for w in written] == [("polygons", 40), ("roads", 30)]
    apart = path.with_name(path.name.replace("layer", "layer_roads"))
    assert [w.path for w in written] == [path, path if path.suffix == ".gpkg" else apart]
    check_columns(sort_rows(open_layer(path)), layers[0], polygons)
    check_columns(sort_rows(open_layer(written[1].path, "roads" if path.suffix == ".gpkg" else None)), layers[1], roads)


def test_a_layer_by_name(tmp_path):
    write(tmp_path / "a.gpkg", to_layer(make_batch(4)), to_roads(make_roads(3)))
    assert len(open_layer(tmp_path / "a.gpkg", "polygons")) == 4
    assert len(open_layer(tmp_path / "a.gpkg", "roads")) == 3
    with pytest.raises(InputError, match="no layer trees"):
        open_layer(tmp_path / "a.gpkg", "trees")


@pytest.mark.parametrize("batches", [0, 2])
def test_no_features(any_path, batches):
    empty = [cut(make_batch(1), 0)[0]] * batches
    written = write(any_path, to_layer(*empty), to_roads())
    assert [w.features for w in written] == [0, 0]
    if any_path.suffix in (".geojsonl", ".geojsonseq", ".geojsons"):
        assert any_path.read_bytes() == b""  # no features leave no trace, not even of the layer
        return
    frame = open_layer(any_path)
    assert len(frame) == 0
    if not any_path.name.endswith((*LONLAT, ".pmtiles")):
        assert set(frame.columns) == {*(column.name for column in POLYGON_COLUMNS), "geometry"}
        assert CRS(frame.crs) == CRS.from_wkt(UTM)


def test_unknown_values_are_null(path):
    batch = make_batch(5)
    batch.columns["confidence"][:] = np.nan
    batch.columns["source"][:] = None
    write(path, to_layer(batch))
    frame = open_layer(path)
    assert frame["confidence"].isna().all()
    assert frame["source"].isna().all()
    assert not frame["area_m2"].isna().any()


def test_columns_are_checked(path):
    batch = make_batch(3)
    del batch.columns["area_m2"]
    with pytest.raises(OutputError, match="area_m2"):
        write(path, to_layer(batch))
    with pytest.raises(OutputError, match="not a LineString"):
        write(path, Layer("roads", "LineString", POLYGON_COLUMNS, [make_batch(3)]))
    assert os.listdir(path.parent) == []


def test_spatial_index_answers(tmp_path):
    batch = make_batch(500)
    box = (389_500.0, 5_819_500.0, 390_500.0, 5_820_500.0)
    expected = shapely.intersects(shapely.box(*box), batch.geometries).sum()
    for suffix in (".gpkg", ".fgb"):
        write(tmp_path / f"a{suffix}", to_layer(batch))
        info = pyogrio.read_info(tmp_path / f"a{suffix}", layer="polygons")
        assert info["capabilities"]["fast_spatial_filter"]
        assert len(pyogrio.read_dataframe(tmp_path / f"a{suffix}", layer="polygons", bbox=box)) == expected
    write(tmp_path / "a.parquet", to_layer(batch))
    assert len(geopandas.read_parquet(tmp_path / "a.parquet", bbox=box)) == expected


class BrokenError(Exception):
    pass


def break_off(batch):
    yield batch
    raise BrokenError


@pytest.mark.parametrize("rows", [10, 200])
@pytest.mark.parametrize("broken", [0, 1])
def test_an_exception_leaves_the_old_files(any_path, rows, broken, monkeypatch):
    monkeypatch.setattr(columns_module, "BATCH_ROWS", 64)
    any_path.write_bytes(b"old")
    style = any_path.with_name("layer.qml")
    style.write_bytes(b"old style")
    polygons = Layer(
        "polygons", "Polygon", POLYGON_COLUMNS, [make_batch(rows)] if broken else break_off(make_batch(rows))
    )
    roads = Layer("roads", "LineString", ROAD_COLUMNS, break_off(make_roads(rows)))
    with pytest.raises(BrokenError):
        write(any_path, polygons, roads, overwrite=True)
    assert any_path.read_bytes() == b"old"
    assert style.read_bytes() == b"old style"
    assert sorted(os.listdir(any_path.parent)) == sorted([any_path.name, style.name])


def run_script(script: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["tests", ".", *sys.path]), **environment}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=environment,
        timeout=600,
        check=False,
        stderr=subprocess.PIPE,
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the size of files as Linux does")
@pytest.mark.parametrize("limit", [5_000, 100_000])
def test_a_full_disk_leaves_the_old_file(tmp_path, limit):
    paths = [str(tmp_path / f"layer{suffix}") for suffix in EXACT]
    for path in paths:
        Path(path).write_bytes(b"old")
    script = f"""
        import resource
        from pathlib import Path
        from geoseg.errors import OutputError
        from layers.polygons import make_batch, to_layer, write
        batch = make_batch(1000)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        for path in {paths}:
            try:
                write(Path(path), to_layer(batch), overwrite=True)
            except OutputError as error:
                assert path in str(error)
            else:
                raise SystemExit(path)
    """
    # The limit would hit numba's cache files as well.
    done = run_script(script, NUMBA_DISABLE_JIT="1")
    assert done.returncode == 0, done.stderr.decode()
    assert sorted(map(str, tmp_path.iterdir())) == sorted(paths)
    assert all(Path(path).read_bytes() == b"old" for path in paths)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills as POSIX does")
@pytest.mark.parametrize("suffix", [".gpkg", ".geojson.gz", ".fgb", ".pmtiles"])
def test_a_killed_write_leaves_the_old_file_and_the_next_one_clears_up(tmp_path, suffix):
    path = tmp_path / f"map{suffix}"
    path.write_bytes(b"old")
    script = f"""
        import os, signal
        from dataclasses import replace
        from pathlib import Path
        from geoseg.layers import columns
        from layers.polygons import make_batch, to_layer, to_roads, write
        columns.BATCH_ROWS = 64
        def batches():
            yield make_batch(500)
            os.kill(os.getpid(), signal.SIGKILL)
        areas = replace(to_layer(), name="roads", batches=batches())
        write(Path({str(path)!r}), to_layer(make_batch(100)), areas, overwrite=True)
    """
    done = run_script(script)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert path.read_bytes() == b"old"
    assert len(os.listdir(tmp_path)) > 1
    written = write(path, to_layer(make_batch(5)), to_roads(make_roads(3)), overwrite=True)
    left = {place.name for place in tmp_path.iterdir()} - {w.path.name for w in written}
    assert {name for name in left if not name.endswith(".qml")} == set()


def test_what_a_killed_process_left_beside_its_file_goes(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f".map.{socket.gethostname()}.{dead.pid}.part.gpkg.tmp_rtree_polygons.db"
    left.write_bytes(b"")
    write(tmp_path / "map.gpkg", to_layer(make_batch(1)))
    assert os.listdir(tmp_path) == ["map.gpkg"]


def test_unknown_suffix(tmp_path):
    with pytest.raises(OptionError, match=r"\.gpkg, \.geojson, .*\.parquet"):
        write(tmp_path / "a.shp", to_layer())
    with pytest.raises(OptionError, match="not known"):
        check_layer_path(tmp_path / "a.json.gz")


@pytest.mark.parametrize("name", [".gpkg", ".GeoJSON.gz", ".geojson"])
def test_a_suffix_is_no_name(tmp_path, name):
    with pytest.raises(OptionError, match="a suffix without a name"):
        check_layer_path(tmp_path / name)


def test_pmtiles_need_a_resolution(tmp_path):
    for options in ({}, {"pixel_m": np.nan}):
        with pytest.raises(OptionError, match="ground resolution"):
            write_layers(tmp_path / "a.pmtiles", [to_layer()], crs_wkt=UTM, legend=LEGEND, provenance={}, **options)


def test_an_existing_file_is_kept(any_path):
    any_path.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists"):
        write(any_path, to_layer(make_batch(1)))
    assert any_path.read_bytes() == b"old"


def test_an_existing_second_file_is_kept(tmp_path):
    (tmp_path / "map_roads.fgb").write_bytes(b"old")
    with pytest.raises(OutputError, match=r"map_roads\.fgb exists"):
        write(tmp_path / "map.fgb", to_layer(make_batch(1)), to_roads(make_roads(1)))
    assert os.listdir(tmp_path) == ["map_roads.fgb"]


def test_a_database_in_use_is_kept(tmp_path):
    path = tmp_path / "a.gpkg"
    write(path, to_layer(make_batch(3)))
    (tmp_path / "a.gpkg-wal").write_bytes(b"journal of another program")
    with pytest.raises(OutputError, match="another program"):
        write(path, to_layer(make_batch(1)), overwrite=True)
    assert len(open_layer(path)) == 3


def test_a_folder_that_cannot_be(any_path):
    any_path.parent.joinpath("file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        write(any_path.parent / "file" / any_path.name, to_layer(make_batch(1)))


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


@pytest.mark.parametrize("share", [0.06, 0.1, 0.4, 0.7, 0.95])
def test_a_layer_that_is_cut_off_is_no_empty_layer(tmp_path, share):
    path = tmp_path / "map.fgb"
    write(path, to_layer(make_batch(500)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match="cut off"):
        open_layer(path)


def test_a_layer_without_features_is_whole(tmp_path):
    write(tmp_path / "map.fgb", to_layer(make_batch(0)))
    assert len(open_layer(tmp_path / "map.fgb")) == 0
