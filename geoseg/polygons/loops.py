"""What numpy does, for use in kernels: its own versions take numba up to a second each to compile."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import subkernel
from geoseg.polygons.rings import Int32, Int64


@subkernel
def copy_vertices(source: Int32, part: tuple[int, int], target: Int32, at: int) -> int:
    """Copy the vertices from part[0] to before part[1] of (n, 2) into (m, 2), from row `at`; the row after them."""
    for k in range(part[0], part[1]):
        target[at, 0], target[at, 1] = source[k, 0], source[k, 1]
        at += 1
    return at


@subkernel
def lead_vertices(coords: Int32, begin: int, top: int, end: int) -> None:
    """Turn the ring from `begin` to before `end` such that it begins with its vertex `top`."""
    lead = np.empty((top - begin, 2), np.int32)
    copy_vertices(coords, (begin, top), lead, 0)
    copy_vertices(lead, (0, len(lead)), coords, copy_vertices(coords, (top, end), coords, begin))


@subkernel
def find_place(values: Int64, value: int) -> int:
    """How many of the ascending values ((n,) integers) are less than a value."""
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@subkernel
def sort_stably(values: Int64 | NDArray[np.float64]) -> Int64:
    """(n,) int64 positions of (n,) numbers in ascending order, those of equal ones ascending (merge sort)."""
    n = len(values)
    order, spare = np.empty(n, np.int64), np.empty(n, np.int64)
    for k in range(n):
        order[k] = k
    size = 1
    while size < n:
        for begin in range(0, n, 2 * size):
            middle, end = min(begin + size, n), min(begin + 2 * size, n)
            one, two = begin, middle
            for k in range(begin, end):
                if two == end or (one < middle and values[order[one]] <= values[order[two]]):
                    spare[k] = order[one]
                    one += 1
                else:
                    spare[k] = order[two]
                    two += 1
        order, spare = spare, order
        size *= 2
    return order
