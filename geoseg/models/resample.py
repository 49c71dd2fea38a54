"""From probabilities on the model's pixels to classes on the source's pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import kernel


@dataclass(frozen=True, slots=True)
class Taps:
    """A resampling along one axis: output i is the sum over k of weights[i, k] * input[starts[i] + k].

    Args:
        starts: int64 (n,), first input pixel.
        weights: float32 (n, taps), 0 to 1, each row of sum 1.
    """

    starts: NDArray[np.int64]
    weights: NDArray[np.float32]

    def to_matrix(self, patch_px: int) -> NDArray[np.float32]:
        """The same as a matrix, float32 (n, patch_px)."""
        matrix = np.zeros((len(self.starts), patch_px), np.float32)
        for k in range(self.weights.shape[1]):
            matrix[np.arange(len(self.starts)), self.starts + k] = self.weights[:, k]
        return matrix


def compute_taps(core_px: int, *, patch_px: int, halo_px: int) -> Taps:
    """How `core_px` source pixels are read from the core of a patch of `patch_px` model pixels.

    Equal sizes: the identity. More source pixels than model pixels: linear interpolation between pixel centres; source
    pixel s lies at (s + 0.5) * (patch_px - 2 * halo_px) / core_px - 0.5 + halo_px, held within the patch. Fewer: the
    mean over the model pixels under the source pixel, weighted by overlap, because samples between so
    many pixels would leave out some of them.
    """
    inner_px = patch_px - 2 * halo_px
    scale = inner_px / core_px
    index = np.arange(core_px, dtype=np.float64)
    if core_px == inner_px:
        return Taps(np.arange(core_px, dtype=np.int64) + halo_px, np.ones((core_px, 1), np.float32))
    if core_px > inner_px:
        at = np.clip((index + 0.5) * scale - 0.5 + halo_px, 0, patch_px - 1)
        starts = np.minimum(np.floor(at), patch_px - 2).astype(np.int64)
        right = at - starts
        return Taps(starts, np.stack([1 - right, right], axis=1).astype(np.float32))
    low, high = index * scale + halo_px, (index + 1) * scale + halo_px
    taps = min(math.ceil(scale) + 1, patch_px)
    starts = np.minimum(np.floor(low).astype(np.int64), patch_px - taps)
    pixel = starts[:, None] + np.arange(taps)
    overlap = np.clip(np.minimum(pixel + 1, high[:, None]) - np.maximum(pixel, low[:, None]), 0, None)
    return Taps(starts, (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32))


def classify_core(
    probabilities: NDArray[np.float32], rows: Taps, cols: Taps
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Class and confidence of a patch's core on the source's pixels; of equal probabilities the lowest id wins.

    Args:
        probabilities: float32 (C, P, P), 0 to 1.
        rows: from the patch's rows to the source's.
        cols: from the patch's columns to the source's.

    Returns:
        Class ids, uint8 (rows, cols), and rint(255 * largest probability), alike.
    """
    return _classify_core(probabilities, rows.starts, rows.weights, cols.starts, cols.weights)


@kernel
def _classify_core(
    probabilities: NDArray[np.float32],
    row_starts: NDArray[np.int64],
    row_weights: NDArray[np.float32],
    col_starts: NDArray[np.int64],
    col_weights: NDArray[np.float32],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rows, row_taps = row_weights.shape
    cols = len(col_starts)
    classes = np.zeros((rows, cols), np.uint8)
    confidence = np.empty((rows, cols), np.uint8)
    # The patch's rows that an output row needs, resampled across; its successor needs most of them again.
    lines = np.empty((row_taps, len(probabilities), cols), np.float32)
    held = np.full(row_taps, -1, np.int64)
    best = np.empty(cols, np.float32)
    value = np.empty(cols, np.float32)
    for i in range(rows):
        for row in range(row_starts[i], row_starts[i] + row_taps):
            if held[row % row_taps] != row:
                held[row % row_taps] = row
                _resample_line(probabilities[:, row], col_starts, col_weights, lines[row % row_taps])
        best[:] = 0
        for c in range(len(probabilities)):
            value[:] = 0
            for k in range(row_taps):
                weight, line = row_weights[i, k], lines[(row_starts[i] + k) % row_taps, c]
                for j in range(cols):
                    value[j] += weight * line[j]
            for j in range(cols):
                if value[j] > best[j]:
                    best[j] = value[j]
                    classes[i, j] = c
        for j in range(cols):
            confidence[i, j] = np.uint8(min(np.float32(255), np.rint(np.float32(255) * best[j])))
    return classes, confidence


@kernel
def _resample_line(
    line: NDArray[np.float32], starts: NDArray[np.int64], weights: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    count, taps = weights.shape
    for c in range(len(line)):
        for i in range(count):
            total = np.float32(0)
            for k in range(taps):
                total += weights[i, k] * line[c, starts[i] + k]
            out[c, i] = total
