"""The directory of a region run: what it says of itself, and who may write into it."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from geoseg.errors import OutputError
from geoseg.files import replace_file

BATCH_FILE, STATE_FILE, REPORT_FILE, PAGE_FILE, LOCK_FILE = (
    "batch.json",
    "state.json",
    "report.json",
    "report.html",
    "lock",
)
CLASSES, CONFIDENCE, THUMBNAIL = "classes.tif", "confidence.tif", "thumbnail.png"
LOCK_TRIES, LOCK_PAUSE_S = 5, 0.1

Stamp = tuple[int, int, str]
"""Size in bytes, time of the last change in ns, SHA-256."""


@dataclass(frozen=True, slots=True)
class SceneState:
    """Where a scene is.

    Attributes:
        state: "running" also of one whose run ended before it did; "outside": the area holds no pixel of it.
        run: which run wrote this.
        key: changes whenever a class of the scene could.
        attempts: how often that run tried.
        reason: why it failed or is left out; without credentials.
        pixels: of the raster; 0 where it could not be opened.
        pixels_done: of a running one.
        seconds: that the last attempt took.
        files: its rasters.
    """

    state: Literal["running", "done", "failed", "outside"]
    run: str
    key: str = ""
    attempts: int = 0
    reason: str = ""
    pixels: int = 0
    pixels_done: int = 0
    seconds: float = 0.0
    files: dict[str, Stamp] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RegionFolder:
    """Where things are in the directory of a region run."""

    directory: Path

    @property
    def work(self) -> Path:
        """What is of use to the next run only."""
        return self.directory / ".geoseg"

    def scene(self, scene_id: str) -> Path:
        """The folder of a scene's outputs."""
        return self.directory / "scenes" / scene_id

    def scene_work(self, scene_id: str) -> Path:
        """The work directory of a scene's tiles."""
        return self.work / "scenes" / scene_id

    def forget_work(self, kept: set[str]) -> None:
        """Remove the tiles of all scenes but some; a kill may have left those of scenes that are done."""
        for place in (self.work / "scenes").glob("*"):
            if place.name not in kept:
                remove_folder(place)

    def scene_ids(self) -> list[str]:
        """All scenes that any run has made, sorted."""
        folder = self.directory / "scenes"
        return sorted(place.name for place in folder.iterdir() if place.is_dir()) if folder.is_dir() else []

    def read_state(self, scene_id: str) -> SceneState | None:
        """Where a scene is; None where that is not known."""
        try:
            return SceneState(**read_json(self.scene(scene_id) / STATE_FILE))
        except TypeError:
            return None

    def write_state(self, scene_id: str, state: SceneState) -> SceneState:
        """Replace what is known of a scene."""
        write_json(self.scene(scene_id) / STATE_FILE, dataclasses.asdict(state))
        return state


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an object, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


def stamp_file(path: Path) -> Stamp:
    """What tells whether a file is still the same.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
        facts = os.fstat(file.fileno())
    return facts.st_size, facts.st_mtime_ns, checksum


def is_same_file(path: Path, stamp: Stamp) -> bool:
    """Whether a file is there and what it was; one that was copied is read to find out."""
    size, time_ns, checksum = stamp
    try:
        facts = path.stat()
        return facts.st_size == size and (facts.st_mtime_ns == time_ns or stamp_file(path)[2] == checksum)
    except OSError:
        return False


def remove_folder(folder: Path) -> None:
    """Remove what is of no more use.

    Raises:
        OutputError: something of it stays.
    """
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(f"{folder} cannot be removed: {error.strerror or error}", remedy="remove it") from error


@contextmanager
def hold_region(directory: Path) -> Iterator[RegionFolder]:
    """Open or make the directory of a region run and keep other runs out; the lock goes with the process.

    Raises:
        OutputError: it cannot be made or written, another run holds it, or it holds files of other origin.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(directory)
        lock = (directory / LOCK_FILE).open("a")
    except OSError as error:
        raise OutputError(
            f"the directory {directory} cannot be used: {error.strerror or error}",
            expected="a directory that can be written",
            remedy="choose another one with -o",
        ) from error
    with lock:
        _lock(lock, directory)
        yield RegionFolder(directory)


def is_held(directory: Path) -> bool:
    """Whether a run is at work in a directory."""
    try:
        with (directory / LOCK_FILE).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _refuse_foreign(directory: Path) -> None:
    # A run may have been killed before it said what it is.
    begun = (LOCK_FILE, f".{Path(BATCH_FILE).stem}.")
    if not (directory / BATCH_FILE).exists() and any(not p.name.startswith(begun) for p in directory.iterdir()):
        raise OutputError(
            f"{directory} holds files and is no region's directory",
            expected="an empty or new directory, or one that an earlier `geoseg batch` made",
            remedy="choose another one with -o",
        )


def _lock(lock: IO[str], directory: Path) -> None:
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # It may be held for a moment by somebody who asks whether it is.
            time.sleep(LOCK_PAUSE_S)
        else:
            return
    raise OutputError(
        f"another run is at work in {directory}",
        expected="one run a directory",
        remedy=f"wait for it, or choose another one with -o; `geoseg batch --status {directory}` tells where it is",
    )
