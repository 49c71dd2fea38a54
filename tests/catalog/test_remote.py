"""Rasters behind HTTP and S3: parts of them are read, faults pass or are named, credentials stay hidden."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.warp import transform_bounds
from rio_cogeo.cogeo import cog_translate
from rio_cogeo.profiles import cog_profiles

from geoseg.catalog.find import find_scenes
from geoseg.errors import InputError
from geoseg.grid import GeoGrid, Window
from geoseg.legend import LAND_COVER
from geoseg.raster import reader
from geoseg.raster.cog import write_class_raster
from geoseg.raster.describe import describe_raster
from geoseg.raster.source import open_raster
from tests.catalog.servers import WebServer

SECRET = "Secret9"


@pytest.fixture(scope="module")
def cog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COG of 2048 x 2048 pixels of noise: 12 MB that do not shrink."""
    folder = tmp_path_factory.mktemp("cog")
    plain, path = folder / "plain.tif", folder / "scene.tif"
    values = np.random.default_rng(1).integers(0, 256, (3, 2048, 2048)).astype(np.uint8)
    profile = {"driver": "GTiff", "crs": "EPSG:32737", "transform": Affine(0.5, 0, 530_000, 0, -0.5, 9_330_000)}
    shape = {"count": 3, "height": 2048, "width": 2048, "dtype": "uint8"}
    with rasterio.open(plain, "w", **profile, **shape) as raster:
        raster.write(values)
    cog_translate(plain, path, cog_profiles.get("deflate"), quiet=True, overview_level=0)
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pauses of tests are short, and no dataset stays open."""
    monkeypatch.setitem(reader.REMOTE_SETTINGS, "GDAL_HTTP_RETRY_DELAY", 0.05)
    yield
    reader.close_thread_dataset()


def test_a_window_of_a_200_mb_file_costs_its_blocks_alone(web: WebServer, cog: Path) -> None:
    content = cog.read_bytes()
    web.files["/scene.tif"], web.lengths["/scene.tif"] = content, 200_000_000
    source = open_raster(f"{web.url}/scene.tif")
    opened = web.sent
    window = Window(512, 1024, 512, 512)
    image, valid = source.read(window)
    with rasterio.open(cog) as raster:
        np.testing.assert_array_equal(image, raster.read(window=((512, 1024), (1024, 1536))))
    assert valid.all()
    assert web.sent - opened < 1.2 * 3 * 512 * 512
    assert all("Range" in headers for method, _, headers in web.requests if method == "GET")


def test_a_fault_that_passes_is_tried_again(web: WebServer, cog: Path) -> None:
    web.files["/scene.tif"] = cog.read_bytes()
    web.failures["/scene.tif"] = [503, 429]
    source = open_raster(f"{web.url}/scene.tif")
    web.failures["/scene.tif"] = [502, 500, 503]
    reader.close_thread_dataset()
    assert source.read(Window(0, 0, 8, 8))[1].all()


def test_a_server_that_falls_silent_is_given_up(web: WebServer, cog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LOW_SPEED_TIME": 1, "MAX_RETRY": 1}.items():
        monkeypatch.setitem(reader.REMOTE_SETTINGS, f"GDAL_HTTP_{name}", value)
    web.files["/scene.tif"] = cog.read_bytes()
    source = open_raster(f"{web.url}/scene.tif")
    reader.close_thread_dataset()
    web.stalled.add("/scene.tif")
    with pytest.raises(InputError) as caught:
        source.read(Window(0, 0, 8, 8))
    assert caught.value.remedy
    web.stalled.clear()
    assert source.read(Window(0, 0, 8, 8))[1].all()


def test_what_a_server_said_once_is_asked_again(web: WebServer, cog: Path) -> None:
    url = f"{web.url}/scene.tif"
    with pytest.raises(InputError, match="404"):
        open_raster(url)
    web.files["/scene.tif"] = cog.read_bytes()
    first = open_raster(url).fingerprint
    web.files["/scene.tif"] = cog.read_bytes()[:-4_000_000] + bytes(4_000_000)
    with pytest.raises(InputError):
        open_raster(url).read(Window(0, 0, 2048, 2048))
    web.files["/scene.tif"] = cog.read_bytes()
    assert open_raster(url).fingerprint == first


def test_no_credential_shows_anywhere(
    web: WebServer, cog: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    host = urlsplit(web.url).netloc
    queries = [f"sig={SECRET}&se=1", f"sig=Other{SECRET}&se=2"]
    urls = [f"http://me:{SECRET}@{host}/scene.tif?{query}" for query in queries]
    caplog.set_level(logging.DEBUG)
    shown = []
    with pytest.raises(InputError) as caught:
        open_raster(urls[0])
    shown.append(str(caught.value))
    web.files["/scene.tif"] = cog.read_bytes()
    sources = [open_raster(url) for url in urls]
    # Signed anew it is the same raster: work that was begun goes on.
    assert sources[0].fingerprint == sources[1].fingerprint
    shown += [repr(sources[0]), describe_raster(urls[0]).format(), repr(describe_raster(urls[0]))]
    web.files["/scene.tif"] = cog.read_bytes()[:50_000]
    reader.close_thread_dataset()
    with pytest.raises(InputError) as caught:
        sources[0].read(Window(0, 0, 2048, 2048))
    shown += [str(caught.value), repr(find_scenes(urls)), find_scenes(urls)[0].id]
    for text in (*shown, *(record.getMessage() for record in caplog.records), *capfd.readouterr()):
        assert SECRET not in text
    assert "/scene.tif" in shown[0]
    assert find_scenes(urls)[0].path == urls[0]


def test_an_area_leaves_out_what_lies_elsewhere(web: WebServer, cog: Path) -> None:
    web.files["/scene.tif"] = cog.read_bytes()
    sources = [f"{web.url}/scene.tif", f"{web.url}/gone.tif"]
    with rasterio.open(cog) as raster:
        west, south, east, north = transform_bounds(raster.crs, 4326, *raster.bounds)
    found = find_scenes(sources, aoi=f"{west},{south},{east},{north}")
    assert [one.id for one in found] == ["scene", "gone"]
    assert [one.id for one in find_scenes(sources, aoi="1,2,3,4")] == ["gone"]


def test_an_address_without_an_ending_is_asked_what_it_is(web: WebServer, cog: Path, make_item: object) -> None:
    web.files |= {"/download": cog.read_bytes(), "/items/x": make_item("x", f"{web.url}/download")}
    found = find_scenes([f"{web.url}/download", f"{web.url}/items/x", f"{web.url}/gone"])
    assert [one.id for one in found] == ["download", "gone"]
    assert open_raster(found[0].path).grid.rows == 2048


@pytest.fixture(scope="module")
def s3(cog: Path) -> Iterator[str]:
    """An S3-compatible server with the COG in the bucket `scenes`; its URL."""
    moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    boto3 = pytest.importorskip("boto3")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=url, **keys)
    client.create_bucket(Bucket="scenes")
    client.put_object(Bucket="scenes", Key="a/scene.tif", Body=cog.read_bytes())
    for key in ("a/notes.txt", "a/b/scene.tif", "a/b/other.TIF", "a/stack.vrt", "z.tif"):
        client.put_object(Bucket="scenes", Key=key, Body=b"-")
    yield url
    server.stop()


# What GDAL has read of the environment it keeps: each way gets a process of its own.
READ = """
import sys
from geoseg.catalog.find import find_scenes
from geoseg.grid import Window
from geoseg.raster.source import open_raster
(scene,) = find_scenes(["s3://scenes/a/scene.tif"])
print(scene.id, scene.path, open_raster(scene.path).read(Window(0, 0, 64, 64))[0].sum())
"""


@pytest.mark.parametrize("way", ["aws", "aws for s3", "gdal"])
def test_s3_is_read_where_the_environment_says(s3: str, cog: Path, way: str) -> None:
    host = urlsplit(s3).netloc
    settings = {
        "aws": {"AWS_ENDPOINT_URL": s3},
        "aws for s3": {"AWS_ENDPOINT_URL": "https://127.0.0.1:1", "AWS_ENDPOINT_URL_S3": s3},
        "gdal": {"AWS_S3_ENDPOINT": host, "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"},
    }[way]
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
    done = subprocess.run(
        [sys.executable, "-c", READ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **keys, **settings},
    )
    with rasterio.open(cog) as raster:
        total = raster.read(window=((0, 64), (0, 64))).sum()
    assert done.stdout.split() == ["scene", "/vsis3/scenes/a/scene.tif", str(total)], done.stderr
    assert SECRET not in done.stderr


DRAW = """
import sys
from geoseg.layers.overlay import render_overlay
from geoseg.legend import LAND_COVER
render_overlay("/vsis3/scenes/a/scene.tif", sys.argv[1], sys.argv[2], legend=LAND_COVER, max_px=256)
"""


def test_a_picture_is_drawn_where_the_environment_says(s3: str, tmp_path: Path) -> None:
    grid = GeoGrid(CRS.from_epsg(32737).to_wkt(), Affine(0.5, 0, 530_000, 0, -0.5, 9_330_000), 2048, 2048)
    write_class_raster(tmp_path / "classes.tif", grid, [], legend=LAND_COVER)
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
    # Elsewhere it must not look for long.
    wrong = {"GDAL_HTTP_MAX_RETRY": "0", "GDAL_HTTP_CONNECTTIMEOUT": "2", "HTTPS_PROXY": "http://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", DRAW, tmp_path / "classes.tif", tmp_path / "picture.png"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **keys, **wrong, "AWS_ENDPOINT_URL": s3},
    )
    assert (tmp_path / "picture.png").exists(), done.stderr


# What lists a store holds the interpreter, in which the server of this test runs.
FIND = """
import sys
from geoseg.catalog.find import find_scenes
from geoseg.errors import GeosegError
for source in sys.argv[1:]:
    try:
        print(" ".join(scene.path.removeprefix("/vsis3/scenes/") for scene in find_scenes([source])))
    except GeosegError as error:
        print("error:", error.found, "|", error.remedy)
"""


def test_folders_and_patterns_of_a_bucket(s3: str) -> None:
    expected = {
        "s3://scenes/a/": "a/b/other.TIF a/b/scene.tif a/scene.tif",
        "s3://scenes/a/*.tif": "a/scene.tif",
        "s3://scenes/**/sc*.tif": "a/b/scene.tif a/scene.tif",
        "/vsis3/scenes/*": "z.tif",
        "s3://scenes/none/": "error: /vsis3/scenes/none/",
        "s3://scenes/a/*.jp2": "error: /vsis3/scenes/a/*.jp2: no raster among 5 object(s)",
        "s3://gone/": "error: /vsis3/gone/: cannot be listed",
    }
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": s3}
    command = [sys.executable, "-c", FIND, *expected]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env={**os.environ, **keys})
    lines = done.stdout.splitlines()
    assert len(lines) == len(expected), done.stderr
    for line, text in zip(lines, expected.values(), strict=True):
        assert line == text if not text.startswith("error") else line.startswith(text) and "| check" in line
    assert SECRET not in done.stdout + done.stderr


def test_a_bucket_that_is_not_there_is_named(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": SECRET, "ENDPOINT_URL": s3}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    (scene,) = find_scenes(["s3://none/scene.tif"])
    with pytest.raises(InputError, match="/vsis3/none") as caught:
        open_raster(scene.path)
    assert SECRET not in str(caught.value)
