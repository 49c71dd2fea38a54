"""Region runs that are killed, interrupted, doubled and watched, in processes of their own."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from geoseg.region.status import BatchStatus, read_status
from tests.region.light import GATE
from tests.region.running import LIGHT, ROOT, batch_words, read_outputs, run_light, write_scene

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
    run_light(*batch_words(many, many.parent / "out", "--quiet", "--classes-raster"))
    return read_outputs(many.parent / "out")


def start(many: Path, directory: Path, *, gate: Path | None = None) -> subprocess.Popen[str]:
    words = batch_words(many, directory, "--quiet", "--classes-raster")
    env = os.environ | ({GATE: str(gate)} if gate else {})
    ends = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen([*LIGHT, *words], cwd=ROOT, text=True, env=env, **ends)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not condition() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    assert condition() or process.poll() == 0, process.stderr and process.stderr.read()


def test_killed_at_random_moments(many: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
    """Nothing is lost, nothing is half-written, and in the end everything is as if nobody had disturbed it."""
    chance = random.Random(os.environ.get("GEOSEG_TEST_SEED", "6"))
    out = tmp_path / "out"
    for scenes in chance.sample(range(5), KILLS):
        process = start(many, out)
        # Moments are counted in scenes, as machines are of different speed; in between, any.
        wait_for(lambda: (out / "lock").exists() and len(list(out.glob("scenes/*/classes.tif"))) >= scenes, process)  # noqa: B023
        with process:
            time.sleep(chance.uniform(0.0, 0.7))
            process.kill()
        if (out / "batch.json").exists():
            status = read_status(out)
            # A kill may also come when all is done.
            assert status.state == "finished" or (status.state == "stopped" and process.returncode)
            assert status.done + status.left == 4
        for path in out.rglob("*.json"):
            if not path.name.startswith("."):
                json.loads(path.read_text())
    run_light(*batch_words(many, out, "--quiet", "--classes-raster"))
    assert read_outputs(out) == calm


@pytest.mark.slow
@pytest.mark.parametrize("place", ["scenes/c/classes.tif", "scenes/c/state.json", "scenes/d/state.json", "region.fgb"])
def test_killed_at_a_certain_moment(many: Path, calm: dict[str, bytes], tmp_path: Path, place: str) -> None:
    process = start(many, tmp_path / "out")
    wait_for((tmp_path / "out" / place).exists, process)
    process.kill()
    process.communicate()
    done = {path.parent.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("scenes/*/report.json")}
    run_light(*batch_words(many, tmp_path / "out", "--quiet", "--classes-raster"))
    assert read_outputs(tmp_path / "out") == calm
    # Those that were done, but for the one at work, were not done again.
    for name in sorted(done)[:-1]:
        assert (tmp_path / "out/scenes" / name / "report.json").stat().st_mtime_ns == done[name]


def test_two_processes(many: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    first = start(many, tmp_path / "out", gate=gate)
    wait_for((tmp_path / "out/batch.json").exists, first)
    second = run_light(*batch_words(many, tmp_path / "out", "--quiet"), code=2)
    assert "another run is at work in" in second.stderr
    gate.unlink()
    assert first.communicate(timeout=120)[1] == ""
    assert first.returncode == 0
    assert read_outputs(tmp_path / "out") == calm


@pytest.mark.slow
def test_two_processes_at_the_same_moment(many: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
    both = [start(many, tmp_path / "out") for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    codes = sorted(process.returncode for process in both)
    # The second one may come when the first is done.
    assert codes in ([0, 2], [0, 0]), said
    assert read_outputs(tmp_path / "out") == calm


def test_status_while_it_runs(many: Path, tmp_path: Path) -> None:
    seen: list[BatchStatus] = []
    process = start(many, tmp_path / "out")
    wait_for((tmp_path / "out/batch.json").exists, process)
    while process.poll() is None:
        seen.append(read_status(tmp_path / "out"))
        time.sleep(0.02)
    assert process.communicate()[1] == ""
    running = [status for status in seen if status.state == "running"]
    counts = [status.done for status in running]
    assert counts == sorted(counts)
    assert len(set(counts)) > 2
    assert all(status.done + len(status.running) + status.left == 4 for status in running)
    assert any(status.running for status in running)
    assert any(status.seconds_left for status in running)
    assert {status.stage for status in running} == {"scenes", "layers"}
    assert read_status(tmp_path / "out").state == "finished"


@pytest.mark.slow
def test_interrupted(many: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
    process = start(many, tmp_path / "out")
    wait_for((tmp_path / "out/scenes/a/state.json").exists, process)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "interrupted; without --fresh the same command goes on from here" in said
    assert "Traceback" not in said
    assert read_status(tmp_path / "out").state == "stopped"
    run_light(*batch_words(many, tmp_path / "out", "--quiet", "--classes-raster"))
    assert read_outputs(tmp_path / "out") == calm


def test_no_room_for_a_file(many: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: what is written beyond fails in the middle."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    words = batch_words(many, tmp_path / "out", "--quiet", "--classes-raster")
    call = [*LIGHT, *words]
    done = subprocess.run(
        call,
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
        preexec_fn=limit,
    )
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr
    assert "the same command goes on from here" in done.stderr
    assert "Traceback" not in done.stderr
    run_light(*words)
    assert read_outputs(tmp_path / "out") == calm
