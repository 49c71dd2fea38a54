"""Memory that was freed and that the allocator keeps."""

from __future__ import annotations

import ctypes
from contextlib import suppress

MAPPED_BYTES = 4 * 2**20
"""From this size on arrays of a process that predicts lie in mappings of their own."""

_M_MMAP_THRESHOLD = -3  # of malloc.h


def map_large_arrays() -> None:
    """Have large arrays mapped, so that what they held goes back to the system when they are freed.

    The allocator of Linux would learn from the first of them to keep their size on its heaps, one a thread: their gaps
    were a fifth of a run's memory. Mapping anew costs some per cent of work on classes, too little to notice beside
    prediction.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)


def return_freed_memory() -> None:
    """Give back to the system what was freed; the allocator of Linux would keep it, and for the thread that had it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
