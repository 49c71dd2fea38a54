"""Runs that end at any moment, by any signal: the same command goes on, and nothing tells that it had to."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults.prepared import WORK, Run, hold_midway, list_leavings, read_files, run, segment_words
from tests.invariance.light_engine import slow_down

FEW, MANY = 6, 100
STAGES = {"classes", "components", "traces"}
STOPS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def kill_at_random(words: list[object], folder: Path, *, kills: int, within: float) -> None:
    """Kill a run at least so many times, each at another moment of it, until tiles of every stage were there."""
    chance = random.Random(os.environ.get("GEOSEG_TEST_SEED", "7"))
    killed, runs, again, seen = 0, 0, [], set[str]()
    while killed < kills or STAGES - seen:
        assert runs < 100 + 10 * kills
        runs += 1
        started = Run(*words, *again)
        started.process.join(chance.uniform(0.0, within))
        if started.at_work:
            started.send(signal.SIGKILL)
        code = started.wait()
        assert code in (0, -signal.SIGKILL), started.said
        killed += code != 0
        # A kill may also come when all is written: then the outputs exist, and a run that goes on must be told.
        again = ["--overwrite"] if code else ["--overwrite", "--fresh"]
        seen |= {path.relative_to(folder).parts[-2] for path in folder.rglob("r*.*") if path.is_file()}


@pytest.mark.parametrize("kills", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_sigkill_at_random_moments(scene: Path, calm: dict[str, bytes], tmp_path: Path, kills: int) -> None:
    out = tmp_path / "out"
    words = segment_words(scene, out)
    began = time.monotonic()
    run(*segment_words(scene, tmp_path / "first"))
    kill_at_random(words, out, kills=kills, within=time.monotonic() - began)
    run(*words, "--overwrite")
    assert read_files(out) == calm
    assert not list_leavings(out)


@pytest.mark.parametrize("number", STOPS, ids=lambda number: number.name)
def test_a_signal_that_asks_to_stop(scene: Path, calm: dict[str, bytes], tmp_path: Path, number: int) -> None:
    words = segment_words(scene, tmp_path)
    tiles = tmp_path / WORK / "classes"
    with hold_midway(words, tiles.parent, before=slow_down) as started:
        started.send(number)
    assert started.wait() == STOPS[signal.Signals(number)], started.said
    assert "interrupted; without --fresh the same command goes on from here" in started.said
    assert "Traceback" not in started.said
    # Asked to stop, it also clears up.
    assert not list_leavings(tmp_path)
    done = {path: path.stat().st_mtime_ns for path in tiles.glob("r*")}
    assert 2 < len(done) < 16
    run(*words)
    assert read_files(tmp_path) == calm


def test_a_signal_again_and_again(scene: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
    """Whoever is impatient does no harm."""
    words = segment_words(scene, tmp_path)
    with hold_midway(words, tmp_path / WORK, before=slow_down) as started:
        started.send(signal.SIGTERM)
    while started.at_work:
        started.send(signal.SIGTERM)
        time.sleep(0.01)
    assert started.wait() in (143, 130, -signal.SIGTERM)
    run(*words)
    assert read_files(tmp_path) == calm


def test_a_run_that_nobody_may_hang_up(scene: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
    """`nohup geoseg ...` goes on when its terminal is gone."""
    words = segment_words(scene, tmp_path)
    with hold_midway(words, tmp_path / WORK, before=ignore_hang_up) as started:
        started.send(signal.SIGHUP)
    assert started.wait() == 0, started.said
    assert read_files(tmp_path) == calm


def ignore_hang_up() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def test_stopped_and_continued(scene: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
    """As by Ctrl-Z and fg, or a machine that sleeps."""
    words = segment_words(scene, tmp_path)
    with hold_midway(words, tmp_path / WORK) as started:
        started.send(signal.SIGSTOP)
        time.sleep(0.3)
        started.send(signal.SIGCONT)
    assert started.wait() == 0, started.said
    assert read_files(tmp_path) == calm
