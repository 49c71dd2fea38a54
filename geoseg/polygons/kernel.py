"""How the hot loops of this package are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable[..., object])


def kernel(function: Kernel) -> Kernel:
    """Compile a function to machine code that runs without the interpreter lock and is cached on disk.

    The cache of a kernel is renewed when its own file changes, not when a kernel that it calls in another file does:
    whoever edits the latter deletes `__pycache__`.
    """
    return cast(Kernel, njit(nogil=True, cache=True)(function))
