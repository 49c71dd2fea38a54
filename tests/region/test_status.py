"""Where a region run is can be read at any time, from its files alone."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

import pytest

from geoseg.errors import InputError
from geoseg.region.state import RegionFolder, SceneState, hold_region, is_held, write_json
from geoseg.region.status import format_duration, read_status


def make_region(directory: Path, states: dict[str, SceneState | None], *, kept: str = "", stage: str = "scenes") -> Any:
    """A region's directory in the midst of the run "now", whose scenes have 1 Mpx each."""
    scenes = {name: {"pixels": 1_000_000, "kept": name in kept.split()} for name in states}
    write_json(directory / "batch.json", {"run": "now", "stage": stage, "scenes": scenes})
    for name, state in states.items():
        if state is not None:
            RegionFolder(directory).write_state(name, state)
    return directory


def done(run: str = "now", seconds: float = 2.0) -> SceneState:
    return SceneState("done", run, pixels=1_000_000, seconds=seconds)


def test_of_a_run_at_work(tmp_path: Path) -> None:
    half = SceneState("running", "now", pixels=1_000_000, pixels_done=500_000, seconds=1.0)
    failed = SceneState("failed", "now", reason="cut off\n  expected: a whole one")
    states = {"a": done(), "b": failed, "c": half, "d": None, "e": None}
    with hold_region(make_region(tmp_path, states)):
        status = read_status(tmp_path)
    assert (status.state, status.done, status.failed.keys(), status.left) == ("running", 1, {"b"}, 2)
    assert status.running == {"c": 0.5}
    assert (status.pixels, status.pixels_done) == (5_000_000, 1_500_000)
    assert status.mpx_per_s == pytest.approx(0.5)
    assert status.seconds_left == pytest.approx(5.0)  # 2.5 Mpx
    assert json.loads(json.dumps(status.to_dict()))["left"] == 2
    text = status.format()
    for words in ("running, scenes", "1 done, 1 running, 1 failed, 2 left", "0.50 Mpx/s, 5 s left", "c (50%)"):
        assert words in text
    assert "failed: b: cut off\n" in f"{text}\n"


def test_of_one_that_died(tmp_path: Path) -> None:
    states = {"a": done(), "b": SceneState("running", "now", pixels=1_000_000), "c": None}
    status = read_status(make_region(tmp_path, states))
    assert (status.state, status.done, status.running, status.left) == ("stopped", 1, {}, 2)
    assert status.seconds_left is None
    assert "the same `geoseg batch` command goes on from here" in status.format()


def test_what_earlier_runs_did_counts_where_it_is_of_use(tmp_path: Path) -> None:
    failed = SceneState("failed", "before", reason="cut off")
    states = {"kept": done("before"), "stale": done("before"), "failed": failed}
    status = read_status(make_region(tmp_path, states, kept="kept"))
    assert (status.done, status.failed, status.left) == (1, {}, 2)
    assert status.mpx_per_s is None


def test_of_one_that_finished(tmp_path: Path) -> None:
    outside = SceneState("outside", "now", pixels=1_000_000, reason="no pixel")
    make_region(tmp_path, {"a": done(), "b": outside}, stage="layers")
    write_json(tmp_path / "report.json", {"run": "now"})
    status = read_status(tmp_path)
    assert (status.state, status.done, status.outside, status.left) == ("finished", 1, 1, 0)
    assert (status.pixels, status.pixels_done) == (1_000_000, 1_000_000)
    write_json(tmp_path / "report.json", {"run": "before"})
    assert read_status(tmp_path).state == "stopped"


def test_of_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no region's directory"):
        read_status(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_of_one_that_has_only_begun(tmp_path: Path) -> None:
    with hold_region(tmp_path):
        status = read_status(tmp_path)
    assert (status.state, status.done, status.left) == ("running", 0, 0)


def test_asking_does_not_keep_a_run_out(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    assert not is_held(tmp_path)
    with (tmp_path / "lock").open() as asker:
        # Held as somebody holds it who asks, for as long as a run tries.
        fcntl.flock(asker, fcntl.LOCK_SH)
        assert not is_held(tmp_path)
        fcntl.flock(asker, fcntl.LOCK_UN)
        with hold_region(tmp_path):
            assert is_held(tmp_path)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (7260, "2 h 01 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
