"""The kernels that measure the components of a tile and what they touch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import kernel, subkernel
from geoseg.polygons.rings import Int32, Int64, Uint8
from geoseg.polygons.runs import Runs

LARGEST_AREA = 2**61
"""Where areas stop: two of them still add up within 63 bits."""


@kernel
def sum_areas(runs: Runs, component: Int32, components: int, row_areas: Int64) -> tuple[Uint8, Int64, Int64]:
    """Class, area (up to LARGEST_AREA) and first pixel (row * 2^32 + col in the tile) of every component."""
    starts, run_class, row_offsets, cols = runs.starts, runs.class_id, runs.row_offsets, runs.cols
    class_id = np.empty(components, np.uint8)
    area = np.zeros(components, np.int64)
    first = np.full(components, -1, np.int64)
    for r in range(len(row_offsets) - 1):
        stop = row_offsets[r + 1]
        for k in range(row_offsets[r], stop):
            number = component[k]
            if number >= 0:
                end = starts[k + 1] if k + 1 < stop else cols
                class_id[number] = run_class[k]
                length, room = end - starts[k], LARGEST_AREA - area[number]
                area[number] += row_areas[r] * length if row_areas[r] <= room // length else room
                if first[number] < 0:
                    first[number] = np.int64(r) << 32 | starts[k]
    return class_id, area, first


@kernel
def paint_runs(runs: Runs, values: NDArray[Any]) -> NDArray[Any]:
    """The value ((n,) by run) of every pixel, (rows, cols) of the same type."""
    starts, row_offsets, cols = runs.starts, runs.row_offsets, runs.cols
    rows = len(row_offsets) - 1
    painted = np.empty((rows, cols), values.dtype)
    for r in range(rows):
        stop = row_offsets[r + 1]
        for k in range(row_offsets[r], stop):
            end = starts[k + 1] if k + 1 < stop else cols
            painted[r, starts[k] : end] = values[k]
    return painted


@kernel
def bound_components(runs: Runs, component: Int32, components: int) -> Int32:
    """The box of every component, (components, 4) int32: first row and column, and those just below and right of it."""
    starts, row_offsets, cols = runs.starts, runs.row_offsets, runs.cols
    rows = len(row_offsets) - 1
    boxes = np.empty((components, 4), np.int32)
    boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 3] = rows, cols, 0, 0
    for r in range(rows):
        stop = row_offsets[r + 1]
        for k in range(row_offsets[r], stop):
            if component[k] >= 0:
                end = starts[k + 1] if k + 1 < stop else cols
                box = boxes[component[k]]
                box[0], box[1] = min(box[0], r), min(box[1], starts[k])
                box[2], box[3] = r + 1, max(box[3], end)
    return boxes


@kernel
def paint_component(runs: Runs, component: Int32, number: int, box: Int32) -> NDArray[np.bool_]:
    """Which pixels of its box (first row, first column, row stop, column stop) a component has, bool (rows, cols)."""
    starts, row_offsets, cols = runs.starts, runs.row_offsets, runs.cols
    painted = np.zeros((box[2] - box[0], box[3] - box[1]), np.bool_)
    for r in range(box[0], box[2]):
        first, stop = row_offsets[r], row_offsets[r + 1]
        k = first + np.searchsorted(starts[first:stop], box[1], side="right") - 1
        while k < stop and starts[k] < box[3]:
            if component[k] == number:
                end = starts[k + 1] if k + 1 < stop else cols
                painted[r - box[0], starts[k] - box[1] : end - box[1]] = True
            k += 1
    return painted


@kernel
def count_contacts(runs: Runs, component: Int32, codes: Int32) -> Int64:
    """Where two components lie side by side and at least one of them has a code from 0 upward, seen from that one.

    Args:
        runs: of the tile.
        component: (n,) int32 of every run, -1 for unknown pixels.
        codes: (components,) int32, negative for components that are not listed.

    Returns:
        (m, 4) int64: code of the listed one, code of the other, common pixel sides upright and level; pairs repeat.
    """
    starts, row_offsets, cols = runs.starts, runs.row_offsets, runs.cols
    contacts = np.empty((6 * len(starts), 4), np.int64)
    n = 0
    for r in range(len(row_offsets) - 1):
        for k in range(row_offsets[r] + 1, row_offsets[r + 1]):
            n = _add(contacts, n, (component[k - 1], component[k]), codes, (1, 0))
        if r == 0:
            continue
        p, q = row_offsets[r - 1], row_offsets[r]
        p_stop, q_stop = q, row_offsets[r + 1]
        while p < p_stop and q < q_stop:
            p_end = starts[p + 1] if p + 1 < p_stop else cols
            q_end = starts[q + 1] if q + 1 < q_stop else cols
            common = min(p_end, q_end) - max(starts[p], starts[q])
            n = _add(contacts, n, (component[p], component[q]), codes, (0, common))
            if p_end <= q_end:
                p += 1
            if q_end <= p_end:
                q += 1
    return contacts[:n]


@subkernel
def _add(contacts: Int64, n: int, pair: tuple[int, int], codes: Int32, sides: tuple[int, int]) -> int:
    one, two = pair
    if one < 0 or two < 0 or one == two:
        return n
    a, b = codes[one], codes[two]
    if a >= 0:
        contacts[n, 0], contacts[n, 1], contacts[n, 2], contacts[n, 3] = a, b, sides[0], sides[1]
        n += 1
    if b >= 0:
        contacts[n, 0], contacts[n, 1], contacts[n, 2], contacts[n, 3] = b, a, sides[0], sides[1]
        n += 1
    return n
