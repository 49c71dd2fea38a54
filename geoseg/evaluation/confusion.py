"""How well classes agree pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ConfusionMatrix:
    """How often each class of the truth was predicted as each class; matrices of parts add up to that of the whole.

    Every score is a fraction from 0 to 1, and not a number where it is 0 / 0.

    Args:
        counts: (C, C) int64 pixels, row = class of the truth, column = predicted class.
    """

    counts: NDArray[np.int64]

    @classmethod
    def zero(cls, classes: int) -> ConfusionMatrix:
        """The matrix of no pixels."""
        return cls(np.zeros((classes, classes), np.int64))

    @classmethod
    def count(cls, truth: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> ConfusionMatrix:
        """Count class indices of one shape; pixels that are negative or at least `classes` on a side are left out."""
        known = (truth >= 0) & (truth < classes) & (predicted >= 0) & (predicted < classes)
        pairs = truth[known].astype(np.intp) * classes + predicted[known]
        return cls(np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).astype(np.int64))

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        return ConfusionMatrix(self.counts + other.counts)

    @property
    def pixels(self) -> int:
        """Pixels that were compared."""
        return int(self.counts.sum())

    @property
    def iou(self) -> FloatArray:
        """(C,) intersection over union of each class."""
        return divide(self._hits, self._truth + self._predicted - self._hits)

    @property
    def precision(self) -> FloatArray:
        """(C,) share of the pixels predicted as a class that are of it."""
        return divide(self._hits, self._predicted)

    @property
    def recall(self) -> FloatArray:
        """(C,) share of the pixels of a class that were predicted as it."""
        return divide(self._hits, self._truth)

    @property
    def f1(self) -> FloatArray:
        """(C,) harmonic mean of precision and recall."""
        return divide(2 * self._hits, self._truth + self._predicted)

    @property
    def class_accuracy(self) -> FloatArray:
        """(C,) share of all pixels about which it is right whether they are of the class."""
        return divide(self.pixels - self._truth - self._predicted + 2 * self._hits, np.array(self.pixels))

    @property
    def accuracy(self) -> float:
        """Share of all pixels whose class is right."""
        return float(divide(self._hits.sum(), self.counts.sum()))

    @property
    def mean_iou(self) -> float:
        """Mean IoU of the classes that occur in the truth or in the prediction."""
        return mean_known(self.iou)

    @property
    def _hits(self) -> NDArray[np.int64]:
        return np.diagonal(self.counts)

    @property
    def _truth(self) -> NDArray[np.int64]:
        return np.asarray(self.counts.sum(axis=1))

    @property
    def _predicted(self) -> NDArray[np.int64]:
        return np.asarray(self.counts.sum(axis=0))


def divide(part: NDArray[np.number], whole: NDArray[np.number]) -> FloatArray:
    """Shares, not a number where they are 0 / 0."""
    with np.errstate(invalid="ignore"):
        shares: FloatArray = np.true_divide(part, whole)
    return shares


def mean_known(scores: FloatArray) -> float:
    """Mean of the scores that are numbers; not a number if none is."""
    known = scores[np.isfinite(scores)]
    return float(known.mean()) if known.size else float("nan")
