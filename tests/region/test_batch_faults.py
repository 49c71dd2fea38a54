"""Region runs that are killed, interrupted, doubled and watched, in processes of their own."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
from functools import partial
from pathlib import Path

import pytest

from geoseg.region import batch
from geoseg.region.status import BatchStatus, read_status
from tests.faults.door import close_door, hold, wait_at
from tests.faults.prepared import Run, act, refuse, run, wait_for
from tests.region.running import batch_words, read_outputs, write_scene

KILLS = 4


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scenes."""
    folder = tmp_path_factory.mktemp("many") / "scenes"
    for number, name in enumerate("abcd"):
        write_scene(folder / f"{name}.tif", number)
    return folder


@pytest.fixture(scope="module")
def calm(many: Path) -> dict[str, bytes]:
    """What a run makes that nobody disturbs."""
    run(*make_words(many, many.parent / "out"))
    return read_outputs(many.parent / "out")


def make_words(many: Path, directory: Path) -> list[str]:
    return batch_words(many, directory, "--quiet", "--classes-raster")


def test_killed_at_random_moments(many: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
    """Nothing is lost, nothing is half-written, and in the end everything is as if nobody had disturbed it."""
    chance = random.Random(os.environ.get("GEOSEG_TEST_SEED", "6"))
    out = tmp_path / "out"
    for scenes in chance.sample(range(5), KILLS):
        # Moments are counted in scenes, as machines are of different speed; in between, any.
        with close_door() as door:
            started = Run(*make_words(many, out), before=partial(hold, door.path))
            wait_for(door.admit_until(lambda: len(list(out.glob("scenes/*/classes.tif"))) >= scenes), started)  # noqa: B023
        started.process.join(chance.uniform(0.0, 0.2))
        started.send(signal.SIGKILL)
        code = started.wait()
        assert code in (0, -signal.SIGKILL), started.said
        if (out / "batch.json").exists():
            status = read_status(out)
            # A kill may also come when all is done.
            assert status.state == "finished" or (status.state == "stopped" and code)
            assert status.done + status.left == 4
        for path in out.rglob("*.json"):
            if not path.name.startswith("."):
                json.loads(path.read_text())
    run(*make_words(many, out))
    assert read_outputs(out) == calm


@pytest.mark.slow
@pytest.mark.parametrize("place", ["scenes/c/classes.tif", "scenes/c/state.json", "scenes/d/state.json", "region.fgb"])
def test_killed_at_a_certain_moment(many: Path, calm: dict[str, bytes], tmp_path: Path, place: str) -> None:
    started = Run(*make_words(many, tmp_path / "out"))
    wait_for((tmp_path / "out" / place).exists, started)
    started.send(signal.SIGKILL)
    started.wait()
    done = {path.parent.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("scenes/*/report.json")}
    run(*make_words(many, tmp_path / "out"))
    assert read_outputs(tmp_path / "out") == calm
    # Those that were done, but for the one at work, were not done again.
    for name in sorted(done)[:-1]:
        assert (tmp_path / "out/scenes" / name / "report.json").stat().st_mtime_ns == done[name]


def test_two_processes(many: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
    with close_door() as door:
        first = Run(*make_words(many, tmp_path / "out"), before=partial(hold, door.path))
        wait_for((tmp_path / "out/batch.json").exists, first)
        assert "another run is at work in" in refuse(*batch_words(many, tmp_path / "out", "--quiet"))
    assert (first.wait(), first.said) == (0, "")
    assert read_outputs(tmp_path / "out") == calm


@pytest.mark.slow
def test_two_processes_at_the_same_moment(many: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
    both = [Run(*make_words(many, tmp_path / "out")) for _ in range(2)]
    codes = sorted(started.wait() for started in both)
    # The second one may come when the first is done.
    assert codes in ([0, 2], [0, 0]), [started.said for started in both]
    assert read_outputs(tmp_path / "out") == calm


def test_status_while_it_runs(many: Path, tmp_path: Path) -> None:
    """It is held before every scene, and before the layers."""
    running: list[BatchStatus] = []

    def look() -> bool:
        running.append(read_status(tmp_path / "out"))
        return running[-1].stage == "layers"

    with close_door() as door, close_door() as last:
        started = Run(
            *make_words(many, tmp_path / "out"),
            before=act(partial(hold, door.path), partial(hold_layers, last.path)),
        )
        wait_for((tmp_path / "out/batch.json").exists, started)
        wait_for(door.admit_until(look), started)
    assert (started.wait(), started.said) == (0, "")
    assert {status.state for status in running} == {"running"}
    counts = [status.done for status in running]
    assert counts == sorted(counts)
    assert len(set(counts)) > 2
    assert all(status.done + len(status.running) + status.left == 4 for status in running)
    assert any(status.running for status in running)
    assert any(status.seconds_left for status in running)
    assert {status.stage for status in running} == {"scenes", "layers"}
    assert read_status(tmp_path / "out").state == "finished"


def hold_layers(door: Path) -> None:
    make_outputs = batch.make_outputs

    def make_later(*given: object) -> object:
        wait_at(door)
        return make_outputs(*given)

    batch.make_outputs = make_later


@pytest.mark.slow
def test_interrupted(many: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
    with close_door() as door:
        started = Run(*make_words(many, tmp_path / "out"), before=partial(hold, door.path))
        wait_for(door.admit_until((tmp_path / "out/scenes/a/report.json").exists), started)
        started.send(signal.SIGINT)
    assert started.wait() == 130, started.said
    assert "interrupted; without --fresh the same command goes on from here" in started.said
    assert "Traceback" not in started.said
    assert read_status(tmp_path / "out").state == "stopped"
    run(*make_words(many, tmp_path / "out"))
    assert read_outputs(tmp_path / "out") == calm


def test_no_room_for_a_file(many: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: what is written beyond fails in the middle."""
    words = make_words(many, tmp_path / "out")
    said = refuse(*words, before=limit_size)
    assert "cannot be written" in said
    assert "the same command goes on from here" in said
    run(*words)
    assert read_outputs(tmp_path / "out") == calm


def limit_size() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
