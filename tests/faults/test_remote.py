"""Servers that fail, stall, ignore what was asked, or hold another file than a moment ago."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import rasterio

from geoseg.raster import reader
from tests.catalog.servers import WebServer, serve
from tests.faults.prepared import WORK, Run, hold_midway, read_files, refuse, run, segment_words

LENIENT = {"RETRY_DELAY": 0.05, "MAX_RETRY": 2}
IMPATIENT = {"LOW_SPEED_TIME": 1, "TIMEOUT": 5}


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serve() as server:
        yield server


def be_quick() -> None:
    """Pauses and limits of a test."""
    for name, value in LENIENT.items():
        reader.REMOTE_SETTINGS[f"GDAL_HTTP_{name}"] = value


def be_impatient() -> None:
    """With a server that says nothing: whoever is slow is not."""
    be_quick()
    for name, value in IMPATIENT.items():
        reader.REMOTE_SETTINGS[f"GDAL_HTTP_{name}"] = value


def make_layers(files: dict[str, bytes]) -> dict[str, bytes]:
    """The rasters: a layer names its source."""
    return {name: content for name, content in files.items() if name in ("classes.tif", "confidence.tif")}


def test_faults_that_pass(web: WebServer, scene: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
    """Before and in the middle of the run; two in a row are tried again."""
    web.files["/scene.tif"] = scene.read_bytes()
    web.failures["/scene.tif"] = [503, 429]
    words = segment_words(f"{web.url}/scene.tif", tmp_path)
    with hold_midway(words, tmp_path / WORK, before=be_quick) as started:
        web.failures["/scene.tif"] = [500, 502]
    assert started.wait() == 0, started.said
    assert not web.failures["/scene.tif"]
    assert read_files(tmp_path) == calm


def test_a_fault_that_stays_is_named_and_the_same_command_goes_on(
    web: WebServer, scene: Path, calm: dict[str, bytes], tmp_path: Path
) -> None:
    web.files["/scene.tif"] = scene.read_bytes()
    words = segment_words(f"{web.url}/scene.tif", tmp_path)
    with hold_midway(words, tmp_path / WORK, before=be_quick) as started:
        web.failures["/scene.tif"] = [503] * 1000
    assert started.wait() == 2, started.said
    assert f"{web.url}/scene.tif" in started.said
    assert "Traceback" not in started.said
    assert not read_files(tmp_path)
    web.failures.clear()
    run(*words, before=be_quick)
    assert read_files(tmp_path) == calm


def test_a_server_that_falls_silent(web: WebServer, scene: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
    web.files["/scene.tif"] = scene.read_bytes()
    words = segment_words(f"{web.url}/scene.tif", tmp_path)
    web.stalled.add("/scene.tif")
    assert f"{web.url}/scene.tif" in refuse(*words, before=be_impatient)
    web.stalled.clear()
    run(*words, before=be_quick)
    assert read_files(tmp_path) == calm


def test_another_file_midway(web: WebServer, scene: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
    """Of the same size, at the same place."""
    web.files["/scene.tif"] = scene.read_bytes()
    other = tmp_path / "other.tif"
    other.write_bytes(scene.read_bytes())
    with rasterio.open(other, "r+") as raster:
        raster.write(255 - raster.read())
    words = segment_words(f"{web.url}/scene.tif", tmp_path / "out")
    with hold_midway(words, tmp_path / "out" / WORK, before=be_quick) as started:
        web.files["/scene.tif"] = other.read_bytes()
    assert started.wait() == 2, started.said
    assert "Traceback" not in started.said
    assert f"{web.url}/scene.tif" in started.said
    assert not read_files(tmp_path / "out")
    web.files["/scene.tif"] = scene.read_bytes()
    run(*words, before=be_quick)
    assert read_files(tmp_path / "out") == calm


class Careless(BaseHTTPRequestHandler):
    """Sends the whole file whatever was asked for; or says that it will, and leaves."""

    content = b""
    leaves = 0
    pause_s = 0.0

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        part = self.answer()
        try:
            if Careless.leaves:
                Careless.leaves -= 1
                self.wfile.write(part[: len(part) // 2])
                self.connection.close()
            else:
                for start in range(0, len(part), 1 << 16):
                    self.wfile.write(part[start : start + (1 << 16)])
                    time.sleep(Careless.pause_s)
        except OSError:
            pass

    def answer(self) -> bytes:
        part = Careless.content
        self.send_response(200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Type", "image/tiff")
        self.end_headers()
        return part


@pytest.fixture
def careless(scene: Path) -> Iterator[str]:
    Careless.content, Careless.leaves, Careless.pause_s = scene.read_bytes(), 0, 0.0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Careless)
    server.daemon_threads = True
    thread = threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.02))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/scene.tif"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("fault", ["no ranges", "leaves", "slow"])
def test_a_server_that_knows_no_ranges(careless: str, calm: dict[str, bytes], tmp_path: Path, fault: str) -> None:
    """It is read all the same, or named; never are its first bytes taken for others."""
    Careless.leaves = 2 if fault == "leaves" else 0
    Careless.pause_s = 0.01 if fault == "slow" else 0.0
    words = segment_words(careless, tmp_path)
    started = Run(*words, before=be_quick)
    if started.wait():
        assert started.process.exitcode == 2, started.said
        assert "Traceback" not in started.said
        assert careless in started.said
        assert not read_files(tmp_path)
    else:
        assert read_files(tmp_path) == calm
