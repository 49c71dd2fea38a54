"""How well confidence ranks the objects that were found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.evaluation.confusion import FloatArray

IOU_STEPS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
"""The intersections over union over which average precision is averaged."""

HIT, WRONG, LEFT_OUT = 1, 0, -1
RECALL_POINTS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class RankedObjects:
    """What became of every predicted object; parts add up to the whole.

    Args:
        confidence: (n,) float64.
        outcome: (n, 10) int8 at each of `IOU_STEPS`: 1 paired with a true object, 0 not, -1 left out.
        truths: number of true objects.
    """

    confidence: FloatArray
    outcome: NDArray[np.int8]
    truths: int

    def __add__(self, other: RankedObjects) -> RankedObjects:
        return RankedObjects(
            np.concatenate([self.confidence, other.confidence]),
            np.concatenate([self.outcome, other.outcome]),
            self.truths + other.truths,
        )

    @property
    def average_precision(self) -> FloatArray:
        """(10,) average precision at each of `IOU_STEPS`, 0 to 1; not a number without true objects.

        It is the mean, over the recalls 0, 0.01 to 1, of the best precision that is reached at that recall or a higher
        one. Equally confident objects keep their order.

        Source: Lin et al., Microsoft COCO (2014), as its evaluation computes AP with 101 recall points.
        """
        if not self.truths:
            return np.full(len(IOU_STEPS), np.nan)
        outcome = self.outcome[np.argsort(-self.confidence, kind="stable")]
        return np.array([self._average(column[column != LEFT_OUT] == HIT) for column in outcome.T])

    def _average(self, hit: NDArray[np.bool_]) -> float:
        hits = np.cumsum(hit)
        precision = hits / np.arange(1, len(hits) + 1)
        best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        return float(best[np.searchsorted(hits / self.truths, RECALL_POINTS)].mean())
