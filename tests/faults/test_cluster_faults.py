"""A cluster whose parts end while a run is at work."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import door
from tests.faults.prepared import Run, read_files, run, segment_words, wait_for
from tests.invariance.clusters import end, open_cluster

pytestmark = pytest.mark.cluster


def list_tiles(work: Path) -> dict[Path, int]:
    return {tile: tile.stat().st_mtime_ns for tile in (work / "classes").glob("r*")}


def test_a_worker_and_then_the_scheduler_are_killed(
    scene: Path, calm: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a worker the others do its work; without a scheduler the run says so, and goes on with a new one."""
    out, work = tmp_path / "out", tmp_path / "work"
    with door.close_door() as closed:
        monkeypatch.setenv(door.DOOR, str(closed.path))
        with open_cluster(tmp_path, workers=2, preload=door.__name__) as cluster:
            cluster.await_workers()
            words = segment_words(scene, out, "--scheduler", cluster.file, "--work-dir", work)
            started = Run(*words)
            wait_for(closed.admit_until(lambda: len(list_tiles(work)) > 1), started)
            end(cluster.workers[0])
            seen = len(list_tiles(work))
            wait_for(closed.admit_until(lambda: len(list_tiles(work)) > seen + 2), started)
            end(cluster.scheduler)
            assert started.wait() == 2, started.said
            assert "scheduler is gone" in started.said
            assert "the same command goes on" in started.said
            assert not read_files(out)
    done = list_tiles(work)
    assert 0 < len(done) < 16
    with open_cluster(tmp_path, workers=1, preload=door.__name__):
        run(*words)
    assert read_files(out) == calm
    after = list_tiles(work)
    assert len(after) == 16
    assert after.items() >= done.items()
