"""The command line in processes that are forked with everything imported and compiled: a run costs what it does.

Each has a process id, limits, an environment and ends of its own, as one that a shell starts.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from geoseg.cli import main
from tests.faults.door import close_door, hold

TIME_S = 300.0
NOBODY = 65_534
WORK = ".geoseg/map.fgb"
"""Where a run keeps its tiles, beside its outputs."""
Act = Callable[[], object]

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["pytest", "tests.faults.warm"])


class Run:
    """`geoseg WORDS` at work.

    Args:
        words: of the command line.
        before: called in the process first; a function that can be pickled.
    """

    def __init__(self, *words: object, before: Act | None = None) -> None:
        file, self._said = tempfile.mkstemp(prefix="geoseg-said-")
        os.close(file)
        os.chmod(self._said, 0o666)
        arguments = [str(word) for word in words], self._said, before
        self.process: ForkServerProcess = _PROCESSES.Process(target=_work, args=arguments, daemon=True)
        self.process.start()

    def wait(self, seconds: float = TIME_S) -> int:
        """The exit code; negative: the signal that ended it."""
        self.process.join(seconds)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            raise AssertionError(f"still at work after {seconds} s:\n{self.said}")
        return code

    @property
    def at_work(self) -> bool:
        return self.process.is_alive()

    @property
    def said(self) -> str:
        """What it wrote to its two ends so far."""
        return Path(self._said).read_text()

    def send(self, number: int) -> None:
        # It may end at any moment, also between a look and a signal.
        with suppress(ProcessLookupError):
            os.kill(self.process.pid or 0, number)


def run(*words: object, code: int = 0, before: Act | None = None) -> str:
    """Run `geoseg WORDS` to its end; gives what it said."""
    started = Run(*words, before=before)
    ended = started.wait()
    assert ended == code, f"{ended}: {started.said}"
    return started.said


def refuse(*words: object, before: Act | None = None) -> str:
    """Run `geoseg WORDS`, which must end with a message for its user; gives that."""
    said = run(*words, code=2, before=before)
    assert "Traceback" not in said, said
    assert "expected: " in said or "remedy: " in said, said
    return said


def _work(words: list[str], said: str, before: Act | None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which under nohup all processes ignore
    sys.argv = ["geoseg", *words]
    target = os.open(said, os.O_WRONLY | os.O_APPEND)
    for end in (1, 2):
        os.dup2(target, end)
    os.close(target)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115  (for good)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    import tests.faults.warm  # noqa: F401, PLC0415  (a fork has it; a server that could not find it says nothing)

    if before is not None:
        before()
    main()


def act(*acts: Act) -> Act:
    """One after the other."""
    return partial(_act, acts)


def _act(acts: tuple[Act, ...]) -> None:
    for one in acts:
        one()


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


@contextmanager
def open_folder_of_nobody() -> Iterator[Path]:
    """A folder that belongs to a user without rights, on a way that this user may go."""
    if os.geteuid():
        pytest.skip("only root may become somebody else")
    with tempfile.TemporaryDirectory() as place:
        os.chown(place, NOBODY, NOBODY)
        os.chmod(place, 0o755)
        yield Path(place)


@contextmanager
def mount_small(folder: Path, size: int) -> Iterator[Path]:
    """A file system of its own with room for so many bytes."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def segment_words(scene: Path, folder: Path, *options: object, layer: str = "map.fgb") -> list[object]:
    """A run of 16 tiles with every output."""
    rasters = ["--classes-raster", folder / "classes.tif", "--confidence-raster", folder / "confidence.tif"]
    tiling = ["--tile-px", 1, "--patch-px", 512, "--workers", 2]
    return ["segment", scene, "-o", folder / layer, *rasters, *tiling, "--roads", "--quiet", *options]


@contextmanager
def hold_midway(words: list[object], work: Path, *, before: Act | None = None) -> Iterator[Run]:
    """A run that has some tiles in its work directory, lacks others, and goes on once the block is left."""
    with close_door() as door:
        started = Run(*words, before=act(*filter(None, [before]), partial(hold, door.path)))
        wait_for(door.admit_until(lambda: len(list((work / "classes").glob("r*"))) > 2), started)
        yield started


def read_files(folder: Path) -> dict[str, bytes]:
    """All files in a folder, if there is one, by name; a work directory is a folder."""
    return {path.name: path.read_bytes() for path in folder.glob("*") if path.is_file()}


def list_leavings(folder: Path) -> list[str]:
    """What a run left half-written beside its outputs or in its work directory."""
    return [str(path) for path in folder.rglob("*") if ".part" in path.name]


def wait_for(condition: Callable[[], object], run: Run, seconds: float = TIME_S) -> None:
    """Until a condition holds while a run is at work."""
    end = time.monotonic() + seconds
    while not condition() and run.at_work and time.monotonic() < end:
        time.sleep(0.002)
    assert condition(), run.said
