"""A dask preload: a model that costs next to nothing and takes its time."""

from __future__ import annotations

from tests.invariance.light_engine import install, slow_down


def dask_setup(worker: object) -> None:
    install()
    slow_down(0.3)
