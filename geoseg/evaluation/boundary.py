"""How well the outlines of classes agree pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from geoseg.evaluation.confusion import FloatArray, divide


@dataclass(frozen=True)
class BoundaryCounts:
    """Pixels near the contours of both sides; counts of parts add up to those of the whole.

    Args:
        common: (C,) int64 pixels in the bands of both sides, by class.
        either: (C,) int64 pixels in the band of at least one side.
    """

    common: NDArray[np.int64]
    either: NDArray[np.int64]

    @classmethod
    def zero(cls, classes: int) -> BoundaryCounts:
        """The counts of no pixels."""
        return cls(np.zeros(classes, np.int64), np.zeros(classes, np.int64))

    @classmethod
    def count(
        cls,
        truth: NDArray[np.integer],
        predicted: NDArray[np.integer],
        classes: int,
        *,
        reach_px: int,
        core: tuple[slice, slice],
    ) -> BoundaryCounts:
        """Compare the bands that `find_band` gives, class by class.

        Args:
            truth: (h, w) class indices, negative where either side knows nothing.
            predicted: (h, w), negative at the same pixels.
            classes: number of classes C.
            reach_px: width of the bands.
            core: the part that is counted; `reach_px` around it, what is not given is as if unknown.

        Source: Cheng et al., Boundary IoU: Improving Object-Centric Image Segmentation Evaluation (2021), eq. 2.
        """
        counts = cls.zero(classes)
        for i in range(classes):
            bands = [find_band(side, i, reach_px)[core] for side in (truth, predicted)]
            counts.common[i] = np.count_nonzero(bands[0] & bands[1])
            counts.either[i] = np.count_nonzero(bands[0] | bands[1])
        return counts

    def __add__(self, other: BoundaryCounts) -> BoundaryCounts:
        return BoundaryCounts(self.common + other.common, self.either + other.either)

    @property
    def iou(self) -> FloatArray:
        """(C,) boundary IoU of each class, 0 to 1; not a number where neither side has a contour."""
        return divide(self.common, self.either)


def find_band(indices: NDArray[np.integer], index: int, reach_px: int) -> NDArray[np.bool_]:
    """Pixels of a class that are at most `reach_px` rows and columns away from a pixel that is known not to be of it.

    Unknown pixels (negative) and the image's edge are no contour: nobody knows whether the class goes on there.
    """
    mine: NDArray[np.bool_] = indices == index
    band: NDArray[np.bool_] = mine & near_any((indices >= 0) & ~mine, np.ones((2 * reach_px + 1,) * 2, np.uint8))
    return band


def near_any(mask: NDArray[np.bool_], kernel: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(h, w) bool, pixels around which the kernel, of odd height and width, meets a pixel of the mask."""
    near = cv2.dilate(mask.view(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    found: NDArray[np.bool_] = near > 0
    return found
