"""Stand-ins that need no weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoseg.models.crop import PatchPart, crop_patch
from geoseg.models.engine import PatchGeometry, check_images
from geoseg.models.resample import classify_core


class FakeEngine:
    """An engine that keeps the contract of `Engine` exactly: brightness around a pixel decides its class.

    A class is likelier the nearer the mean over (2 * radius_px + 1)² pixels lies to its own brightness. Outside the
    patch counts as black, as a convolution with zero padding has it, so that a halo below `radius_px` shows. Sums are
    integers and the rest is pixel by pixel: no result depends on where a pixel lies in its patch.
    """

    batch_size = 2
    workspace_bytes = 0

    def __init__(self, geometry: PatchGeometry, *, bands: int = 3, classes: int = 4, radius_px: int = 4) -> None:
        self.geometry, self.bands, self.classes, self.radius_px = geometry, bands, classes, radius_px
        everything = slice(None), slice(None)
        self._whole = PatchPart(everything, everything, geometry.row_taps, geometry.col_taps)

    @property
    def identity(self) -> str:
        return f"fake {self.bands} {self.classes} {self.radius_px}"

    def predict(
        self, images: NDArray[np.uint8], asked: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        check_images(images, self.bands, self.geometry)
        shape = (len(images), self.geometry.core_rows_px, self.geometry.core_cols_px)
        classes, confidence = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        for i, image in enumerate(images):
            part = self._whole if asked is None else crop_patch(asked[i], self.geometry) or self._whole
            probabilities = self.predict_probabilities(image[None, :, *part.patch])[0]
            classes[i, *part.core], confidence[i, *part.core] = classify_core(probabilities, part.rows, part.cols)
        return classes, confidence

    def predict_probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities float32 (N, C, H, W) of images uint8 (N, B, H, W) of any size."""
        side = 2 * self.radius_px + 1
        brightness = sum_squares(images.sum(axis=1, dtype=np.int64), self.radius_px) / (self.bands * side**2)
        centres = (np.arange(self.classes) + 0.5) * 256 / self.classes
        nearness = 1 / (1 + (brightness[:, None] - centres[None, :, None, None]) ** 2)
        return (nearness / nearness.sum(axis=1, keepdims=True)).astype(np.float32)


def sum_squares(values: NDArray[np.int64], radius: int) -> NDArray[np.int64]:
    """Sum over the (2 * radius + 1)² neighbours in the last two axes; outside counts as 0."""
    side = 2 * radius + 1
    beyond = ((0, 0),) * (values.ndim - 2) + ((radius + 1, radius),) * 2
    table = np.pad(values, beyond).cumsum(axis=-1).cumsum(axis=-2)
    return table[..., side:, side:] - table[..., :-side, side:] - table[..., side:, :-side] + table[..., :-side, :-side]
