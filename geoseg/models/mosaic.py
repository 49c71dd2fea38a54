"""Images of any size through a network of one size."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from geoseg.models.halo import Predict
from geoseg.models.manifest import STRIDE_PX


def extend_predict(predict: Predict, patch_px: int) -> Predict:
    """Let a function that takes patches only take larger images too, by keeping the inner half of overlapping patches.

    What a halo is measured against with it is not the whole image, but the best that patches of this size can give. The
    patches lie on no corner that `measure_halo` cuts its own from.

    Args:
        predict: uint8 (1, B, patch_px, patch_px) -> float32 (1, C, patch_px, patch_px).
        patch_px: side of the patches, in pixels, a multiple of 32.

    Returns:
        The same for any height and width of at least `patch_px`.
    """
    halo_px = patch_px // 4 // STRIDE_PX * STRIDE_PX
    core_px = patch_px - 2 * halo_px

    def predict_any(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows, cols = images.shape[2:]
        if (rows, cols) == (patch_px, patch_px):
            return predict(images)
        beyond = [(halo_px, halo_px + -size % core_px) for size in (rows, cols)]
        extended = np.pad(images, ((0, 0), (0, 0), *beyond), mode="symmetric")
        parts: dict[tuple[int, int], NDArray[np.float32]] = {}
        corners = (range(0, size, core_px) for size in (rows, cols))
        for row, col in itertools.product(*corners):
            patch = np.ascontiguousarray(extended[:, :, row : row + patch_px, col : col + patch_px])
            inner = slice(halo_px, patch_px - halo_px)
            parts[row, col] = predict(patch)[:, :, inner, inner]
        classes = next(iter(parts.values())).shape[1]
        whole = np.empty((len(images), classes, *(size + -size % core_px for size in (rows, cols))), np.float32)
        for (row, col), part in parts.items():
            whole[:, :, row : row + core_px, col : col + core_px] = part
        return whole[:, :, :rows, :cols]

    return predict_any
