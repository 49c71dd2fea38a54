"""From classes to a clean mask of cells: majority, holes, ragged edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import kernel

Uint8 = NDArray[np.uint8]
Int16 = NDArray[np.int16]

# Neighbours in the order of the bits of a code: east, then counterclockwise.
STEP_ROWS = np.array([0, -1, -1, -1, 0, 1, 1, 1])
STEP_COLS = np.array([1, 1, 0, -1, -1, -1, 0, 1])


def _bits(code: int) -> list[bool]:
    return [bool(code >> i & 1) for i in range(8)]


def _is_smooth_road(code: int) -> bool:
    """Whether a road cell with these neighbours stays: not if it is alone, or a bump or corner of at most 3 cells."""
    x = _bits(code)
    runs = sum(x[i] and not x[i - 1] for i in range(8))
    return not (sum(x) == 0 or (runs == 1 and sum(x) <= 3))


SMOOTH = np.array(
    [[sum(_bits(code)) >= 5 for code in range(256)], [_is_smooth_road(code) for code in range(256)]], np.uint8
)
"""(2, 256) what becomes of a cell that is no road and of one that is, by the code of its neighbours."""


@kernel
def count_majority(
    classes: Uint8, confidence: Uint8, class_id: int, factor_rows: int, factor_cols: int
) -> tuple[Uint8, Int16]:
    """Reduce pixels to cells; the first pixel of a cell decides a tie, which moves no edge in the mean.

    Args:
        classes: (h, w) uint8.
        confidence: (h, w) uint8, or (0, 0) where there is none.
        class_id: the class of roads.
        factor_rows: rows of a cell; the last cells may be incomplete.
        factor_cols: columns of a cell.

    Returns:
        (r, c) uint8, 1 on roads; (r, c) int16 mean confidence of the road pixels, -1 where unknown.
    """
    h, w = classes.shape
    rows, cols = -(-h // factor_rows), -(-w // factor_cols)
    mask = np.zeros((rows, cols), np.uint8)
    mean = np.full((rows, cols), -1, np.int16)
    for r in range(rows):
        r0, r1 = r * factor_rows, min((r + 1) * factor_rows, h)
        for c in range(cols):
            c0, c1 = c * factor_cols, min((c + 1) * factor_cols, w)
            found = 0
            total = 0
            for i in range(r0, r1):
                for j in range(c0, c1):
                    if classes[i, j] == class_id:
                        found += 1
                        if confidence.size:
                            total += confidence[i, j]
            size = (r1 - r0) * (c1 - c0)
            if 2 * found > size or (2 * found == size and classes[r0, c0] == class_id):
                mask[r, c] = 1
            if found and confidence.size:
                mean[r, c] = (2 * total + found) // (2 * found)
    return mask, mean


@kernel
def fill_holes(mask: Uint8, side: int) -> None:
    """Fill, in place, 4-connected holes that fit into a square of `side` cells: cars, trees and noise, not blocks.

    Args:
        mask: (h, w) uint8, 1 on roads, 0 elsewhere; what is said of holes within `side` of its border is not exact.
        side: cells.
    """
    h, w = mask.shape
    if side == 0:
        return
    queue = np.empty(side * side + 4, np.int64)
    large = np.zeros((h, w), np.uint8)
    for r in range(h):
        for c in range(1, w):
            # Every hole has a first cell, and that is right of a road.
            if mask[r, c] or large[r, c] or not mask[r, c - 1]:
                continue
            queue[0] = r * w + c
            mask[r, c] = 2
            first, last, top, bottom, left, right = 0, 1, r, r, c, c
            fits = True
            while first < last and fits:
                i, j = queue[first] // w, queue[first] % w
                first += 1
                for di, dj in ((0, 1), (-1, 0), (0, -1), (1, 0)):
                    y, x = i + di, j + dj
                    if y < 0 or y >= h or x < 0 or x >= w or large[y, x]:
                        fits = False
                        break
                    if mask[y, x]:
                        continue
                    top, bottom, left, right = min(top, y), max(bottom, y), min(left, x), max(right, x)
                    if bottom - top >= side or right - left >= side:
                        fits = False
                        break
                    mask[y, x] = 2
                    queue[last] = y * w + x
                    last += 1
            for k in range(last):
                i, j = queue[k] // w, queue[k] % w
                mask[i, j] = fits
                large[i, j] = not fits


@kernel
def smooth_once(mask: Uint8, table: Uint8) -> Uint8:
    """Fill notches and take bumps off, all cells at a time, without breaking a line one cell wide.

    Args:
        mask: (h, w) uint8, 0 or 1.
        table: (2, 256) uint8, `SMOOTH`.

    Returns:
        (h, w) uint8; the outermost cells are as they were.
    """
    h, w = mask.shape
    result = mask.copy()
    for r in range(1, h - 1):
        for c in range(1, w - 1):
            code = (
                mask[r, c + 1]
                | mask[r - 1, c + 1] << 1
                | mask[r - 1, c] << 2
                | mask[r - 1, c - 1] << 3
                | mask[r, c - 1] << 4
                | mask[r + 1, c - 1] << 5
                | mask[r + 1, c] << 6
                | mask[r + 1, c + 1] << 7
            )
            result[r, c] = table[mask[r, c], code]
    return result
