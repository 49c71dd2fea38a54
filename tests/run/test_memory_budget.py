"""The budget: what a run needs is known before it starts, and a refusal says what would do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import geoseg
from geoseg.grid import GeoGrid
from geoseg.legend import LAND_COVER
from geoseg.raster.classes import ClassRaster
from geoseg.raster.reader import RasterSource
from geoseg.raster.scale import ByteScale
from geoseg.raster.scene import SceneInfo
from geoseg.run.job import Job, LayerOptions, Prediction
from geoseg.run.machine import default_workers
from geoseg.run.memory import check_budget, format_bytes, parse_bytes, run_bytes, task_bytes
from geoseg.run.outputs import Execution
from geoseg.tiles.patches import PatchLattice
from geoseg.tiles.plan import TilePlan
from geoseg.tiles.store import TileStore
from tests.conftest import CORNER, UTM

WORKSPACE = 500.0
GRID = GeoGrid(UTM, CORNER, 50_000, 60_000)


def make_job(tile_px: int, *, predicts: bool = True, patch_px: int = 1024, bands: int = 3, dtype: str = "uint8") -> Job:
    source = RasterSource("scene.tif", GRID, tuple(range(1, bands + 1)), dtype, ByteScale())
    lattice = PatchLattice(patch_px, 192, (40, 48))
    classes: Prediction | ClassRaster = ClassRaster(source, None, None)
    core_px = (tile_px, tile_px)
    if predicts:
        classes, core_px = Prediction(source, "model", "0", True, "cpu", lattice, None), lattice.tile_px(tile_px)
    store = TileStore(Path("work"))
    return Job(TilePlan(GRID, core_px), classes, LAND_COVER, (), store, LayerOptions(), SceneInfo(None, None), {})


sizes = st.integers(1, 8000)
jobs = st.builds(make_job, sizes, predicts=st.booleans())


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GiB", 4 * 2**30),
        ("500MB", 500_000_000),
        ("1.5 gib", 3 * 2**29),
        (" 2000 ", 2000),
        ("7k", 7000),
        ("3Ki", 3072),
        (".5TiB", 2**39),
        ("12B", 12),
        (77, 77),
        (None, None),
    ],
)
def test_sizes(text: str | int | None, size: int | None) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "lots", "-4GiB", "4 GiB of it", "GiB", "1e9", "nan", "inf", "4,5GiB", "9" * 400])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(geoseg.OptionError, match="--memory") as caught:
        parse_bytes(text)
    assert "4GiB" in caught.value.expected


@given(st.integers(0, 2**60))
def test_a_size_for_people_is_near(size: int) -> None:
    found = parse_bytes(format_bytes(size))
    assert found == pytest.approx(size, rel=0.006, abs=1)


@given(jobs, st.integers(1, 64), st.booleans())
def test_more_workers_need_more(job: Job, workers: int, processes: bool) -> None:
    needed = [run_bytes(job, WORKSPACE, n, processes=processes) for n in (workers, workers + 1)]
    assert needed[1] >= needed[0] + task_bytes(job, WORKSPACE)
    assert run_bytes(job, WORKSPACE, workers, processes=True) > run_bytes(job, WORKSPACE, workers, processes=False)


@given(sizes, sizes, st.booleans())
def test_larger_tiles_need_more(one: int, other: int, predicts: bool) -> None:
    small, large = (make_job(px, predicts=predicts) for px in sorted([one, other]))
    assert task_bytes(small, WORKSPACE) <= task_bytes(large, WORKSPACE)


def test_larger_patches_and_wider_values_need_more() -> None:
    assert task_bytes(make_job(1000, patch_px=512), WORKSPACE) < task_bytes(make_job(1000), WORKSPACE)
    assert task_bytes(make_job(1000), WORKSPACE) < task_bytes(make_job(1000, dtype="float64"), WORKSPACE)
    assert task_bytes(make_job(1000), WORKSPACE) < task_bytes(make_job(1000, bands=8), WORKSPACE)


@given(jobs, st.integers(1, 32))
def test_the_raster_s_size_does_not_count(job: Job, workers: int) -> None:
    larger = replace(job, plan=replace(job.plan, grid=GeoGrid(UTM, CORNER, 500_000, 600_000)))
    assert run_bytes(job, WORKSPACE, workers, processes=False) == run_bytes(larger, WORKSPACE, workers, processes=False)


@given(sizes, st.booleans(), st.integers(1, 16), st.sampled_from(["threads", "local"]), st.integers(2**20, 40 * 2**30))
def test_the_remedy_is_accepted(tile_px: int, predicts: bool, workers: int, scheduler: str, budget: int) -> None:
    """Every alternative that a refusal names, taken literally, passes."""
    job, execution = make_job(tile_px, predicts=predicts), Execution(scheduler, workers)
    try:
        check_budget(job, WORKSPACE, execution, budget)
    except geoseg.BudgetError as error:
        found, remedies = error.found, error.remedy.split(", or ")
    else:
        assert run_bytes(job, WORKSPACE, workers, processes=scheduler == "local") <= budget
        return
    assert "--memory" in found
    for remedy in remedies:
        options = dict(re.findall(r"--([a-z-]+) (\w+)", remedy))
        assert options
        assert set(options) <= {"workers", "tile-px", "patch-px", "memory"}
        patch_px = int(options.get("patch-px", 1024))
        tried = make_job(int(options.get("tile-px", tile_px)), predicts=predicts, patch_px=patch_px)
        memory = parse_bytes(options["memory"]) if "memory" in options else budget
        check_budget(tried, WORKSPACE, Execution(scheduler, int(options.get("workers", workers))), memory)


@given(jobs, st.sampled_from(["threads", "local"]), st.integers(2**29, 40 * 2**30))
def test_workers_that_nobody_asked_for_are_as_many_as_fit(job: Job, scheduler: str, budget: int) -> None:
    try:
        workers = check_budget(job, WORKSPACE, Execution(scheduler), budget).workers or default_workers()
    except geoseg.BudgetError:
        assert run_bytes(job, WORKSPACE, 1, processes=scheduler == "local") > budget
        return
    assert run_bytes(job, WORKSPACE, workers, processes=scheduler == "local") <= budget
    more = run_bytes(job, WORKSPACE, workers + 1, processes=scheduler == "local")
    assert workers == default_workers() or more > budget


def test_without_a_budget_the_machine_is_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    job, execution = make_job(8000), Execution(workers=2)
    needed = run_bytes(job, WORKSPACE, 2, processes=False)
    monkeypatch.setattr("geoseg.run.memory.available_bytes", lambda: needed)
    check_budget(job, WORKSPACE, execution, None)
    monkeypatch.setattr("geoseg.run.memory.available_bytes", lambda: needed - 1)
    with pytest.raises(geoseg.BudgetError, match="has left"):
        check_budget(job, WORKSPACE, execution, None)
    check_budget(job, WORKSPACE, execution, needed)
    check_budget(job, WORKSPACE, Execution("tcp://127.0.0.1:1", 2), None)
    monkeypatch.setattr("geoseg.run.memory.available_bytes", lambda: None)
    check_budget(job, WORKSPACE, execution, None)


def test_a_refused_run_reads_and_writes_nothing(
    tmp_path: Path, class_raster: Callable[..., Path], monkeypatch: Any
) -> None:
    path = class_raster(np.ones((50, 50), np.uint8))
    monkeypatch.setattr(ClassRaster, "read", lambda *_: pytest.fail("read"))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(geoseg.BudgetError):
        geoseg.polygonize(path, tmp_path / "map.gpkg", memory="10MiB")
    assert sorted(tmp_path.rglob("*")) == before
