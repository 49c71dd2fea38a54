"""A door at which predictions wait until a test lets them through: no test hopes that a run is still at work."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.invariance.light_engine import install, predict_after

DOOR = "GEOSEG_TEST_DOOR"
"""The variable of the environment that tells a dask worker, which has this module as its preload, of its door."""
_numbers = itertools.count()


class Door:
    """Of any number of threads and processes: each leaves a card, and waits until it is taken."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def admit(self) -> None:
        """Let those through who wait."""
        for card in self.path.iterdir():
            card.unlink()

    def admit_until(self, condition: Callable[[], object]) -> Callable[[], bool]:
        """A condition that lets those through who wait as long as it does not hold."""
        return lambda: bool(condition() or self.admit())


@contextmanager
def close_door() -> Iterator[Door]:
    """A door that is open, for all who wait and who come, once the block is left."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "closed"
        path.mkdir()
        for folder, mode in ((path.parent, 0o755), (path, 0o777)):  # others may have to wait as well
            folder.chmod(mode)
        try:
            yield Door(path)
        finally:
            path.rename(path.with_name("open"))


def wait_at(door: Path) -> None:
    card = door / f"{os.getpid()} {next(_numbers)}"
    try:
        card.touch()
    except FileNotFoundError:
        return
    while card.exists():
        time.sleep(0.002)


def hold(door: Path) -> None:
    """Every prediction of this process waits at the door first."""
    predict_after(partial(wait_at, door))


def dask_setup(worker: object) -> None:
    install()
    hold(Path(os.environ[DOOR]))
