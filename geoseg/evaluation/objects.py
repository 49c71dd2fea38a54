"""How well polygons agree one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ObjectScore:
    """Objects that were found, made up and missed; scores of parts add up to that of the whole.

    Every score is a fraction from 0 to 1, and not a number where it is 0 / 0.
    """

    found: int
    made_up: int
    missed: int

    def __add__(self, other: ObjectScore) -> ObjectScore:
        return ObjectScore(self.found + other.found, self.made_up + other.made_up, self.missed + other.missed)

    @property
    def precision(self) -> float:
        """Share of the predicted objects that are there."""
        return _divide(self.found, self.found + self.made_up)

    @property
    def recall(self) -> float:
        """Share of the objects that were predicted."""
        return _divide(self.found, self.found + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _divide(2 * self.found, 2 * self.found + self.made_up + self.missed)


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Which predicted polygon overlaps which true one, and how well.

    Args:
        predicted: (k,) int64 index.
        truth: (k,) int64 index.
        iou: (k,) float64 intersection over union, 0 to 1.
    """

    predicted: NDArray[np.int64]
    truth: NDArray[np.int64]
    iou: NDArray[np.float64]


def find_overlaps(predicted: NDArray[np.object_], truth: NDArray[np.object_], *, min_iou: float) -> Overlaps:
    """All pairs of valid shapely geometries, (n,) and (m,) of one CRS, with at least `min_iou`."""
    left, right = shapely.STRtree(truth).query(predicted, predicate="intersects")
    intersection = shapely.area(shapely.intersection(predicted[left], truth[right]))
    union = shapely.area(predicted)[left] + shapely.area(truth)[right] - intersection
    iou = intersection / np.where(union > 0.0, union, np.inf)
    enough = iou >= min_iou
    return Overlaps(left[enough], right[enough], iou[enough])


def match_overlaps(
    overlaps: Overlaps, shape: tuple[int, int], *, confidence: NDArray[np.float64] | None, min_iou: float
) -> NDArray[np.int64]:
    """Pair polygons one to one, as `match_objects` says, out of `overlaps` between shape = (n, m) polygons."""
    enough = overlaps.iou >= min_iou
    left, right, iou = overlaps.predicted[enough], overlaps.truth[enough], overlaps.iou[enough]
    known = np.zeros(shape[0]) if confidence is None else np.nan_to_num(confidence)
    order = np.lexsort((right, -iou, left, -known[left]))
    matched_left, matched_right = np.zeros(shape[0], bool), np.zeros(shape[1], bool)
    pairs = []
    for i, j in zip(left[order].tolist(), right[order].tolist(), strict=True):
        if not (matched_left[i] or matched_right[j]):
            matched_left[i] = matched_right[j] = True
            pairs.append((i, j))
    return np.array(pairs, np.int64).reshape(-1, 2)


def match_objects(
    predicted: NDArray[np.object_],
    truth: NDArray[np.object_],
    *,
    confidence: NDArray[np.float64] | None = None,
    min_iou: float = 0.5,
) -> NDArray[np.int64]:
    """Pair predicted and true polygons one to one: in order of confidence, each takes the best one that is left.

    Args:
        predicted: (n,) valid shapely geometries.
        truth: (m,) valid shapely geometries in the same CRS.
        confidence: (n,) the most confident polygon chooses first; without, in the order given.
        min_iou: a pair needs at least this intersection over union.

    Returns:
        (k, 2) int64 indices into `predicted` and `truth`.

    Source: Van Etten et al., SpaceNet: A Remote Sensing Dataset and Challenge Series (2018), algorithm 1.
    """
    overlaps = find_overlaps(predicted, truth, min_iou=min_iou)
    return match_overlaps(overlaps, (len(predicted), len(truth)), confidence=confidence, min_iou=min_iou)


def score_objects(
    predicted: NDArray[np.object_],
    truth: NDArray[np.object_],
    *,
    confidence: NDArray[np.float64] | None = None,
    min_iou: float = 0.5,
) -> ObjectScore:
    """Count what `match_objects`, which explains the arguments, pairs and leaves."""
    found = len(match_objects(predicted, truth, confidence=confidence, min_iou=min_iou))
    return ObjectScore(found, len(predicted) - found, len(truth) - found)


def _divide(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
