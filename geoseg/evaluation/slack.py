"""How well narrow classes agree where a few pixels of displacement are forgiven."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.evaluation.boundary import near_any
from geoseg.evaluation.confusion import FloatArray, divide


@dataclass(frozen=True)
class SlackCounts:
    """Pixels of each side and those that are near the other side; counts of parts add up to those of the whole.

    A pixel of a class is a hit if the other side has one of that class within `slack_px`, centre to centre.

    Args:
        truth: (C,) int64 pixels of each class in the truth.
        found: (C,) int64 hits among them.
        predicted: (C,) int64 pixels predicted as each class.
        right: (C,) int64 hits among them.

    Source: Mnih, Machine Learning for Aerial Image Labeling (2013), section 3.3 (relaxed precision and recall);
        Wiedemann et al., Empirical Evaluation of Automatically Extracted Road Axes (1998) (quality).
    """

    truth: NDArray[np.int64]
    found: NDArray[np.int64]
    predicted: NDArray[np.int64]
    right: NDArray[np.int64]

    @classmethod
    def zero(cls, classes: int) -> SlackCounts:
        """The counts of no pixels."""
        return cls(*np.zeros((4, classes), np.int64))

    @classmethod
    def count(
        cls,
        truth: NDArray[np.integer],
        predicted: NDArray[np.integer],
        classes: int,
        *,
        slack_px: int,
        core: tuple[slice, slice],
    ) -> SlackCounts:
        """Count (h, w) class indices, negative where unknown, within `core`; around it they are looked at only."""
        counts = cls.zero(classes)
        offsets = np.arange(-slack_px, slack_px + 1)
        disc = (offsets[:, None] ** 2 + offsets**2 <= slack_px**2).astype(np.uint8)
        for i in range(classes):
            here, there = truth == i, predicted == i
            counts.truth[i] = np.count_nonzero(here[core])
            counts.found[i] = np.count_nonzero((here & near_any(there, disc))[core])
            counts.predicted[i] = np.count_nonzero(there[core])
            counts.right[i] = np.count_nonzero((there & near_any(here, disc))[core])
        return counts

    def __add__(self, other: SlackCounts) -> SlackCounts:
        return SlackCounts(
            self.truth + other.truth,
            self.found + other.found,
            self.predicted + other.predicted,
            self.right + other.right,
        )

    @property
    def precision(self) -> FloatArray:
        """(C,) share of the pixels predicted as a class that are hits."""
        return divide(self.right, self.predicted)

    @property
    def recall(self) -> FloatArray:
        """(C,) share of the pixels of a class in the truth that are hits."""
        return divide(self.found, self.truth)

    @property
    def f1(self) -> FloatArray:
        """(C,) harmonic mean of relaxed precision P and recall R."""
        iou = self.iou
        return 2 * iou / (1 + iou)

    @property
    def iou(self) -> FloatArray:
        """(C,) 1 / (1 / P + 1 / R - 1), the IoU to which P and R belong: without slack, IoU itself."""
        with np.errstate(divide="ignore", invalid="ignore"):
            iou: FloatArray = 1 / (self.predicted / self.right + self.truth / self.found - 1)
        # Where nothing is near the other side, or there is no other side, the quotients are no numbers.
        return np.where((self.right == 0) & (self.truth + self.predicted > 0), 0.0, iou)
