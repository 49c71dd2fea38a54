"""What goes wrong in a tile reaches the caller as it is, whoever computed the tile."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import rasterio
from dask.delayed import Delayed, delayed
from distributed import LocalCluster

import geoseg
from geoseg.run import graph
from geoseg.run.scheduler import OnReceipt, keep_processes, open_scheduler
from geoseg.tiles.store import TileReceipt
from tests.conftest import CORNER, UTM, MakeRaster

LOCAL = pytest.param("local", marks=pytest.mark.cluster)
SCHEDULERS = ["threads", LOCAL]


def make_receipt(number: int) -> TileReceipt:
    return TileReceipt("traces", (0, number), f"tile {number}", 1, 0.0, computed=True)


def fail_with(error: Exception) -> TileReceipt:
    raise error


def make_nodes(count: int, task: Callable[[int], TileReceipt] = make_receipt) -> list[Delayed]:
    return [delayed(task, pure=False)(i, dask_key_name=("traces", 0, i)) for i in range(count)]


def compute_receipts(
    nodes: list[Delayed],
    scheduler: str = "threads",
    workers: int | None = None,
    on_receipt: OnReceipt = lambda _: None,
) -> list[TileReceipt]:
    with open_scheduler(scheduler, workers) as compute:
        return compute(nodes, on_receipt)


def test_receipts_come_in_the_order_of_the_nodes_and_each_is_reported_once() -> None:
    reported: list[TileReceipt] = []
    receipts = compute_receipts(make_nodes(9), workers=2, on_receipt=reported.append)
    assert receipts == [make_receipt(i) for i in range(9)]
    assert sorted(reported, key=lambda r: r.tile) == receipts


class TestFaultsOfTiles:
    @pytest.fixture(autouse=True, scope="class")
    def kept(self) -> Iterator[None]:
        """These tests do no harm to processes, and share them."""
        with keep_processes():
            yield

    @pytest.mark.parametrize("scheduler", SCHEDULERS)
    @pytest.mark.parametrize(
        "error",
        [geoseg.InputError("a hole in the file", expected="a file", remedy="mend it"), ZeroDivisionError("by 0")],
    )
    def test_an_exception_reaches_the_caller_as_it_is(self, scheduler: str, error: Exception) -> None:
        nodes = [*make_nodes(3), delayed(fail_with, pure=False)(error, dask_key_name=("traces", 0, 3))]
        with pytest.raises(type(error)) as caught:
            compute_receipts(nodes, scheduler=scheduler, workers=1)
        assert str(caught.value) == str(error)
        assert vars(caught.value) == vars(error)

    @pytest.mark.parametrize("scheduler", SCHEDULERS)
    def test_a_bad_tile_leaves_nothing_half_written(
        self, tmp_path: Path, make_raster: MakeRaster, scheduler: str
    ) -> None:
        """The value stands in the last of 16 tiles."""
        classes = np.ones((1, 80, 80), np.int16)
        classes[0, 79, 79] = 1000
        path = make_raster(classes, "classes.tif")
        with pytest.raises(geoseg.InputError, match="value 1000"):
            geoseg.polygonize(path, tmp_path / "map.gpkg", tile_px=20, scheduler=scheduler, workers=1)
        assert {p.name for p in tmp_path.iterdir()} == {"classes.tif", ".geoseg"}
        assert not [path for path in tmp_path.rglob("*.safetensors") if path.name.startswith(".")]
        with rasterio.open(path, "r+") as raster:
            raster.write(np.ones((1, 1), np.int16), 1, window=((79, 80), (79, 80)))
        assert geoseg.polygonize(path, tmp_path / "map.gpkg", tile_px=20).polygons == {"1": 1}


def read_undecodable(path: str) -> TileReceipt:
    with suppress(Exception):
        rasterio.open(path)
    return make_receipt(0)


@pytest.mark.cluster
def test_metadata_that_are_no_text_are_no_noise_in_processes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.vrt"
    path.write_bytes(b'<VRTDataset rasterXSize="9" rasterYSize="9"><SRS>EPSG:\xff\xe932737</SRS><Geo\xff></VRTDataset>')
    node = delayed(read_undecodable, pure=False)(str(path), dask_key_name=("traces", 0, 0))
    compute_receipts([node], scheduler="local", workers=1)
    assert "UnicodeDecodeError" not in capfd.readouterr().err


def test_no_tile_is_at_work_once_the_error_is_out() -> None:
    """Another run may hold the work directory by then."""
    begun, ended = threading.Event(), threading.Event()

    def work(number: int) -> TileReceipt:
        if number == 0:
            begun.wait(10)
            raise ZeroDivisionError
        begun.set()
        time.sleep(0.5)
        ended.set()
        return make_receipt(number)

    with pytest.raises(ZeroDivisionError):
        compute_receipts(make_nodes(2, work), workers=2)
    assert ended.is_set()


def test_two_runs_at_a_time_keep_their_own_account(tmp_path: Path, make_raster: MakeRaster) -> None:
    raster = make_raster(np.random.default_rng(1).integers(0, 3, (1, 60, 60)).astype(np.uint8), "classes.tif")
    together = threading.Barrier(2)

    def run(tile_px: int) -> geoseg.SegmentResult:
        together.wait()
        return geoseg.polygonize(raster, tmp_path / f"{tile_px}.fgb", tile_px=tile_px, workers=1)

    with ThreadPoolExecutor(2) as pool:
        fine, coarse = pool.map(run, [10, 20])
    assert (fine.tiles, fine.tiles_computed) == (36, 36)
    assert (coarse.tiles, coarse.tiles_computed) == (9, 9)
    assert fine.polygons == coarse.polygons


def die_once(flag: str, number: int) -> TileReceipt:
    if number == 2 and not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return make_receipt(number)


@pytest.mark.cluster
def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    task = delayed(die_once, pure=False)
    nodes = [task(str(tmp_path / "died"), i, dask_key_name=("traces", 0, i)) for i in range(5)]
    reported: list[TileReceipt] = []
    receipts = compute_receipts(nodes, scheduler="local", workers=1, on_receipt=reported.append)
    assert receipts == sorted(reported, key=lambda r: r.tile) == [make_receipt(i) for i in range(5)]
    assert (tmp_path / "died").exists()


BAD_ADDRESSES = [
    "tcp://127.0.0.1:1",
    "tcp://127.0.0.1:port",
    "tcp://127.0.0.1:99999",
    "tcp://",
    "gopher://127.0.0.1:8786",
    "slurm",
    "",
]


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_a_scheduler_that_is_none(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr("geoseg.run.scheduler.CONNECT_TIMEOUT_S", 1)
    with pytest.raises(geoseg.OptionError) as caught:
        compute_receipts(make_nodes(1), scheduler=address)
    assert caught.value.expected
    assert address in caught.value.found


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"\0" * 64], ids=["silent", "ssh", "zeros"])
def test_what_listens_is_no_scheduler(monkeypatch: pytest.MonkeyPatch, greeting: bytes) -> None:
    """It takes calls, and a client would wait for its first word, or for the rest of it."""
    monkeypatch.setattr("geoseg.run.scheduler.CONNECT_TIMEOUT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        calls: list[socket.socket] = []

        def listen() -> None:
            with suppress(OSError):
                while True:
                    calls.append(listener.accept()[0])
                    calls[-1].sendall(greeting)

        threading.Thread(target=listen, daemon=True).start()
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(geoseg.OptionError, match=f"no dask scheduler answers at {address}"):
            compute_receipts(make_nodes(1), scheduler=address)
    for call in calls:
        call.close()


@pytest.mark.parametrize("text", ["", "tcp://127.0.0.1:1", "[]", '{"id": 1}', '{"address": 5}', '{"address": "tls:"}'])
def test_a_scheduler_file_that_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(text)
    with pytest.raises(geoseg.OptionError, match=r"scheduler\.json"):
        compute_receipts(make_nodes(1), scheduler=str(file))


@pytest.mark.cluster
def test_a_worker_is_no_scheduler() -> None:
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address=None, host="127.0.0.1", protocol="tcp") as cluster,
        pytest.raises(geoseg.OptionError, match="a dask worker answers"),
    ):
        compute_receipts(make_nodes(1), scheduler=cluster.workers[0].address)


def test_threads_need_no_distributed(tmp_path: Path, make_raster: MakeRaster) -> None:
    """It costs a third of a second, and as much again when the process ends."""
    path = make_raster(np.ones((1, 9, 9), np.uint8), "classes.tif")
    code = f"import sys, geoseg; geoseg.polygonize({str(path)!r}, {str(tmp_path / 'map.fgb')!r})\n"
    code += "sys.exit('distributed' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.cluster
def test_a_scheduler_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoseg.run.scheduler.WORKERS_TIMEOUT_S", 1)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=None, host="127.0.0.1", protocol="tcp") as cluster,
        pytest.raises(geoseg.OptionError, match="no worker"),
    ):
        compute_receipts(make_nodes(1), scheduler=cluster.scheduler_address)


def test_workers_are_told_absolute_paths(
    tmp_path: Path, make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker on another machine has a working directory of its own."""
    make_raster(np.random.default_rng(1).integers(0, 255, (3, 40, 40)).astype(np.uint8), "scene.tif")
    (tmp_path / "model").symlink_to(geoseg.load_model("landcover-rgb").path)
    monkeypatch.chdir(tmp_path)
    jobs: list[graph.Job] = []
    monkeypatch.setattr("geoseg.run.segment.execute", lambda job, *_, **__: jobs.append(job))
    geoseg.segment("scene.tif", "map.gpkg", model="./model")
    (job,) = jobs
    assert isinstance(job.classes, graph.Prediction)
    for path in (job.classes.model, job.classes.source.path, job.store.directory):
        assert Path(path).is_absolute()
    assert job.classes.source.grid.transform == CORNER
    assert rasterio.CRS.from_wkt(job.plan.grid.crs) == UTM
