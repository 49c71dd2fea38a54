"""Images made by code, for checks where no real ones are given."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CELLS_PX = (64, 16, 4)


def generate_image(bands: int, side_px: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """An image with detail of several sizes and sharp edges.

    Args:
        bands: of the image.
        side_px: height and width, in pixels.
        seed: equal seeds give equal images.

    Returns:
        uint8 (bands, side_px, side_px), 0 to 255.
    """
    random = np.random.default_rng(seed)
    image = np.full((bands, side_px, side_px), 128.0)
    for cell_px in CELLS_PX:
        cells = -(-side_px // cell_px)
        block = np.ones((1, cell_px, cell_px))
        image += np.kron(random.normal(0, 30, (bands, cells, cells)), block)[:, :side_px, :side_px]
    return image.clip(0, 255).astype(np.uint8)
