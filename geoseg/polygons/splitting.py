"""Roofs that touch one another: a component of the class is cut where the model was less sure between its parts.

Each part is what drains to one summit of the smoothed confidence, by a watershed.
"""

from __future__ import annotations

import heapq
import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label

from geoseg.kernel import kernel, subkernel
from geoseg.polygons.rings import Int32, Int64, Uint8

SMOOTHING_M = 1.0
"""Standard deviation of the Gaussian that the confidence is smoothed by."""

DEPTH = 5
"""How much less sure, of 255, the model must be between two parts than within either of them."""

SAMPLE_M = 0.4
"""Size of the pixels on which parts are looked for; walls are then found among the raster's own."""

LEAST_M2 = 12.0
"""Smallest area of a part."""

WALL_M = 3.0
"""How far from a wall between parts pixels may change sides for it to be straight."""


def sample_px(pixel_m: tuple[float, float]) -> int:
    """How many pixels (height, width in metres) a side make one on which parts are looked for."""
    return max(1, round(SAMPLE_M / math.sqrt(math.prod(pixel_m))))


def split_component(
    component: NDArray[np.bool_], confidence: Uint8, pixel_m: tuple[float, float], *, at: tuple[int, int] = (0, 0)
) -> Int32 | None:
    """Cut a component into the parts that the confidence shows.

    Args:
        component: (h, w) bool, its 4-connected pixels.
        confidence: (h, w) uint8, 255 = 1.0; what lies outside the component does not matter.
        pixel_m: (height, width) of a pixel in metres.
        at: row and column of the first pixel in the raster.

    Returns:
        (h, w) int32, the part of each pixel from 1 upward, each 4-connected, in an order that positions alone decide, 0
        outside; None if the component stays whole.

    Source: watershed from markers (Beucher and Meyer 1993, The Morphological Approach to Segmentation), which are the
    summits of sufficient dynamics (Grimaud 1992, A New Measure of Contrast: the Dynamics).
    """
    if np.count_nonzero(component) * math.prod(pixel_m) < 2 * LEAST_M2:
        return None
    step = sample_px(pixel_m)
    room = [(start % step, -(start + side) % step) for start, side in zip(at, component.shape, strict=True)]
    field = _sample(np.pad(component, room), np.pad(confidence, room), pixel_m)
    markers = find_summits(field, DEPTH)
    if markers.max() < 2:
        return None
    basins = _find_basins(field, markers, math.prod(pixel_m) * step**2)
    rows, cols = ((start % step + np.arange(side)) // step for start, side in zip(at, component.shape, strict=True))
    parts = _shape_parts(np.where(component, basins[np.ix_(rows, cols)] + 1, 0), pixel_m)
    return parts if np.ptp(parts[component]) else None


def _find_basins(field: Uint8, markers: Int32, sample_m2: float) -> Int32:
    """To which summit each sample drains, those of too small basins left out."""
    while True:
        basins = flood(field, markers)
        size = np.bincount(basins.ravel())
        small = (size > 0) & (size * sample_m2 < LEAST_M2)
        small[0] = False
        if not small.any():
            return basins
        markers[small[markers]] = 0


def _shape_parts(basins: Int32, pixel_m: tuple[float, float]) -> Int32:
    """Parts (h, w) of one component, from 1 upward and 4-connected, with straight walls between them."""
    least_px = LEAST_M2 / math.prod(pixel_m)
    parts = _unite_slivers(label(basins, connectivity=1).astype(np.int32), least_px)
    straight = _straighten_walls(parts, pixel_m)
    # A wall that became straight may have cut something off.
    return _unite_slivers(label(straight, connectivity=1, background=0).astype(np.int32), least_px)


# A component tree, highest pixels first: of two summits that meet at a pass the lower one ends there, and counts if it
# stands deep enough above it. Of those equally high the one further up or left goes on.
@kernel
def find_summits(field: Uint8, depth: int) -> Int32:
    """Markers (h, w) int32, from 1 row by row: what rises at least `depth` above the way to any higher place.

    Each connected area above 0 has at least one.
    """
    rows, cols = field.shape
    height = field.ravel().astype(np.int64)
    order = np.flatnonzero(height).astype(np.int64)
    order = order[np.argsort(-height[order], kind="mergesort")]
    above = np.full(rows * cols, -1, np.int64)
    is_summit = np.zeros(rows * cols, np.bool_)
    for at in order:
        above[at] = at
        row, col = at // cols, at % cols
        for down, right in ((-1, 0), (0, -1), (0, 1), (1, 0)):
            y, x = row + down, col + right
            if not (0 <= y < rows and 0 <= x < cols) or above[y * cols + x] < 0:
                continue
            one, two = find_root(above, int(at)), find_root(above, y * cols + x)
            if one == two:
                continue
            low, high = (one, two) if (height[one], -one) < (height[two], -two) else (two, one)
            is_summit[low] = height[low] - height[at] >= depth
            above[low] = high
    for at in order:
        if above[at] == at:
            is_summit[at] = True
    markers = np.zeros(rows * cols, np.int32)
    markers[is_summit] = np.arange(1, is_summit.sum() + 1)
    return markers.reshape(rows, cols)


@subkernel
def find_root(above: Int64, at: int) -> int:
    """The highest place that a pixel's area reaches so far; shortens the ways to it."""
    while above[at] != at:
        above[at] = above[above[at]]
        at = above[at]
    return at


# Of pixels equally high the one that was reached first goes first, markers row by row: what happens in one component is
# in the same order whatever else there is.
@kernel
def flood(field: Uint8, markers: Int32) -> Int32:
    """The marker from which each pixel above 0 is reached on the highest way, (h, w) int32; 0 if from none."""
    rows, cols = field.shape
    basins = markers.copy()
    heap = [(np.int64(0), np.int64(0), np.int64(0), np.int64(0))]
    heap.clear()
    age = np.int64(0)
    for r in range(rows):
        for c in range(cols):
            if markers[r, c]:
                heap.append((-np.int64(field[r, c]), age, np.int64(r), np.int64(c)))
                age += 1
    heapq.heapify(heap)
    while heap:
        _, _, row, col = heapq.heappop(heap)
        for down, right in ((-1, 0), (0, -1), (0, 1), (1, 0)):
            y, x = row + down, col + right
            if 0 <= y < rows and 0 <= x < cols and field[y, x] and not basins[y, x]:
                basins[y, x] = basins[row, col]
                heapq.heappush(heap, (-np.int64(field[y, x]), age, y, x))
                age += 1
    return basins


def color_parts(parts: Int32, count: int) -> Uint8:
    """Give parts that touch one another different numbers (h, w), below `count` if they can be.

    In their order, each gets the lowest that no neighbour before it has.
    """
    colors = np.zeros(parts.max() + 1, np.uint8)
    before: dict[int, set[int]] = {}
    for one, two in np.unique(_find_meetings(parts)[:, :2], axis=0).tolist():
        before.setdefault(two, set()).add(one)
    for part in sorted(before):
        taken = {int(colors[other]) for other in before[part]}
        colors[part] = min(set(range(count)) - taken, default=count - 1)
    return colors[parts]


def _sample(component: NDArray[np.bool_], confidence: Uint8, pixel_m: tuple[float, float]) -> Uint8:
    """Smoothed confidence (h / step, w / step), at least 1 in the component and 0 elsewhere."""
    step = sample_px(pixel_m)
    rows, cols = component.shape[0] // step, component.shape[1] // step
    sure = np.where(component, confidence, 0).reshape(rows, step, cols, step).mean(axis=(1, 3), dtype=np.float32)
    smooth = ndimage.gaussian_filter(sure, [SMOOTHING_M / (step * side) for side in pixel_m], mode="constant")
    inside = component[step // 2 :: step, step // 2 :: step]
    return np.where(inside, np.maximum(np.rint(smooth), 1), 0).astype(np.uint8)


def _find_meetings(parts: Int32) -> Int64:
    """(n, 4) int64: the lower and the higher number of parts side by side, row and column of it in half pixels."""
    meetings = []
    for (a, b), axis in (((parts[:-1], parts[1:]), 0), ((parts[:, :-1], parts[:, 1:]), 1)):
        row, col = np.nonzero((a != b) & (a > 0) & (b > 0))
        low, high = np.minimum(a[row, col], b[row, col]), np.maximum(a[row, col], b[row, col])
        meetings.append(np.stack([low, high, 2 * row + (axis == 0), 2 * col + (axis == 1)], axis=1))
    return np.concatenate(meetings)


def _straighten_walls(parts: Int32, pixel_m: tuple[float, float]) -> Int32:
    """The same with the pixels near the wall between two parts on that side of its line on which they are."""
    points = _find_meetings(parts)
    if not len(points):
        return parts
    points = points[np.lexsort(points.T[::-1])]
    cuts = np.flatnonzero((points[1:, :2] != points[:-1, :2]).any(axis=1)) + 1
    straight = parts.copy()
    band = [math.ceil(WALL_M / side) for side in pixel_m]
    for wall in np.split(points, cuts):
        one, two = wall[0, :2]
        at = wall[:, 2:] / 2
        first = np.floor(at.min(axis=0))
        middle, direction = _fit_line(at - first)
        rows, cols = (
            slice(max(0, int(low) - wide), min(size, int(high) + wide + 1))
            for low, high, wide, size in zip(first, at.max(axis=0), band, parts.shape, strict=True)
        )
        block = straight[rows, cols]
        y, x = np.mgrid[rows, cols]
        side = (y - first[0] - middle[0]) * direction[1] - (x - first[1] - middle[1]) * direction[0]
        is_one, is_two = block == one, block == two
        near = (is_one | is_two) & (np.abs(side) <= max(band))
        swapped = side[is_one].sum() < 0
        block[near & ((side > 0) != swapped)] = one
        block[near & ((side > 0) == swapped)] = two
    return straight


def _fit_line(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middle and direction of the line nearest to points (n, 2)."""
    middle = points.mean(axis=0)
    spread = points - middle
    (a, b), (_, c) = spread.T @ spread
    angle = 0.5 * math.atan2(2 * b, a - c)
    return middle, np.array([math.cos(angle), math.sin(angle)])


def _unite_slivers(parts: Int32, least_px: float) -> Int32:
    """The parts of one component without those that are too small beside others."""
    size = np.bincount(parts.ravel())
    size[0] = 0
    small = (size < least_px) & (size < size.max())
    small[0] = False
    flat = np.pad(parts, 1).ravel()
    waiting = np.flatnonzero(small[flat])
    flat[waiting] = 0
    around = np.array([-1, 1, -parts.shape[1] - 2, parts.shape[1] + 2])
    while len(waiting):
        near = flat[waiting[:, None] + around].max(axis=1)
        flat[waiting] = near
        waiting = waiting[near == 0]
    return flat.reshape(parts.shape[0] + 2, -1)[1:-1, 1:-1]
