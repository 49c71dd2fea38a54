"""The work directory: finished tiles stay finished, whatever happens to the run."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from geoseg.errors import OutputError
from geoseg.files import replace_file
from geoseg.tiles.plan import Tile

STATE_FILE = "run.json"
LOCK_FILE = "lock"
JOB_KEY = "geoseg job"
STAGES = CLASSES, SOURCES, COMPONENTS, CHANGES, PARTS, TRACES, ROADS, JOIN = (
    "classes",
    "sources",
    "components",
    "changes",
    "parts",
    "traces",
    "roads",
    "join",
)
"""The folders of a work directory; nothing else in it is ever removed."""


@dataclass(frozen=True, slots=True)
class TileReceipt:
    """That a stage is done with a tile: where its result lies, its size in bytes, and the seconds it took.

    `computed` is False where an earlier run had done it.
    """

    stage: str
    tile: tuple[int, int]
    path: str
    bytes: int
    seconds: float
    computed: bool


@dataclass(frozen=True, slots=True)
class TileStore:
    """One folder a stage, one file a tile, each written whole or not at all."""

    directory: Path

    def path(self, stage: str, tile: Tile, suffix: str) -> Path:
        """Where a stage keeps a tile."""
        return self.directory / stage / f"{tile.name}{suffix}"

    def finished(self, stage: str, tile: Tile, suffix: str) -> TileReceipt | None:
        """The receipt of a tile that an earlier run finished, if one did."""
        path = self.path(stage, tile, suffix)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return None
        if size == 0:
            return None
        return TileReceipt(stage, tile.id, str(path), size, 0.0, computed=False)

    def empty_folder(self, stage: str) -> Path:
        """An empty folder for a stage that starts anew in every run."""
        folder = self.directory / stage
        _remove_folder(folder)
        folder.mkdir()
        return folder

    def keep_stage(self, stage: str, key: str) -> None:
        """Forget a stage's tiles unless they were made under the same key."""
        state = self.read_state()
        keys = state.get("stages", {})
        if keys.get(stage) != key:
            _remove_folder(self.directory / stage)
            self.write_state(state | {"stages": keys | {stage: key}})

    def read_state(self) -> dict[str, Any]:
        """What the last run said of itself; empty where there was none or it cannot be read."""
        try:
            state = json.loads((self.directory / STATE_FILE).read_text())
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def write_state(self, state: dict[str, Any]) -> None:
        """Replace what the run says of itself.

        Raises:
            FileNotFoundError: what it had said, and so the whole directory, was taken away.
        """
        if JOB_KEY not in state:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.directory / STATE_FILE))
        with replace_file(self.directory / STATE_FILE) as temporary:
            temporary.write_text(json.dumps(state, indent=1, sort_keys=True))

    def clear(self) -> None:
        """Forget every tile and the state."""
        self.clear_tiles()
        (self.directory / STATE_FILE).unlink(missing_ok=True)

    def clear_tiles(self) -> None:
        """Forget every tile and keep the state."""
        for stage in STAGES:
            _remove_folder(self.directory / stage)


@contextmanager
def hold_store(directory: Path, fingerprint: str, *, fresh: bool = False) -> Iterator[TileStore]:
    """Open or make a work directory and keep other runs out of it; the lock goes with the process, however it ends.

    Tiles of another fingerprint, or all with `fresh`, are removed first.

    Raises:
        OutputError: it cannot be made or written, another run holds it, or it holds files of other origin; or, while it
            is held, a file cannot be written or is taken away.
    """
    with ExitStack() as held:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            store = TileStore(directory)
            _refuse_foreign(store)
            lock = held.enter_context((directory / LOCK_FILE).open("w"))
            _lock(lock, directory)
            if fresh or store.read_state().get(JOB_KEY) != fingerprint:
                store.clear()
                store.write_state({JOB_KEY: fingerprint})
        except OSError as error:
            raise OutputError(
                f"the work directory {directory} cannot be used: {error.strerror or error}",
                expected="a directory that can be written",
                remedy="choose another --work-dir",
            ) from error
        with _name_faults(store):
            yield store


@contextmanager
def _name_faults(store: TileStore) -> Iterator[None]:
    """A disk that is full, fails or is taken away in the middle of a run is no fault of the program."""
    try:
        yield
    except (ConnectionError, TimeoutError):  # a network's
        raise
    except OSError as error:
        raise OutputError(
            f"{error.filename or f'a file in {store.directory}'} cannot be used: {error.strerror or error}",
            expected="a work directory that stays, on a disk with room",
            remedy="free some space, or choose another --work-dir; the same command goes on from here",
        ) from error
    finally:
        if JOB_KEY not in store.read_state():
            # It was taken away, and tiles that came later made it anew: nobody would know whose they are.
            store.clear_tiles()


def _remove_folder(folder: Path) -> None:
    if not folder.exists():
        return
    try:
        shutil.rmtree(folder)
    except OSError as error:
        # What is left of it would be taken for finished work of another job.
        raise OutputError(
            f"{folder} cannot be removed: {error.strerror or error}",
            expected="a work directory of which everything can be removed",
            remedy="remove it, or choose another --work-dir",
        ) from error


def _refuse_foreign(store: TileStore) -> None:
    # A run may have been killed before it said what it is.
    begun = (LOCK_FILE, f".{Path(STATE_FILE).stem}.")
    is_begun = all(entry.name.startswith(begun) for entry in store.directory.iterdir())
    if JOB_KEY not in store.read_state() and not is_begun:
        raise OutputError(
            f"{store.directory} holds files and is not a work directory",
            expected="an empty or new directory, or one that an earlier run made",
            remedy="choose another --work-dir, or remove it where nothing in it is needed",
        )


def _lock(lock: IO[str], directory: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(
            f"another run is at work in {directory}",
            expected="one run a work directory",
            remedy="wait for it, or choose another output or --work-dir",
        ) from error
