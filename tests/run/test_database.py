from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed")

from geoseg.errors import OutputError
from geoseg.layers.read import open_layer
from geoseg.run import database as runs
from geoseg.run.polygonize import polygonize
from tests.layers.postgres import PASSWORD

pytestmark = pytest.mark.postgis


@pytest.fixture
def server(postgres):
    return postgres


@pytest.fixture
def classes(class_raster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).integers(0, 4, (60, 80)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    return class_raster(values)


def count(server, database, table="polygons"):
    return server.run(database, f"SELECT count(*) FROM {table}")[0][0]


def test_a_run_into_a_database_equals_its_file(server, database, classes, tmp_path):
    wanted = open_layer(polygonize(classes, tmp_path / "map.gpkg", roads=True).output)
    result = polygonize(classes, server.url(database), roads=True)
    assert result.output.startswith("postgresql://postgres@")
    assert "schema=public" in result.output
    assert sum(result.polygons.values()) == len(wanted)
    ids = {name for (name,) in server.run(database, "SELECT id FROM polygons")}
    assert ids == set(wanted["id"])
    assert count(server, database, "roads") > 0
    assert not list(Path(".geoseg").glob("*/layer.gpkg"))
    again = polygonize(classes, server.url(database), roads=True)
    assert again.polygons == result.polygons
    assert count(server, database) == len(wanted)


def test_the_database_is_tried_before_the_work(server, database, classes, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("work was begun")

    monkeypatch.setattr("geoseg.run.polygonize.execute", fail)
    for url in (server.url("nowhere"), f"{server.url(database)}&schema=nowhere"):
        with pytest.raises(OutputError):
            polygonize(classes, url)
    server.run(database, "CREATE TABLE polygons (id integer)")
    with pytest.raises(OutputError, match="has the column"):
        polygonize(classes, server.url(database))
    assert not Path(".geoseg").exists()


@pytest.mark.parametrize("work_dir", [None, "work"])
def test_a_load_that_fails_is_done_again_without_the_work(server, database, classes, monkeypatch, work_dir):
    def fail(*_, **__):
        raise OutputError("the server is gone", remedy="wait")

    with monkeypatch.context() as patch:
        patch.setattr(runs, "load_layer", fail)
        with pytest.raises(OutputError, match=r"the layer is kept in .*layer\.gpkg"):
            polygonize(classes, server.url(database), work_dir=work_dir)
    (layer,) = Path().glob("work/layer.gpkg" if work_dir else ".geoseg/*/layer.gpkg")
    written = layer.stat().st_mtime_ns
    seen = []
    load = runs.load_layer
    monkeypatch.setattr(runs, "load_layer", lambda path, *a, **k: (seen.append(path.stat()), load(path, *a, **k))[1])
    result = polygonize(classes, server.url(database), work_dir=work_dir)
    assert (result.tiles_computed, seen[0].st_mtime_ns) == (0, written)
    assert count(server, database) == sum(result.polygons.values()) > 0
    assert not layer.exists()
    assert work_dir or not Path(".geoseg").exists()


def test_no_file_tells_a_password(server, database, classes, monkeypatch):
    server.create_user("writer")
    server.run(database, "GRANT CREATE ON SCHEMA public TO writer")
    secret = quote(PASSWORD, safe="")

    def fail(*_, **__):
        raise OutputError("the server is gone", remedy="wait")

    monkeypatch.setattr(runs, "load_layer", fail)
    with pytest.raises(OutputError) as caught:
        polygonize(classes, server.tcp_url(database, "writer", secret), work_dir="work")
    files = [path for path in Path().rglob("*") if path.is_file()]
    assert Path("work/run.json") in files
    told = [path.read_bytes().decode("latin-1") for path in files] + [str(path) for path in files] + [str(caught.value)]
    assert not any(word in text for text in told for word in (PASSWORD, secret))


def test_a_file_of_somebody_elses_is_kept(server, database, classes):
    Path("work").mkdir()
    Path("work/layer.gpkg").write_text("mine")
    with pytest.raises(OutputError):
        polygonize(classes, server.url(database), work_dir="work")
    assert Path("work/layer.gpkg").read_text() == "mine"


def test_the_command_line_takes_a_url(server, database, classes):
    url = f"{server.url(database)}&prefix=y26_&replace=source"
    command = [sys.executable, "-m", "geoseg", "polygonize", str(classes), "-o", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "-> postgresql://postgres@" in done.stdout
    assert count(server, database, "y26_polygons") > 0
