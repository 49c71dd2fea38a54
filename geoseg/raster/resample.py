"""Images from the source's pixels to the model's pixels, in integers, so that no rounding depends on the window."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import kernel


def resample_patch(image: NDArray[np.uint8], out_px: int | tuple[int, int]) -> NDArray[np.uint8]:
    """Resample an image, each axis by its own factor.

    An axis that shrinks is averaged over the area of the output pixel, one that grows is interpolated linearly between
    pixel centres. All sums are exact integers and rounded once (halves up): blocks that lie on one lattice of a
    shrinking axis give, side by side, what their union gives.

    Args:
        image: uint8 (B, h, w), 0 to 255.
        out_px: (rows, cols) of the result in pixels, or the side of a square.

    Returns:
        uint8 (B, rows, cols), 0 to 255.
    """
    bands, height, width = image.shape
    shape = (out_px, out_px) if isinstance(out_px, int) else out_px
    if (height, width) == shape:
        return np.ascontiguousarray(image)
    out = np.empty((bands, *shape), np.uint8)
    _resample(np.ascontiguousarray(image), *_weigh_axis(height, shape[0]), *_weigh_axis(width, shape[1]), out)
    return out


@lru_cache(maxsize=64)
def _weigh_axis(size: int, out: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First input index (out,) and integer weights (out, taps) of every output pixel; the weights' sum is constant."""
    return _weigh_areas(size, out) if size >= out else _weigh_neighbours(size, out)


def _weigh_areas(size: int, out: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    # Lengths in units in which input and output pixel borders both are whole numbers.
    common = math.gcd(size, out)
    step, unit = size // common, out // common
    begins = np.arange(out, dtype=np.int64) * step
    taps = -(-step // unit) + 1
    starts = np.minimum(begins // unit, max(0, size - taps))
    lefts = (starts[:, None] + np.arange(min(taps, size))) * unit
    overlap = np.minimum(lefts + unit, begins[:, None] + step) - np.maximum(lefts, begins[:, None])
    return starts, np.maximum(overlap, 0)


def _weigh_neighbours(size: int, out: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    common = math.gcd(size, out)
    step, unit = size // common, out // common
    # Position of the output centre between input centres, in 1 / (2 unit) of an input pixel.
    position = np.clip((2 * np.arange(out, dtype=np.int64) + 1) * step - unit, 0, (size - 1) * 2 * unit)
    starts = np.minimum(position // (2 * unit), max(0, size - 2))
    second = position - starts * 2 * unit
    if size == 1:
        return starts, np.full((out, 1), 2 * unit, np.int64)
    return starts, np.stack([2 * unit - second, second], axis=1)


@kernel
def _resample(  # noqa: PLR0917 (numba compiles positional arguments)
    image: NDArray[np.uint8],
    row_starts: NDArray[np.int64],
    row_weights: NDArray[np.int64],
    col_starts: NDArray[np.int64],
    col_weights: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    bands, _, width = image.shape
    total = row_weights[0].sum() * col_weights[0].sum()
    line = np.empty(width, np.int64)
    for band in range(bands):
        for row in range(out.shape[1]):
            line[:] = 0
            for k in range(row_weights.shape[1]):
                weight = row_weights[row, k]
                if weight > 0:
                    source = image[band, row_starts[row] + k]
                    for col in range(width):
                        line[col] += weight * source[col]
            for col in range(out.shape[2]):
                value = np.int64(0)
                for k in range(col_weights.shape[1]):
                    value += col_weights[col, k] * line[col_starts[col] + k]
                out[band, row, col] = (2 * value + total) // (2 * total)
