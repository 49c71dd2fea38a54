"""The kernels that write a tile as runs (equal pixels side by side in a row) and unite runs to components.

Everything after them looks at runs only. Two pixels belong together when they share a side.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from geoseg.kernel import kernel, subkernel
from geoseg.polygons.rings import Int32, Int64, Uint8


class Runs(NamedTuple):
    """The runs of a tile in reading order, n in all.

    Args:
        starts: (n,) int32, first columns.
        class_id: (n,) uint8.
        confidence_sum: (n,) int64.
        confidence_min: (n,) uint8.
        row_offsets: (rows + 1,) int64, which runs are a row's.
        cols: columns of the tile.
    """

    starts: Int32
    class_id: Uint8
    confidence_sum: Int64
    confidence_min: Uint8
    row_offsets: Int64
    cols: int


@kernel
def count_runs(classes: Uint8) -> int:
    """The number of runs of a (rows, cols) uint8 class raster."""
    count: int = classes.shape[0]
    for r in range(classes.shape[0]):
        row = classes[r]
        for c in range(1, len(row)):
            count += row[c] != row[c - 1]
    return count


# Every row is cut where the class changes; runs of all rows lie in one array, in reading order.
# The slot after the last run is written again and again and only kept when the class has changed: no branch.
@kernel
def encode_runs(classes: Uint8, confidence: Uint8, count: int) -> Runs:
    """Cut a class raster into runs.

    Args:
        classes: (rows, cols) uint8.
        confidence: (rows, cols) uint8, or (0, 0) where there is none.
        count: the number of runs.
    """
    rows, cols = classes.shape
    starts = np.empty(count + 1, np.int32)
    run_class = np.empty(count, np.uint8)
    confidence_sum = np.zeros(count, np.int64)
    confidence_min = np.zeros(count, np.uint8)
    row_offsets = np.empty(rows + 1, np.int64)
    n = 0
    for r in range(rows):
        row_offsets[r] = n
        row = classes[r]
        first = n
        starts[n] = 0
        n += 1
        for c in range(1, cols):
            starts[n] = c
            n += row[c] != row[c - 1]
        for k in range(first, n):
            run_class[k] = row[starts[k]]
        if confidence.size:
            values = confidence[r]
            for k in range(first, n):
                total, lowest = np.int64(0), np.uint8(255)
                for c in range(starts[k], starts[k + 1] if k + 1 < n else cols):
                    total += values[c]
                    lowest = min(lowest, values[c])
                confidence_sum[k] = total
                confidence_min[k] = lowest
    row_offsets[rows] = n
    return Runs(starts[:count], run_class, confidence_sum, confidence_min, row_offsets, cols)


@subkernel
def find_root(parent: Int32 | Int64, k: int) -> int:
    """The root of `k`; shortens the path on its way."""
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


# Runs of equal class that overlap in neighbouring rows are united; the earlier run becomes the root.
# So a root is the component's first run in reading order, and its start the corner by which polygons are ordered.
# Numbering roots in order therefore orders components by that corner; skipped classes get -1.
@kernel
def label_runs(runs: Runs, skipped: Uint8) -> tuple[Int32, int]:
    """The component of every run (-1 where its class is skipped) and the number of components."""
    starts, run_class, _, _, row_offsets, cols = runs
    count = len(starts)
    parent = np.empty(count, np.int32)
    for k in range(count):
        parent[k] = k
    for r in range(1, len(row_offsets) - 1):
        p, q = row_offsets[r - 1], row_offsets[r]
        p_stop, q_stop = q, row_offsets[r + 1]
        while p < p_stop and q < q_stop:
            if run_class[p] == run_class[q]:
                above, below = find_root(parent, p), find_root(parent, q)
                parent[max(above, below)] = min(above, below)
            p_end = starts[p + 1] if p + 1 < p_stop else cols
            q_end = starts[q + 1] if q + 1 < q_stop else cols
            if p_end <= q_end:
                p += 1
            if q_end <= p_end:
                q += 1
    component = np.empty(count, np.int32)
    components = 0
    for k in range(count):
        if skipped[run_class[k]]:
            component[k] = -1
        elif parent[k] == k:
            component[k] = components
            components += 1
        else:
            component[k] = component[parent[k]]
    return component, components


# Sums and minima travel from runs to components; a component is open when one of its pixels lies on the tile's border.
@kernel
def sum_components(runs: Runs, component: Int32, components: int) -> tuple[Uint8, Int64, Int64, Uint8, Uint8]:
    """Class, pixels, sum and minimum of the confidence, and whether it is open (1) or closed (0) of every component."""
    starts, run_class, run_sum, run_min, row_offsets, cols = runs
    class_id = np.empty(components, np.uint8)
    pixels = np.zeros(components, np.int64)
    confidence_sum = np.zeros(components, np.int64)
    confidence_min = np.full(components, 255, np.uint8)
    is_open = np.zeros(components, np.uint8)
    rows = len(row_offsets) - 1
    for r in range(rows):
        first, stop = row_offsets[r], row_offsets[r + 1]
        for k in range(first, stop):
            number = component[k]
            if number >= 0:
                end = starts[k + 1] if k + 1 < stop else cols
                class_id[number] = run_class[k]
                pixels[number] += end - starts[k]
                confidence_sum[number] += run_sum[k]
                confidence_min[number] = min(confidence_min[number], run_min[k])
                if r in (0, rows - 1) or k in (first, stop - 1):
                    is_open[number] = 1
    return class_id, pixels, confidence_sum, confidence_min, is_open


def list_border(runs: Runs, component: Int32) -> Int32:
    """The component of the border pixels: top row, bottom row, left column, right column."""
    first, last = runs.row_offsets[:-1], runs.row_offsets[1:]
    sides = []
    for row in (slice(first[0], last[0]), slice(first[-1], last[-1])):
        sides.append(np.repeat(component[row], np.diff(runs.starts[row], append=np.int32(runs.cols))))
    return np.concatenate([*sides, component[first], component[last - 1]])
