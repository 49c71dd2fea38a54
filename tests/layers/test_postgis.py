from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import geopandas
import numpy as np
import pytest
import shapely
from pyproj import CRS

pytest.importorskip("psycopg", reason="psycopg is not installed")

import psycopg

from geoseg.errors import GeosegError, InputError, OptionError, OutputError
from geoseg.layers import postgis
from geoseg.layers.columns import LayerBatch
from geoseg.layers.postgis import check_database, load_layer
from geoseg.layers.read import open_layer
from geoseg.layers.stream import open_streams
from geoseg.progress import Silence
from tests.faults.prepared import Run, wait_for
from tests.faults.prepared import run as run_command
from tests.layers.polygons import UTM, cut, make_batch, make_roads, to_layer, to_roads, write
from tests.layers.postgres import PASSWORD

pytestmark = pytest.mark.postgis
QUOTED = "s3cret%2Fp%40ss%3Aword%3F%23%25"
HOSTILE = "x\"; DROP TABLE polygons; --'%s {} é"


@pytest.fixture
def server(postgres):
    return postgres


@pytest.fixture
def url(server, database):
    return server.url(database)


@pytest.fixture
def run(server, database):
    return lambda *statements: server.run(database, *statements)


@pytest.fixture
def make_map(tmp_path):
    def make(name="map.gpkg", n=50, *, seed=0, layers=None, crs_wkt=UTM):
        path = tmp_path / name
        layers = layers or (to_layer(make_batch(n, seed=seed)), to_roads(make_roads(n // 5, seed=seed)))
        write(path, *layers, crs_wkt=crs_wkt, overwrite=True)
        return path

    return make


def read_table(server, database, table):
    with psycopg.connect(server.url(database)) as connection, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pandas would rather have SQLAlchemy
        return geopandas.read_postgis(f"SELECT * FROM {table} ORDER BY id", connection)


def contents(run, *tables):
    """Rows of tables with the transactions that wrote them."""
    return [run(f"SELECT t.xmin::text, t::text FROM {table} t ORDER BY id") for table in tables]


def tables_of(run):
    query = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1"
    return [name for (name,) in run(query) if name not in ("geography_columns", "geometry_columns", "spatial_ref_sys")]


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet", ".geojson", ".geojson.gz", ".geojsonl", ".geojsonseq"])
def test_what_is_read_back_equals_the_file(server, database, url, make_map, suffix):
    path = make_map(f"map{suffix}")
    roads = path if suffix == ".gpkg" else path.with_name(f"map_roads{suffix}")
    assert [table.table for table in load_layer(path, url)] == ["public.polygons", "public.roads"]
    for table, file in (("polygons", path), ("roads", roads)):
        found = read_table(server, database, table)
        wanted = open_layer(file, table if suffix == ".gpkg" else None).sort_values("id", ignore_index=True)
        assert found.crs == wanted.crs
        assert shapely.to_wkb(found.geometry.to_numpy()).tolist() == shapely.to_wkb(wanted.geometry.to_numpy()).tolist()
        assert set(found.columns) - {"geom"} == set(wanted.columns) - {wanted.geometry.name}
        for name in set(found.columns) - {"geom"}:
            theirs, ours = wanted[name], found[name]
            assert (theirs.isna() == ours.isna()).all(), name
            assert theirs[theirs.notna()].tolist() == ours[ours.notna()].tolist(), name


def test_columns_have_their_types_key_index_and_statistics(run, url, make_map):
    load_layer(make_map(), url)
    rows = run(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute "
        "WHERE attrelid = 'roads'::regclass AND attnum > 0 ORDER BY attnum"
    )
    assert rows == [
        ("id", "text", True),
        ("class", "text", True),
        ("class_id", "integer", True),
        ("confidence", "double precision", False),
        ("length_m", "double precision", True),
        ("width_m", "double precision", False),
        ("width_std_m", "double precision", False),
        ("node_from", "bigint", True),
        ("node_to", "bigint", True),
        ("bridged", "boolean", True),
        ("source", "text", False),
        ("date", "text", False),
        ("geom", "geometry(LineString,32633)", True),
    ]
    indexes = run("SELECT indexdef FROM pg_indexes WHERE tablename = 'polygons' ORDER BY 1")
    assert any("USING gist (geom)" in text for (text,) in indexes)
    assert any("UNIQUE" in text and "(id)" in text for (text,) in indexes)
    assert run("SELECT reltuples FROM pg_class WHERE relname = 'polygons'") == [(50.0,)]
    assert run("SELECT count(*) FROM polygons WHERE NOT st_isvalid(geom)") == [(0,)]


def test_provenance_is_kept_one_row_a_layer_and_source(run, url, make_map):
    path = make_map()
    load_layer(path, url)
    load_layer(path, url)
    rows = run("SELECT layer, source, provenance->>'model' FROM geoseg_provenance ORDER BY 1")
    assert rows == [(name, 'scene "ü".tif', "landcover-rgb") for name in ("polygons", "roads")]


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".parquet"])
def test_loading_again_changes_nothing(run, url, make_map, suffix):
    path = make_map(f"map{suffix}")
    load_layer(path, url)
    tables = ("polygons", "roads")
    before = contents(run, *tables), run("SELECT xmin::text FROM geoseg_provenance")
    for loaded in load_layer(path, url, replace="source") + load_layer(path, url, replace="all"):
        assert (loaded.inserted, loaded.updated, loaded.deleted) == (0, 0, 0)
        assert loaded.unchanged == loaded.features > 0
    assert (contents(run, *tables), run("SELECT xmin::text FROM geoseg_provenance")) == before


def with_values(batch, **values):
    return LayerBatch(batch.geometries, batch.columns | {k: np.full(len(batch), v) for k, v in values.items()})


def test_a_newer_version_updates_what_differs_and_adds_what_is_new(run, url, make_map):
    whole = make_batch(50)
    old, new = cut(whole, 40)
    load_layer(make_map(layers=[to_layer(old)]), url)
    same, changed = cut(old, 30)
    moved = LayerBatch(shapely.transform(changed.geometries, lambda xy: xy + 1), changed.columns)
    moved = with_values(moved, confidence=np.nan)
    before = dict(run("SELECT id, xmin::text FROM polygons"))
    (loaded,) = load_layer(make_map(layers=[to_layer(same, moved, new)]), url)
    assert (loaded.features, loaded.inserted, loaded.updated, loaded.unchanged, loaded.deleted) == (50, 10, 10, 30, 0)
    after = dict(run("SELECT id, xmin::text FROM polygons"))
    assert {name for name in before if before[name] != after[name]} == set(changed.columns["id"])
    assert run("SELECT count(*) FROM polygons WHERE confidence IS NULL") == [(10,)]


def test_what_is_no_longer_there_stays_or_goes_as_asked(run, url, make_map):
    a, b, c = (
        with_values(make_batch(10, seed=seed), source=name) for seed, name in enumerate(("a.tif", "b.tif", "a.tif"))
    )
    load_layer(make_map(layers=[to_layer(a, b)]), url)
    (kept,) = load_layer(make_map(layers=[to_layer(c)]), url)
    assert (kept.deleted, run("SELECT count(*) FROM polygons")) == (0, [(30,)])
    (of_source,) = load_layer(make_map(layers=[to_layer(c)]), url, replace="source")
    assert (of_source.deleted, of_source.unchanged) == (10, 10)
    assert run("SELECT source, count(*) FROM polygons GROUP BY 1 ORDER BY 1") == [("a.tif", 10), ("b.tif", 10)]
    (all_,) = load_layer(make_map(layers=[to_layer(c)]), url, replace="all")
    assert (all_.deleted, run("SELECT count(*) FROM polygons")) == (10, [(10,)])


def test_an_empty_layer_of_a_source_takes_its_rows_away(run, url, make_map):
    batch = with_values(make_batch(10), source='scene "ü".tif')
    load_layer(make_map(layers=[to_layer(batch)]), url)
    (loaded,) = load_layer(make_map(layers=[to_layer(make_batch(0))]), url, replace="source")
    assert loaded.deleted == 10


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet", ".geojson"])
def test_an_empty_layer_makes_an_empty_table(run, url, make_map, suffix):
    path = make_map(f"map{suffix}", 0)
    assert [(t.table, t.features) for t in load_layer(path, url)] == [("public.polygons", 0), ("public.roads", 0)]
    assert run("SELECT count(*) FROM polygons") == [(0,)]
    load_layer(
        make_map(f"map{suffix.replace('.geojson', '.gpkg')}", 5, crs_wkt=open_streams(path)[0].crs.to_wkt()), url
    )


def test_texts_of_every_kind_arrive(run, url, make_map):
    texts = ["", "\\.", "a\n\\.\nb", '"', "a,b", "\\N", "\t\r\n", "植生 😀", "NULL", "'; DROP TABLE polygons; --"]
    batch = make_batch(len(texts))
    batch.columns["class"] = np.array(texts, object)
    batch.columns["id"] = np.array([f"{i:02}" for i in range(len(texts))], object)
    load_layer(make_map(layers=[to_layer(batch)]), url)
    assert [text for (text,) in run("SELECT class FROM polygons ORDER BY id")] == texts


def test_names_are_only_names(server, database, run, url, make_map, tmp_path):
    load_layer(make_map(), url)
    frame = open_layer(make_map(), "polygons").rename(columns={"source": HOSTILE})
    frame.to_file(tmp_path / "other.gpkg", layer=HOSTILE)
    run(f"CREATE SCHEMA {psycopg.sql.Identifier(HOSTILE).as_string()}")
    for _ in range(2):
        (loaded,) = load_layer(tmp_path / "other.gpkg", url, schema=HOSTILE, prefix='p"')
        assert loaded.table == f'{HOSTILE}.p"{HOSTILE}'
    query = "SELECT count(*) FROM {}"
    name = psycopg.sql.Identifier(HOSTILE, f'p"{HOSTILE}')
    assert run(psycopg.sql.SQL(query).format(name).as_string()) == [(50,)]
    assert run("SELECT count(*) FROM polygons") == [(50,)]


def test_schema_and_prefix_of_the_url(run, url, make_map):
    run("CREATE SCHEMA city")
    load_layer(make_map(), f"{url}&schema=city&prefix=y26_")
    assert run("SELECT count(*) FROM city.y26_polygons") == [(50,)]
    assert tables_of(run) == []


def test_names_that_would_be_cut_off(url, make_map):
    with pytest.raises(OptionError, match="63 bytes"):
        load_layer(make_map(), url, prefix="é" * 30)


def test_features_without_an_id_get_one_of_what_they_hold(run, url, make_map, tmp_path):
    frame = open_layer(make_map(), "polygons").drop(columns="id")
    frame.to_file(tmp_path / "other.fgb")
    (first,) = load_layer(tmp_path / "other.fgb", url)
    (again,) = load_layer(tmp_path / "other.fgb", url)
    assert (first.table, first.inserted, again.unchanged) == ("public.other", 50, 50)


def test_a_crs_without_a_code_is_added_once(run, url, make_map):
    local = CRS.from_proj4("+proj=laea +lat_0=52.5 +lon_0=13.4 +ellps=GRS80 +units=m").to_wkt()
    for suffix in (".gpkg", ".fgb", ".parquet"):
        load_layer(make_map(f"map{suffix}", crs_wkt=local), url)
    check_database(url, [to_layer()], CRS.from_wkt(local).to_wkt("WKT1_GDAL"))
    unnamed = CRS.from_epsg(32633).to_wkt().split(",USAGE")[0] + "]"
    check_database(f"{url}&prefix=utm_", [to_layer()], unnamed)
    assert run("SELECT count(*) FROM spatial_ref_sys WHERE srid >= 910000") == [(1,)]
    assert run("SELECT DISTINCT st_srid(geom) FROM polygons") == [(910000,)]
    batch = make_batch(50)
    lonlat = run("SELECT st_x(p), st_y(p) FROM (SELECT st_transform(st_centroid(geom), 4326) p FROM polygons) t")
    expected = geopandas.GeoSeries(shapely.centroid(batch.geometries), crs=local).to_crs(4326)
    np.testing.assert_allclose(sorted(lonlat), sorted(zip(expected.x, expected.y, strict=True)), atol=1e-9)


# What is refused.


def make_other_tables():
    return {
        "type": ["ALTER TABLE polygons ALTER class_id TYPE bigint"],
        "missing": ["ALTER TABLE polygons DROP COLUMN width_m"],
        "required": ["ALTER TABLE polygons ADD checked boolean NOT NULL DEFAULT true",
                     "ALTER TABLE polygons ALTER checked DROP DEFAULT"],
        "srid": ["ALTER TABLE polygons ALTER geom TYPE geometry(Polygon,25833) USING st_transform(geom, 25833)"],
        "key": ["ALTER TABLE polygons DROP CONSTRAINT polygons_pkey"],
        "view": ["ALTER TABLE polygons RENAME TO p", "CREATE VIEW polygons AS SELECT * FROM p"],
    }  # fmt: skip


@pytest.mark.parametrize("kind", make_other_tables())
def test_a_table_of_another_kind_is_refused(run, url, make_map, kind):
    load_layer(make_map(), url)
    run(*make_other_tables()[kind])
    before = contents(run, "polygons" if kind != "view" else "p", "roads")
    with pytest.raises(OutputError, match=r"public\.polygons .*nothing was changed"):
        load_layer(make_map(seed=1), url)
    assert contents(run, "polygons" if kind != "view" else "p", "roads") == before


def test_columns_of_the_users_own_stay(run, url, make_map):
    load_layer(make_map(), url)
    run("ALTER TABLE polygons ADD checked boolean", "UPDATE polygons SET checked = true")
    load_layer(make_map(seed=1), url)
    assert run("SELECT checked, count(*) FROM polygons GROUP BY 1 ORDER BY 1") == [(True, 50), (None, 50)]


def test_ids_that_occur_twice_are_refused(run, url, make_map):
    batch = make_batch(5)
    load_layer(make_map(layers=[to_layer(batch)]), url)
    before = contents(run, "polygons")
    for prefix in ("", "new_"):
        with pytest.raises(OutputError, match="id of their own"):
            load_layer(make_map(layers=[to_layer(batch, batch)]), url, prefix=prefix)
    assert contents(run, "polygons") == before
    assert tables_of(run) == ["geoseg_provenance", "polygons"]


def test_files_that_are_no_layers(url, tmp_path, make_map):
    (tmp_path / "a.fgb").write_bytes(make_map("map.fgb").read_bytes()[:3000])
    (tmp_path / "b.txt").write_text("")
    for name, said in (("no.gpkg", "not there"), ("a.fgb", "cut off"), ("b.txt", "not known")):
        with pytest.raises(InputError, match=said):
            load_layer(tmp_path / name, url)
    with pytest.raises(InputError, match="pieces"):
        load_layer(make_map("map.pmtiles", layers=[to_layer(make_batch(3))]), url)


def test_databases_that_cannot_be(server, database, run, url, make_map):
    path = make_map()
    server.create_user("guest")
    plain = server.create_database("template1")
    guest = server.tcp_url(database, "guest", QUOTED)
    cases = {
        server.url(plain): "has no PostGIS",
        f"{url}&schema=nowhere": "no schema 'nowhere'",
        server.url("nowhere"): "does not exist",
        f"postgresql://127.0.0.1:1/{database}": "refused",
        f"postgresql://nobody.invalid/{database}": "nobody.invalid",
        guest: "permission denied for schema public",
    }
    for case, said in cases.items():
        for attempt in (lambda at: load_layer(path, at), lambda at: check_database(at, [to_layer()], UTM)):
            with pytest.raises(OutputError, match=said) as caught:
                attempt(case)
            assert caught.value.remedy
            assert PASSWORD not in str(caught.value)
    assert tables_of(run) == []


def test_a_user_without_the_right_to_a_crs_or_a_table(server, database, run, url, make_map):
    server.create_user("guest")
    guest = server.tcp_url(database, "guest", QUOTED)
    load_layer(make_map(), url)
    run("CREATE SCHEMA guest AUTHORIZATION guest")
    local = make_map(crs_wkt=CRS.from_proj4("+proj=laea +lat_0=52 +lon_0=13 +ellps=GRS80").to_wkt())
    with pytest.raises(OutputError, match="may not add it"):
        load_layer(local, f"{guest}?schema=guest")
    with pytest.raises(OutputError, match="permission denied"):
        load_layer(make_map(), guest)
    assert load_layer(make_map(), f"{guest}?schema=guest")[0].inserted == 50


BROKEN = ("pa/s3cret@", "12/s3cret@", "s3cret@x@", "s3cret@")


@pytest.mark.parametrize("secret", BROKEN)
def test_no_error_tells_a_password(server, make_map, secret, monkeypatch):
    url = server.tcp_url("gis", "guest").replace("guest@", f"guest:{secret}")
    with pytest.raises(GeosegError) as caught:
        load_layer(make_map(), url)
    told = [caught.value, caught.value.__cause__]
    assert all("s3cret" not in str(error) and "s3cret" not in repr(error) for error in told)
    monkeypatch.setenv("PGPASSWORD", "s3cret")
    with pytest.raises(OutputError, match="password authentication failed") as caught:
        load_layer(make_map(), server.tcp_url("gis", "guest"))
    assert "s3cret" not in str(caught.value)


def test_ways_to_say_who_one_is(server, run, database, make_map, tmp_path, monkeypatch):
    server.create_user("owner")
    run("CREATE SCHEMA own AUTHORIZATION owner")
    bare = f"{server.tcp_url(database, 'owner')}?schema=own"
    path = make_map()
    load_layer(path, server.tcp_url(database, "owner", QUOTED).replace("postgresql", "postgres") + "?schema=own")
    escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    (tmp_path / "pgpass").write_text(f"127.0.0.1:{server.port}:*:owner:{escaped}\n")
    (tmp_path / "pgpass").chmod(0o600)
    service = f"[gis]\nhost=127.0.0.1\nport={server.port}\nuser=owner\ndbname={database}\npassword={PASSWORD}\n"
    (tmp_path / "services").write_text(service)
    with monkeypatch.context() as patch:
        patch.setenv("PGPASSWORD", PASSWORD)
        load_layer(path, bare)
    with monkeypatch.context() as patch:
        patch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
        load_layer(path, bare)
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    load_layer(path, "postgresql:///?service=gis&schema=own")
    with pytest.raises(OutputError, match="password"):
        load_layer(path, bare)


def test_no_database(make_map):
    for text in ("mysql://x/y", "map.gpkg", ""):
        with pytest.raises(OptionError, match="no database"):
            load_layer(make_map(), text)


def test_psycopg_is_an_extra(make_map, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(OptionError, match=r"pip install 'geoseg\[postgis\]'"):
        load_layer(make_map(), "postgresql://x/y")


# All or nothing.


@pytest.mark.parametrize("first", [True, False])
def test_a_failure_in_the_last_layer_undoes_all(run, url, make_map, first):
    if not first:
        load_layer(make_map(), url)
    else:
        run("CREATE VIEW roads AS SELECT 1 AS id")
    if not first:
        run(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not today'; END $$",
            "CREATE TRIGGER t BEFORE INSERT ON roads FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
    names = [] if first else ["polygons", "roads"]
    before = tables_of(run), contents(run, *names)
    with pytest.raises(OutputError, match=r"is no table|not today"):
        load_layer(make_map(seed=1), url)
    assert (tables_of(run), contents(run, *names)) == before


def interrupted(monkeypatch, act):
    """Do something after the first batch."""
    encode = postgis.copy_rows.__globals__["_encode"]
    seen = []

    def encode_then_act(batch, srid):
        seen.append(batch)
        if len(seen) == 2:
            act()
        return encode(batch, srid)

    monkeypatch.setitem(postgis.copy_rows.__globals__, "_encode", encode_then_act)


@pytest.mark.parametrize("first", [True, False])
def test_a_connection_that_breaks_changes_nothing(run, url, make_map, monkeypatch, first):
    if not first:
        load_layer(make_map(), url)
    names = [] if first else ["polygons", "roads"]
    before = tables_of(run), contents(run, *names)
    interrupted(
        monkeypatch,
        lambda: run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'geoseg'"),
    )
    with pytest.raises(OutputError, match="run the same command again"):
        load_layer(make_map(n=20_000, seed=1), url)
    assert (tables_of(run), contents(run, *names)) == before
    monkeypatch.undo()
    assert load_layer(make_map(n=20_000, seed=1), url)[0].inserted == 20_000


def test_a_file_that_ends_early_changes_nothing(run, url, make_map, monkeypatch):
    def fail():
        raise InputError("cut off")

    interrupted(monkeypatch, fail)
    with pytest.raises(InputError, match="cut off"):
        load_layer(make_map(n=9_000), url)
    assert tables_of(run) == []


def test_a_killed_load_changes_nothing_and_holds_nothing(run, url, make_map):
    path = make_map(n=20_000)
    process = Run("load", path, url, before=stay_in_the_copy)
    wait_for(lambda: run("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'COPY %'"), process)
    process.send(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert tables_of(run) == []
    assert "public.polygons: 20,000 features, 20,000 new" in run_command("load", path, url)


def stay_in_the_copy():
    """Once the first batch was sent."""
    encode = postgis.copy_rows.__globals__["_encode"]
    seen = []

    def encode_once(batch, srid):
        if seen:
            signal.pause()
        seen.append(batch)
        return encode(batch, srid)

    postgis.copy_rows.__globals__["_encode"] = encode_once


# Two at a time.


def test_loads_at_the_same_time_take_turns(run, url, make_map):
    paths = [make_map(f"{seed}.gpkg", 400, seed=seed) for seed in range(4)]
    start = threading.Barrier(8)

    def work(i):
        start.wait()
        return load_layer(paths[i % 4], url, replace=("none", "source")[i // 4] if i % 4 else "none")

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))
    wanted = set().union(*(set(make_batch(400, seed=seed).columns["id"]) for seed in range(4)))
    assert {name for (name,) in run("SELECT id FROM polygons")} <= wanted
    assert sum(r[0].inserted - r[0].deleted for r in results) == run("SELECT count(*) FROM polygons")[0][0]
    for path in paths:
        load_layer(path, url)
    assert {name for (name,) in run("SELECT id FROM polygons")} == wanted


def test_a_load_that_waits_says_so_and_then_sees_the_other(url, make_map, monkeypatch):
    reached, go_on = threading.Event(), threading.Event()
    said = []

    class Notes(Silence):
        def note(self, text):
            said.append(text)
            go_on.set()

    def hold():
        reached.set()
        assert go_on.wait(30)

    interrupted(monkeypatch, hold)
    path = make_map(n=9_000)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(load_layer, path, url)
        assert reached.wait(30)
        second = pool.submit(load_layer, path, url, progress=Notes())
        assert first.result()[0].inserted == 9_000
        assert second.result()[0].unchanged == 9_000
    assert said == ["waiting for another load into the schema public"]


def test_a_check_does_not_wait_for_a_load(url, make_map, monkeypatch):
    reached, go_on = threading.Event(), threading.Event()

    def hold():
        reached.set()
        assert go_on.wait(60)

    monkeypatch.setattr(postgis, "_CHECK_WAIT_S", 1)
    interrupted(monkeypatch, hold)
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(load_layer, make_map(n=9_000), url)
        assert reached.wait(60)
        check_database(url, [to_layer(), to_roads()], UTM)
        go_on.set()
        assert load.result()[0].inserted == 9_000


# Before hours of work.


def test_a_check_leaves_nothing_behind(run, url, make_map):
    layers = [to_layer(), to_roads()]
    local = CRS.from_proj4("+proj=laea +lat_0=52.5 +lon_0=13.4 +ellps=GRS80").to_wkt()
    check_database(f"{url}&replace=source", layers, local)
    assert tables_of(run) == []
    assert run("SELECT count(*) FROM spatial_ref_sys WHERE srid >= 910000") == [(0,)]
    load_layer(make_map(), url)
    before = contents(run, "polygons", "roads")
    assert "?schema=public" in check_database(f"{url}&replace=all", layers, UTM).place
    assert contents(run, "polygons", "roads") == before


def test_a_check_finds_what_a_load_would(run, url, make_map):
    load_layer(make_map(), url)
    with pytest.raises(OutputError, match="geometry"):
        check_database(url, [to_layer()], CRS.from_epsg(25833).to_wkt())
    other = replace(to_layer(), columns=to_roads().columns)
    with pytest.raises(OutputError, match="has the column"):
        check_database(url, [other], UTM)


# Memory.


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_memory_does_not_grow_with_the_layer(server, url, make_map):
    script = (
        "import sys\n"
        "from geoseg.layers.postgis import load_layer\n"
        "from tests.peak import peak_kib\n"
        "load_layer(sys.argv[1], sys.argv[2], prefix=sys.argv[3])\n"
        "print(peak_kib() // 1024)"
    )
    peaks = []
    for n in (10_000, 100_000):
        path = make_map(f"{n}.gpkg", layers=[to_layer(*(make_batch(10_000, seed=s) for s in range(n // 10_000)))])
        command = [sys.executable, "-c", script, str(path), url, f"n{n}_"]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert peaks[1] < peaks[0] + 40
