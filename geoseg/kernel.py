"""How the hot loops of geoseg are compiled, and how a user hears of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

from numba import njit
from numba.core.event import Event, Listener, install_listener
from numba.extending import register_jitable

Kernel = TypeVar("Kernel", bound=Callable[..., object])

_uncached: list[str] = []
"""Kernels for whose machine code no folder can be written."""


def kernel(function: Kernel) -> Kernel:
    """Compile a function to machine code that runs without the interpreter lock and is cached on disk.

    The cache lies in NUMBA_CACHE_DIR, beside the function's file, or among the user's caches: the first of these that
    can be written. It is renewed when the kernel's own file changes, not when a kernel that it calls in another file
    does: whoever edits the latter deletes `__pycache__`.

    No kernel may have a comprehension and fill arrays through a tuple that it has made itself: numba then takes these
    assignments for dead and leaves them out.
    """
    try:
        compiled = njit(nogil=True, cache=True)(function)
    # Numba's way to say that none of the folders can be written: announced once there is something to compile.
    except RuntimeError:
        _uncached.append(function.__name__)
        compiled = njit(nogil=True)(function)
    return cast(Kernel, compiled)


# Most of the time in which a small function is compiled goes into the ways to call it from Python and C.
def subkernel(function: Kernel) -> Kernel:
    """Let kernels call a function, which is compiled into them; whoever else calls it runs it as it is written."""
    return register_jitable(no_cfunc_wrapper=True)(function)


@contextmanager
def announce_compiling(say: Callable[[str], None]) -> Iterator[None]:
    """Tell, once, of kernels that are not in the cache and are compiled, which takes a minute, from any thread."""
    with install_listener("numba:compile", _Announcement(say)):
        yield


class _Announcement(Listener):
    """Numba holds its lock while it tells of a compilation: two threads never tell at once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say: Callable[[str], None] | None = say

    def on_start(self, event: Event) -> None:
        """A kernel is about to be compiled."""
        say, self._say = self._say, None
        if say and _uncached:
            say("compiling kernels, in every run: no folder can keep them; NUMBA_CACHE_DIR may name one")
        elif say:
            say("compiling kernels, once per installation")

    def on_end(self, event: Event) -> None:
        """It is."""
