"""What became of objects: which of one side are which of the other one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoseg.comparison.objects import BLOCK_BYTES, FloatArray, IntArray, Objects
from geoseg.comparison.pairs import Pairs

SAME_IOU = 0.9
"""From here on an object is unchanged."""

MATCH_IOU = 0.3
"""From here on an object is the other one, changed, or several are parts of one."""

PART_INSIDE, PART_SHARE = 0.5, 0.1
"""A part lies in the whole with at least this share of its area, and takes at least this share of the whole."""

ONE_SIDED = 0.25
"""Who gains at most this fraction of what is lost has shrunk; who loses so much of what is gained has grown."""

NOISE = -2

MATCHED = ("unchanged", "grown", "shrunk", "moved", "split", "merged")
CHANGES = (*MATCHED, "appeared", "vanished", "noise")


@dataclass(frozen=True)
class Events:
    """Objects of A and B that belong together: one and one, one and its parts, or parts and their whole.

    Args:
        of_a: (n,) int64 event of each object of A, -1 for none: it vanished, -2 if it is too narrow to say so.
        of_b: (m,) int64 event of each object of B, -1 for none: it appeared, -2 likewise.
        iou: (e,) float64 intersection over union of both sides of an event, 0 to 1.
        gained_m2: (e,) float64 area of B that was not A.
        lost_m2: (e,) float64 area of A that is not B.
    """

    of_a: IntArray
    of_b: IntArray
    iou: FloatArray
    gained_m2: FloatArray
    lost_m2: FloatArray

    def __len__(self) -> int:
        return len(self.iou)

    def name_changes(self) -> NDArray[np.object_]:
        """(e,) one of `MATCHED`."""
        many_a, many_b = (np.bincount(of[of >= 0], minlength=len(self)) > 1 for of in (self.of_a, self.of_b))
        same = (self.iou >= SAME_IOU) | ((self.gained_m2 == 0) & (self.lost_m2 == 0))
        grown = self.lost_m2 <= ONE_SIDED * self.gained_m2
        shrunk = self.gained_m2 <= ONE_SIDED * self.lost_m2
        return np.select([many_b, many_a, same, grown, shrunk], ["split", "merged", *MATCHED[:3]], "moved").astype(
            object
        )


def match_objects(pairs: Pairs, a: Objects, b: Objects) -> Events:
    """Find out which objects belong together; swapping the sides swaps split and merged, gained and lost.

    1. Pairs of at least `SAME_IOU` are taken, the best first.
    2. Among the objects that are left, one that holds two or more parts of the other side, which belong to no other
       one, is split or merged, if all together reach `MATCH_IOU`.
    3. Pairs of at least `MATCH_IOU` are taken, the best first.

    Of equal pairs the western, then the southern one comes first.
    """
    union = a.size[pairs.a] + b.size[pairs.b] - pairs.shared_m2
    # Rounded, so that the order of the operands, and so of the sides, plays no part.
    iou = np.round(pairs.shared_m2 / union, 9)
    corner = np.round(np.maximum(a.bounds[pairs.a, :2], b.bounds[pairs.b, :2]), 3)
    ranked = np.lexsort((pairs.b, pairs.a, corner[:, 1], corner[:, 0], -iou))
    of_a, of_b = np.full(len(a), -1, np.int64), np.full(len(b), -1, np.int64)
    count = _take_best(pairs, ranked[iou[ranked] >= SAME_IOU], of_a, of_b, 0)
    count = _take_parts(pairs, a.size, b.size, of_a, of_b, count)
    count = _take_best(pairs, ranked[iou[ranked] >= MATCH_IOU], of_a, of_b, count)
    return _measure(pairs, a.size, b.size, of_a, of_b, count)


def _take_best(pairs: Pairs, ranked: IntArray, of_a: IntArray, of_b: IntArray, count: int) -> int:
    for i, j in zip(pairs.a[ranked].tolist(), pairs.b[ranked].tolist(), strict=True):
        if of_a[i] < 0 and of_b[j] < 0:
            of_a[i] = of_b[j] = count
            count += 1
    return count


def _take_parts(  # noqa: PLR0917 (both sides alike)
    pairs: Pairs, size_a: FloatArray, size_b: FloatArray, of_a: IntArray, of_b: IntArray, count: int
) -> int:
    small, large = np.minimum(size_a[pairs.a], size_b[pairs.b]), np.maximum(size_a[pairs.a], size_b[pairs.b])
    linked = (pairs.shared_m2 >= PART_INSIDE * small) & (pairs.shared_m2 >= PART_SHARE * large)
    links = pairs.take(linked & (of_a[pairs.a] < 0) & (of_b[pairs.b] < 0))
    n, m = len(size_a), len(size_b)
    web = coo_array((np.ones(len(links.a), bool), (links.a, n + links.b)), shape=(n + m, n + m))
    groups, label = connected_components(web, directed=False)
    many_a, many_b = (np.bincount(part, minlength=groups) for part in (label[:n], label[n:]))
    shared = np.bincount(label[links.a], links.shared_m2, groups)
    size = np.bincount(label, np.concatenate([size_a, size_b]), groups)
    star = (np.minimum(many_a, many_b) == 1) & (many_a + many_b > 2) & (shared >= MATCH_IOU * (size - shared))
    number = np.where(star, count + np.cumsum(star) - 1, -1)[label]
    of_a[:] = np.where(number[:n] >= 0, number[:n], of_a)
    of_b[:] = np.where(number[n:] >= 0, number[n:], of_b)
    return count + int(star.sum())


def _measure(  # noqa: PLR0917 (both sides alike)
    pairs: Pairs, size_a: FloatArray, size_b: FloatArray, of_a: IntArray, of_b: IntArray, count: int
) -> Events:
    inside = (of_a[pairs.a] >= 0) & (of_a[pairs.a] == of_b[pairs.b])
    shared = np.bincount(of_a[pairs.a[inside]], pairs.shared_m2[inside], count)
    before, after = (np.bincount(of[of >= 0], size[of >= 0], count) for of, size in ((of_a, size_a), (of_b, size_b)))
    gained, lost = np.maximum(after - shared, 0), np.maximum(before - shared, 0)
    return Events(of_a, of_b, shared / (before + after - shared), gained, lost)


def forgive_noise(
    events: Events, a: Objects, b: Objects, *, tolerance_m: float, block_bytes: int = BLOCK_BYTES
) -> Events:
    """Measure again what was gained and lost, without what is narrower than a tolerance; objects so narrow are noise.

    What counts is the morphological opening of the difference with a square-cornered brush of that width.
    """
    gained, lost = events.gained_m2.copy(), events.lost_m2.copy()
    for numbers in _cut_events(events, a, block_bytes):
        before, after = _join(events.of_a, numbers, a), _join(events.of_b, numbers, b)
        gained[numbers] = _measure_wide(shapely.difference(after, before), tolerance_m)
        lost[numbers] = _measure_wide(shapely.difference(before, after), tolerance_m)
    of_a, of_b = (_mark_noise(of, side, tolerance_m) for of, side in ((events.of_a, a), (events.of_b, b)))
    return Events(of_a, of_b, events.iou, gained, lost)


def _mark_noise(of: IntArray, side: Objects, tolerance_m: float) -> IntArray:
    marked = of.copy()
    for numbers in side.cut(np.flatnonzero(of < 0)):
        marked[numbers[_measure_wide(side.load(numbers), tolerance_m) == 0]] = NOISE
    return marked


def _cut_events(events: Events, a: Objects, block_bytes: int) -> Iterator[IntArray]:
    """Numbers of events whose objects lie together."""
    seen = np.zeros(len(events), bool)
    for block in a.cut_blocks(block_bytes):
        here = np.unique(events.of_a[block])
        here = here[here >= 0]
        here = here[~seen[here]]
        seen[here] = True
        if here.size:
            yield here


def _join(of: IntArray, numbers: IntArray, side: Objects) -> NDArray[np.object_]:
    """(len(numbers),) geometries of one side of some events, ascending."""
    place = np.searchsorted(numbers, of).clip(max=len(numbers) - 1)
    members = np.flatnonzero(numbers[place] == of)
    members = members[np.argsort(place[members], kind="stable")]
    shapes, start = side.load(members), np.searchsorted(place[members], np.arange(len(numbers) + 1))
    joined = shapes[start[:-1]]
    for i in np.flatnonzero(np.diff(start) > 1):
        joined[i] = shapely.union_all(shapes[start[i] : start[i + 1]])
    return joined


def _measure_wide(shapes: NDArray[np.object_], width_m: float) -> FloatArray:
    half = width_m / 2
    core = shapely.buffer(shapes, -half, join_style="mitre")
    wide: FloatArray = shapely.area(shapely.intersection(shapely.buffer(core, half, join_style="mitre"), shapes))
    return wide
