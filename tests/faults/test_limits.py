"""Too little of everything: open files, memory, a home, places for temporary files; ends that nobody reads."""

from __future__ import annotations

import functools
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import geoseg
from tests.conftest import MakeRaster
from tests.faults.prepared import (
    Run,
    list_leavings,
    mount_small,
    read_files,
    refuse,
    run,
    segment_words,
)
from tests.region.running import LIGHT, ROOT

TILES, WORKERS = 1024, 64
FILES_PER_WORKER = 4


def limit_files(number: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))


def limit_memory(more: int) -> None:
    """So many bytes more than the process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def reset_temporary_folder(place: Path) -> None:
    """What TMPDIR does to a process that starts."""
    tempfile.tempdir = None
    os.environ["TMPDIR"] = str(place)


def test_few_open_files(scene: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
    started = Run(*segment_words(scene, tmp_path), before=functools.partial(limit_files, 64))
    assert started.wait() == 0, started.said
    assert read_files(tmp_path) == calm


@pytest.mark.parametrize("number", [63, 14])
def test_too_few_open_files(scene: Path, tmp_path: Path, number: int) -> None:
    said = refuse(*segment_words(scene, tmp_path), before=functools.partial(limit_files, number))
    assert f"only {number} files may be open" in said
    assert "ulimit -n" in said
    assert not list_leavings(tmp_path)
    assert not read_files(tmp_path)


@pytest.mark.parametrize("mib", [4, 16, 48])
def test_little_memory(scene: Path, calm: dict[str, bytes], tmp_path: Path, mib: int) -> None:
    words = segment_words(scene, tmp_path, "--workers", 1)
    started = Run(*words, before=functools.partial(limit_memory, mib * 2**20))
    if started.wait():
        assert started.process.exitcode == 2, started.said
        assert "Traceback" not in started.said
        assert "memory" in started.said
        assert not list_leavings(tmp_path)
        run(*words, "--overwrite")
    assert read_files(tmp_path) == calm


def test_a_thousand_tiles_at_a_time(make_raster: MakeRaster, tmp_path: Path) -> None:
    noise = np.random.default_rng(3).integers(0, 3, (1, 256, 256)).astype(np.uint8)
    path = make_raster(noise, "classes.tif")
    geoseg.polygonize(path, tmp_path / "calm.fgb", min_unit_m2=1.0, workers=1)
    before, most, over = count_open_files(), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.005):
            most = max(most, count_open_files())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = geoseg.polygonize(path, tmp_path / "map.fgb", tile_px=8, min_unit_m2=1.0, workers=WORKERS)
    finally:
        over.set()
        watcher.join()
    assert result.tiles == TILES
    assert most - before <= FILES_PER_WORKER * WORKERS
    assert count_open_files() <= before + 4
    assert (tmp_path / "map.fgb").read_bytes() == (tmp_path / "calm.fgb").read_bytes()


def count_open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


class TestSurroundings:
    def test_no_home_no_temporary_folder_and_plain_ascii(
        self, scene: Path, calm: dict[str, bytes], tmp_path: Path
    ) -> None:
        """And a folder whose name ASCII does not have. Not even root may write into /proc."""
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LC_ALL": "C", "LANG": "C"}
        environment |= {
            "TMPDIR": "/proc/nowhere",
            "HOME": "/proc/nowhere",
        }
        environment |= {"OMP_NUM_THREADS": "1"}
        folder = tmp_path / "Gläser-地図"
        folder.mkdir()
        shutil.copy(scene, folder / "scene.tif")
        words = [str(word) for word in segment_words(folder / "scene.tif", folder) if word != "--quiet"]
        done = subprocess.run(
            [*LIGHT, *words], cwd=ROOT, env=environment, capture_output=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
        assert os.fsencode(folder / "map.fgb") in done.stdout
        files = read_files(folder)
        del files["scene.tif"]
        assert files == calm

    def test_a_full_temporary_folder(self, scene: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
        with mount_small(tmp_path / "tmp", 4096) as disk:
            (disk / "full").write_bytes(bytes(4096))
            run(
                *segment_words(scene, tmp_path / "out", layer="map.fgb"),
                before=functools.partial(reset_temporary_folder, disk),
            )
        assert read_files(tmp_path / "out") == calm


class TestEnds:
    def test_nobody_reads_what_it_says(self, scene: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
        """As of `geoseg segment ... 2>&1 | head -0`: the work is done all the same, the exit code tells of the pipe."""
        words = [word for word in segment_words(scene, tmp_path) if word != "--quiet"]
        run(*words, before=close_ends, code=1)
        assert read_files(tmp_path) == calm

    def test_no_ends_at_all(self, scene: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
        """As of `geoseg segment ... >&- 2>&-`."""
        words = [word for word in segment_words(scene, tmp_path) if word != "--quiet"]
        run(*words, before=lose_ends)
        assert read_files(tmp_path) == calm

    def test_no_terminal(self, scene: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
        words = [word for word in segment_words(scene, tmp_path) if word != "--quiet"]
        said = run(*words)
        assert "\x1b" not in said
        assert "\r" not in said
        assert "16 of 16 tiles computed" in said
        assert read_files(tmp_path) == calm


def close_ends() -> None:
    """Nobody is at the other end of stdout and stderr."""
    reading, writing = os.pipe()
    os.close(reading)
    for end in (1, 2):
        os.dup2(writing, end)
    os.close(writing)


def lose_ends() -> None:
    sys.stdout = sys.stderr = None  # type: ignore[assignment]  # what Python gives a process without them
    for end in (1, 2):
        os.close(end)


class TestClocks:
    def test_a_clock_that_jumps(self, scene: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
        words = [word for word in segment_words(scene, tmp_path) if word != "--quiet"]
        said = run(*words, before=disturb_clock)
        assert read_files(tmp_path) == calm
        assert " in -" not in said
        assert "-0." not in said

    @pytest.mark.parametrize("when", [1.0, 4e9], ids=["1970", "2096"])
    def test_an_input_of_another_time(self, scene: Path, calm: dict[str, bytes], tmp_path: Path, when: float) -> None:
        image = tmp_path / "scene.tif"
        shutil.copy(scene, image)
        os.utime(image, (when, when))
        out = tmp_path / "out"
        run(*segment_words(image, out, "--work-dir", tmp_path / "work"))
        assert read_files(out) == calm
        # The same input is the same.
        (out / "map.fgb").unlink()
        words = [word for word in segment_words(image, out, "--work-dir", tmp_path / "work") if word != "--quiet"]
        assert "had been computed by an earlier run" in run(*words, "--overwrite")
        assert read_files(out) == calm


def disturb_clock() -> None:
    """The time of day goes back an hour whenever somebody asks."""
    real, asked = time.time, iter(range(10**9))
    time.time = lambda: real() - 3600 * next(asked)
