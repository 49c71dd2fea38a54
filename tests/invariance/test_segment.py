"""Tiling is invisible: the files do not tell how, where, in what order or in how many attempts they were made."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from geopandas.testing import assert_geodataframe_equal

import geoseg
from geoseg.models.engine import open_engine
from geoseg.run import graph
from geoseg.run.segment import DEFAULT_MODEL
from tests.faults.prepared import Run, run
from tests.invariance.clusters import open_cluster
from tests.invariance.running import assert_same_bytes, segment_arguments, segment_to

FEW, MANY = 3, 10


def test_two_threads(scene: Path, reference: Path, tmp_path: Path) -> None:
    segment_to(tmp_path, scene, "--workers", 2)
    assert_same_bytes(tmp_path, reference)


@pytest.mark.parametrize("tile_px", [1300, 5000])
def test_tile_size(scene: Path, reference: Path, tmp_path: Path, tile_px: int) -> None:
    run(*segment_arguments(tmp_path, scene), "--tile-px", tile_px, before=use_shipped_model)
    assert_same_bytes(tmp_path, reference)


@pytest.mark.cluster
def test_two_processes(scene: Path, reference: Path, tmp_path: Path) -> None:
    segment_to(tmp_path, scene, "--scheduler", "local", "--workers", 2)
    assert_same_bytes(tmp_path, reference)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dask scheduler and two dask workers, each a process of its own; gives the address."""
    with open_cluster(tmp_path_factory.mktemp("cluster"), workers=2) as cluster:
        cluster.await_workers()
        yield cluster.address


@pytest.mark.cluster
def test_a_real_cluster(scene: Path, reference: Path, tmp_path: Path, cluster: str) -> None:
    segment_to(tmp_path, scene, "--scheduler", cluster)
    assert_same_bytes(tmp_path, reference)


def use_shipped_model() -> None:
    graph.open_engine = open_engine


def count_tiles(work: Path) -> int:
    return sum(path.is_file() for path in work.rglob("r*"))


@pytest.mark.parametrize("kills", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_killed_and_continued(scene: Path, reference: Path, tmp_path: Path, kills: int) -> None:
    chance = random.Random(os.environ.get("GEOSEG_TEST_SEED", "5"))
    # A kill may also come when all is written: then the outputs exist, and only --overwrite lets a run look at them.
    words = [*segment_arguments(tmp_path, scene), "--overwrite"]
    work = tmp_path / ".geoseg/layer.fgb"
    for _ in range(kills):
        # Moments are counted in tiles, as machines are of different speed.
        goal = count_tiles(work) + chance.randrange(5)
        started = Run(*words, before=use_shipped_model)
        while started.at_work and count_tiles(work) < goal:
            time.sleep(0.002)
        started.send(signal.SIGKILL)
        assert started.wait() in (0, -signal.SIGKILL), started.said
    run(*words, before=use_shipped_model)
    assert_same_bytes(tmp_path, reference)
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in reference.iterdir()}


def test_geopackages_hold_equal_features_in_equal_order(scene: Path, tmp_path: Path) -> None:
    layers = []
    for tile_px in (1, 5000):
        result = geoseg.segment(scene, tmp_path / f"{tile_px}.gpkg", tile_px=tile_px, patch_px=1024)
        layers.append(geoseg.open_layer(result.output))
    assert_geodataframe_equal(*layers)


class TestSecondRun:
    """What is done stays done; what changed is done again."""

    def run(self, folder: Path, image: Path, **options: object) -> geoseg.SegmentResult:
        keep = {"work_dir": folder / "work", "tile_px": 1, "patch_px": 1024, "overwrite": True}
        return geoseg.segment(image, folder / "map.gpkg", **(keep | options))

    def test_a_finished_job_does_no_work(self, scene: Path, tmp_path: Path) -> None:
        first = self.run(tmp_path, scene)
        made = (tmp_path / "map.gpkg").stat().st_mtime_ns
        second = self.run(tmp_path, scene)
        assert first.tiles_computed == first.tiles > 1
        assert second.tiles_computed == 0
        assert second.polygons == first.polygons
        assert (tmp_path / "map.gpkg").stat().st_mtime_ns == made

    def test_a_lost_output_is_made_again_from_finished_tiles(self, scene: Path, tmp_path: Path) -> None:
        self.run(tmp_path, scene)
        (tmp_path / "map.gpkg").unlink()
        assert self.run(tmp_path, scene).tiles_computed == 0
        assert (tmp_path / "map.gpkg").exists()

    def test_another_filter_reuses_the_tiles(self, scene: Path, tmp_path: Path) -> None:
        first = self.run(tmp_path, scene)
        second = self.run(tmp_path, scene, min_area_m2=50.0)
        assert second.tiles_computed == 0
        assert sum(second.polygons.values()) < sum(first.polygons.values())

    def test_one_lost_tile_is_computed_alone(self, scene: Path, tmp_path: Path) -> None:
        self.run(tmp_path, scene)
        for stage in ("classes", "traces"):
            sorted((tmp_path / "work" / stage).iterdir())[0].unlink()
        (tmp_path / "map.gpkg").unlink()
        assert self.run(tmp_path, scene).tiles_computed == 1

    def test_fresh_computes_everything(self, scene: Path, tmp_path: Path) -> None:
        first = self.run(tmp_path, scene)
        assert self.run(tmp_path, scene, fresh=True).tiles_computed == first.tiles

    def test_a_changed_input_is_noticed(self, scene: Path, tmp_path: Path) -> None:
        image = tmp_path / "scene.tif"
        image.write_bytes(scene.read_bytes())
        first = self.run(tmp_path, image)
        image.write_bytes(scene.read_bytes())
        os.utime(image, (1, 1))
        assert self.run(tmp_path, image).tiles_computed == first.tiles

    def test_a_changed_model_is_noticed(self, scene: Path, tmp_path: Path) -> None:
        package = tmp_path / "package"
        shutil.copytree(geoseg.load_model(DEFAULT_MODEL).path, package)
        first = self.run(tmp_path, scene, model=package)
        assert self.run(tmp_path, scene, model=package).tiles_computed == 0
        description = package / "model.json"
        description.write_text(description.read_text().replace('"geoseg:version": "1.0"', '"geoseg:version": "1.1"'))
        assert self.run(tmp_path, scene, model=package).tiles_computed == first.tiles

    def test_a_changed_option_is_noticed(self, scene: Path, tmp_path: Path) -> None:
        self.run(tmp_path, scene)
        assert self.run(tmp_path, scene, tile_px=5000).tiles_computed == 1


def test_a_cpu_run_imports_no_torch(scene: Path, tmp_path: Path) -> None:
    code = (
        "import sys, geoseg\n"
        f"geoseg.segment({str(scene)!r}, {str(tmp_path / 'map.gpkg')!r}, device='cpu')\n"
        "sys.exit(bool({'torch', 'torchvision', 'segmentation_models_pytorch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
