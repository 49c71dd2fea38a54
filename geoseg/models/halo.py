"""How far a patch's border changes what a network says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import OptionError
from geoseg.models.manifest import STRIDE_PX

HALOS_PX = tuple(range(0, 513, STRIDE_PX))
MARGIN_PX = 256
SEAM_LIMIT = 1e-4

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class HaloMeasurement:
    """What was measured and which halo follows from it.

    Args:
        patch_px: side of the patches, in pixels.
        halo_px: the smallest affordable halo with an error below the limit, else the affordable one with the least.
        errors: by halo in pixels, the share, 0 to 1, of core pixels whose class differs from whole-image inference.
        compared_px: by halo in pixels, how many core pixels were compared.
    """

    patch_px: int
    halo_px: int
    errors: Mapping[int, float]
    compared_px: Mapping[int, int]

    @property
    def seam_error(self) -> float:
        """The error at the chosen halo."""
        return self.errors[self.halo_px]


def measure_halo(
    predict: Predict,
    images: Sequence[NDArray[np.uint8]],
    *,
    patch_px: int,
    halos_px: Sequence[int] = HALOS_PX,
    limit: float = SEAM_LIMIT,
) -> HaloMeasurement:
    """Compare patches with whole images, each image extended by reflection so that its own border plays no part.

    Patches overlap by half. One prediction of a patch serves every halo: the core that a halo leaves is what lies at
    least that far from the patch's border. A halo is affordable up to a quarter of the patch, where each pixel is
    computed four times.

    Args:
        predict: uint8 (1, B, H, W) of any H and W that are multiples of 32 -> probabilities float32 (1, C, H, W).
        images: uint8 (B, H, W), 0 to 255, at the model's ground resolution, H and W at least `patch_px`.
        patch_px: side of the patches, in pixels.
        halos_px: halos to measure, in pixels.
        limit: share of differing pixels, 0 to 1, below which a halo is good enough.

    Raises:
        OptionError: no image, an image smaller than a patch, or no halo that is affordable.
    """
    check_sizes(images, patch_px)
    affordable = [h for h in sorted(halos_px) if 4 * h <= patch_px]
    if not affordable:
        raise OptionError(f"halos {tuple(halos_px)}", expected=f"one of at most {patch_px // 4} px")
    depth = _measure_depth(patch_px)
    differing, compared = np.zeros(patch_px // 2, np.int64), np.zeros(patch_px // 2, np.int64)
    for image in images:
        whole = _predict_whole(predict, image)
        for row, col in _list_patches(whole.shape, patch_px):
            window = slice(row, row + patch_px), slice(col, col + patch_px)
            patch = np.ascontiguousarray(image[None, :, *window])
            differs = predict(patch)[0].argmax(axis=0) != whole[window]
            differing += np.bincount(depth[differs], minlength=len(differing))
            compared += np.bincount(depth.ravel(), minlength=len(compared))
    counts = {h: int(compared[h:].sum()) for h in halos_px if 2 * h < patch_px}
    errors = {h: int(differing[h:].sum()) / count for h, count in counts.items()}
    good = [h for h in affordable if errors[h] < limit]
    chosen = good[0] if good else min(affordable, key=lambda h: errors[h])
    return HaloMeasurement(patch_px, chosen, errors, counts)


def check_sizes(images: Sequence[NDArray[np.uint8]], patch_px: int) -> None:
    """Refuse images, uint8 (B, H, W), that a halo cannot be measured on.

    Raises:
        OptionError: there is none, or one is smaller than a patch of `patch_px`.
    """
    if not images or any(min(image.shape[1:]) < patch_px for image in images):
        raise OptionError(
            f"images of {[image.shape for image in images]}",
            expected=f"at least one image, none below {patch_px} px, the patch",
            remedy="bring larger images, or choose a smaller patch",
        )


def _measure_depth(patch_px: int) -> NDArray[np.int64]:
    """Pixels between each pixel and the nearest border of a patch."""
    axis = np.minimum(np.arange(patch_px), np.arange(patch_px)[::-1])
    return np.minimum(axis[:, None], axis[None, :])


def _predict_whole(predict: Predict, image: NDArray[np.uint8]) -> NDArray[np.int64]:
    (rows, cols), margin = image.shape[1:], MARGIN_PX
    beyond = [(margin, margin + -size % STRIDE_PX) for size in (rows, cols)]
    extended = np.pad(image, ((0, 0), *beyond), mode="symmetric")
    classes: NDArray[np.int64] = predict(extended[None])[0].argmax(axis=0)
    return classes[margin : margin + rows, margin : margin + cols]


def _list_patches(shape: tuple[int, ...], patch_px: int) -> Iterator[tuple[int, int]]:
    """Upper left corners on the network's stride, half a patch apart."""
    step = max(STRIDE_PX, patch_px // 2 // STRIDE_PX * STRIDE_PX)
    rows, cols = (range(0, size - patch_px + 1, step) for size in shape)
    return ((row, col) for row in rows for col in cols)
