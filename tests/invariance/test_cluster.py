"""A cluster of processes: little is said, nothing is lost, whoever comes is used."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dask.delayed import Delayed, delayed

import geoseg
from geoseg.run.scheduler import open_scheduler
from geoseg.tiles.store import CLASSES, TRACES, TileReceipt
from tests.conftest import MakeRaster
from tests.invariance.clusters import START_S, Cluster, CountingProxy, open_cluster

pytestmark = pytest.mark.cluster
TRAFFIC_BYTES = 10_000
MOST_AHEAD = 8


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with open_cluster(tmp_path, workers=1) as cluster:
        yield cluster


def name_process(stage: str, number: int, together: Path | None) -> TileReceipt:
    """A task that tells which process did it, and keeps step with the other process that does such tasks."""
    if together is not None:
        with (together / str(os.getpid())).open("a") as own:
            own.write(".")
        end = time.monotonic() + START_S
        while is_ahead(together):
            assert time.monotonic() < end, "the other one has nothing to do"
            time.sleep(0.005)
    return TileReceipt(stage, (0, number), str(os.getpid()), 1, 0.0, computed=True)


def is_ahead(together: Path) -> bool:
    """Whether this process has begun so many more of the tasks than the other one."""
    begun = {path.name: path.stat().st_size for path in together.iterdir()}
    own = begun.pop(str(os.getpid()))
    return own - sum(begun.values()) > MOST_AHEAD


def make_nodes(count: int, together: Path | None = None, *, stage: str = TRACES) -> list[Delayed]:
    if together is not None:
        together.mkdir()
    task = delayed(name_process, pure=False)
    return [task(stage, i, together, dask_key_name=(f"{stage}-run", 0, i)) for i in range(count)]


@pytest.fixture
def noise(make_raster: MakeRaster) -> Path:
    return make_raster(np.random.default_rng(3).integers(0, 3, (1, 320, 320)).astype(np.uint8), "classes.tif")


def test_tasks_carry_receipts_only(cluster: Cluster, noise: Path, tmp_path: Path) -> None:
    """All that the scheduler hears and says, to and from workers and the run, from the first byte to the last."""
    proxy = CountingProxy(cluster.address)
    cluster.workers.pop().kill()
    cluster.add_worker(at=proxy.address)
    cluster.add_worker(at=proxy.address)
    traffic = []
    for tile_px in (64, 32):
        before = proxy.bytes
        result = geoseg.polygonize(
            noise, tmp_path / f"{tile_px}.fgb", tile_px=tile_px, scheduler=proxy.address, min_unit_m2=1.0
        )
        traffic.append((result.tiles, proxy.bytes - before))
    proxy.close()
    (few, small), (many, large) = traffic
    assert (few, many) == (25, 100)
    print(f"{small} {large}, {(large - small) / (many - few):.0f} a tile")
    assert large / many < TRAFFIC_BYTES
    assert (large - small) / (many - few) < TRAFFIC_BYTES


def test_work_balances_and_an_added_worker_is_used(cluster: Cluster, tmp_path: Path) -> None:
    with open_scheduler(cluster.address) as compute:
        asked = False

        def ask_for_help(_: TileReceipt) -> None:
            nonlocal asked
            if not asked:
                asked = True
                cluster.add_worker()

        receipts = compute(make_nodes(40, tmp_path / "first"), ask_for_help)
        shares = Counter(receipt.path for receipt in receipts)
        assert len(shares) == 2
        again = Counter(receipt.path for receipt in compute(make_nodes(40, tmp_path / "again"), lambda _: None))
    assert set(again) == set(shares)
    assert min(again.values()) >= 15


def test_a_killed_worker_loses_nothing(cluster: Cluster, noise: Path, tmp_path: Path) -> None:
    cluster.add_worker()
    geoseg.polygonize(noise, tmp_path / "calm.fgb", tile_px=64, min_unit_m2=1.0, workers=1)

    class Killer:
        done = 0

        def start(self, stage: str, total: int | None) -> None:
            pass

        def advance(self, steps: int = 1) -> None:
            self.done += steps
            if self.done == 8:
                cluster.workers[0].kill()

        def note(self, text: str) -> None:
            pass

    options = {"tile_px": 64, "min_unit_m2": 1.0, "progress": Killer()}
    result = geoseg.polygonize(noise, tmp_path / "map.fgb", scheduler=cluster.address, **options)
    assert cluster.workers[0].wait(10) != 0
    assert cluster.workers[1].poll() is None
    assert result.tiles == 25
    assert (tmp_path / "map.fgb").read_bytes() == (tmp_path / "calm.fgb").read_bytes()


def test_a_scheduler_file_leads_to_the_cluster(cluster: Cluster, noise: Path, tmp_path: Path) -> None:
    result = geoseg.polygonize(noise, tmp_path / "map.fgb", tile_px=160, scheduler=str(cluster.file))
    assert result.tiles == result.tiles_computed == 4


def test_predictions_go_where_a_gpu_is(cluster: Cluster, tmp_path: Path) -> None:
    gpu = cluster.add_worker("--resources", "GPU=1")
    cluster.await_workers()
    with open_scheduler(cluster.address, gpu=True) as compute:
        predicted = compute(make_nodes(12, stage=CLASSES), lambda _: None)
        traced = compute(make_nodes(12, tmp_path / "together", stage=TRACES), lambda _: None)
    assert {receipt.path for receipt in predicted} == {str(gpu.pid)}
    assert len({receipt.path for receipt in traced}) == 2


def test_without_a_gpu_anywhere_nobody_waits_for_one(cluster: Cluster) -> None:
    with open_scheduler(cluster.address, gpu=True) as compute:
        assert len(compute(make_nodes(3, stage=CLASSES), lambda _: None)) == 3


def test_a_task_that_ends_every_worker(cluster: Cluster) -> None:
    def die(number: int) -> TileReceipt:
        os._exit(1)

    for _ in range(4):
        cluster.add_worker()
    cluster.await_workers()
    with (
        open_scheduler(cluster.address) as compute,
        pytest.raises(geoseg.BudgetError, match="ended 4 workers"),
    ):
        compute([delayed(die, pure=False)(0, dask_key_name=(TRACES, 0, 0))], lambda _: None)


def test_a_lost_scheduler_is_said(cluster: Cluster, tmp_path: Path) -> None:
    with open_scheduler(cluster.address) as compute, pytest.raises(geoseg.GeosegError, match="scheduler is gone"):
        compute(make_nodes(50, tmp_path / "alone"), lambda _: cluster.scheduler.kill())
