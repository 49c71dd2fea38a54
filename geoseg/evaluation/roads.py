"""How much of the roads was found, and how much of what was found is road."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

# Sides of a quarter circle: round caps are then at most 0.1 % of the buffer too narrow.
_QUAD_SEGS = 16


@dataclass(frozen=True, slots=True)
class RoadScore:
    """Metres of road on both sides, in all and near the other side; scores of separate places add up.

    Every score is a fraction from 0 to 1, and not a number where it is 0 / 0.

    Args:
        predicted_m: length of the prediction.
        matched_predicted_m: length of the prediction that lies within the buffer of the truth.
        truth_m: length of the truth.
        matched_truth_m: length of the truth that lies within the buffer of the prediction.

    Source: Heipke et al., Evaluation of Automatic Road Extraction (1997); Wiedemann et al., Empirical Evaluation of
    Automatically Extracted Road Axes (1998).
    """

    predicted_m: float
    matched_predicted_m: float
    truth_m: float
    matched_truth_m: float

    def __add__(self, other: RoadScore) -> RoadScore:
        return RoadScore(
            self.predicted_m + other.predicted_m,
            self.matched_predicted_m + other.matched_predicted_m,
            self.truth_m + other.truth_m,
            self.matched_truth_m + other.matched_truth_m,
        )

    @property
    def completeness(self) -> float:
        """Share of the true length that was found: the recall of roads."""
        return _divide(self.matched_truth_m, self.truth_m)

    @property
    def correctness(self) -> float:
        """Share of the predicted length that is true: the precision of roads."""
        return _divide(self.matched_predicted_m, self.predicted_m)

    @property
    def quality(self) -> float:
        """Matched prediction over all prediction and the missed truth: the IoU of roads."""
        missed = self.truth_m - self.matched_truth_m
        return _divide(self.matched_predicted_m, self.predicted_m + missed)


def score_roads(predicted: NDArray[np.object_], truth: NDArray[np.object_], *, buffer_m: float) -> RoadScore:
    """Match two sets of centrelines by buffers with round caps, whatever their direction.

    A line that was drawn twice counts twice. Scores add up to that of the whole only for places that are further
    apart than the buffer.

    Args:
        predicted: (n,) shapely LineStrings in metres.
        truth: (m,) shapely LineStrings in the same CRS.
        buffer_m: how far from each other two lines may lie and still be one road.
    """
    return RoadScore(
        float(shapely.length(predicted).sum()),
        _measure_near(predicted, truth, buffer_m),
        float(shapely.length(truth).sum()),
        _measure_near(truth, predicted, buffer_m),
    )


def _measure_near(lines: NDArray[np.object_], others: NDArray[np.object_], buffer_m: float) -> float:
    """Length of the parts of `lines` that are no further than `buffer_m` from `others`."""
    if not (len(lines) and len(others)):
        return 0.0
    left, right = shapely.STRtree(others).query(lines, predicate="dwithin", distance=buffer_m)
    left, starts = np.unique(left, return_index=True)
    near = [shapely.multilinestrings(others[part]) for part in np.split(right, starts[1:])] if left.size else []
    buffers = shapely.buffer(near, buffer_m, quad_segs=_QUAD_SEGS)
    return float(shapely.length(shapely.intersection(lines[left], buffers)).sum())


def _divide(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
