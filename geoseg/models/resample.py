"""From probabilities on the model's pixels to classes on the source's pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Taps:
    """A resampling along one axis: output i is the sum over k of weights[i, k] * input[starts[i] + k].

    Args:
        starts: int64 (n,), first input pixel.
        weights: float32 (n, taps), 0 to 1, each row of sum 1.
    """

    starts: NDArray[np.int64]
    weights: NDArray[np.float32]

    @property
    def is_identity(self) -> bool:
        """Whether it only cuts the core out."""
        return self.weights.shape[1] == 1

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
    if cols.is_identity:
        first = int(cols.starts[0])
        across = probabilities[:, :, first : first + len(cols.starts)]
    else:
        across = _resample_cols(probabilities, cols.starts, cols.weights)
    return _classify_rows(across, rows.starts, rows.weights)


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _resample_cols(
    probabilities: NDArray[np.float32], starts: NDArray[np.int64], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    classes, rows, _ = probabilities.shape
    count, taps = weights.shape
    out = np.empty((classes, rows, count), np.float32)
    for c in range(classes):
        for r in range(rows):
            line = probabilities[c, r]
            for i in range(count):
                total = np.float32(0)
                for k in range(taps):
                    total += weights[i, k] * line[starts[i] + k]
                out[c, r, i] = total
    return out


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _classify_rows(
    across: NDArray[np.float32], starts: NDArray[np.int64], weights: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    count, taps = weights.shape
    cols = across.shape[2]
    classes = np.empty((count, cols), np.uint8)
    confidence = np.empty((count, cols), np.uint8)
    best = np.empty(cols, np.float32)
    value = np.empty(cols, np.float32)
    for i in range(count):
        best[:] = 0
        classes[i] = 0
        for c in range(across.shape[0]):
            value[:] = 0
            for k in range(taps):
                weight = weights[i, k]
                line = across[c, starts[i] + k]
                for j in range(cols):
                    value[j] += weight * line[j]
            for j in range(cols):
                if value[j] > best[j]:
                    best[j] = value[j]
                    classes[i, j] = c
        for j in range(cols):
            confidence[i, j] = np.uint8(min(np.float32(255), np.rint(np.float32(255) * best[j])))
    return classes, confidence
