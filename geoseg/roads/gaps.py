"""Which gaps between roads are closed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from geoseg.errors import OptionError
from geoseg.grid import Window
from geoseg.roads.draw import to_pixels
from geoseg.roads.lines import Bool, Float64, Int64
from geoseg.roads.mask import Uint8
from geoseg.roads.scale import RoadScale

BLOCK_M = 256.0
"""Gaps are judged block by block, so that what is read for one is at hand for the next one."""

ReadClasses = Callable[[Window], tuple[Uint8, Uint8 | None]]


@dataclass(frozen=True)
class BridgeRule:
    """Which gaps in a road are closed.

    Args:
        max_gap_m: from edge to edge; a longer gap stays open.
        max_angle_deg: by how much the gap may turn from the direction of the road at either end.
        max_confidence: of the background, 0 to 1, in the mean over the gap, other classes counting as 0; where it is
            surer, there is no road.
        background: class ids of the background.
        blocking: class ids that no road leads through, such as buildings.
        read: gives the classes of a window within the raster, (h, w) uint8, and their confidence or None; None: gaps
            are judged by direction alone.

    Raises:
        OptionError: a limit is out of its range.
    """

    max_gap_m: float = 12.0
    max_angle_deg: float = 30.0
    max_confidence: float = 0.8
    background: Collection[int] = ()
    blocking: Collection[int] = ()
    read: ReadClasses | None = None

    def is_ahead(self, way: Float64, direction: Float64) -> Bool:
        """(n,) whether ways (n, 2) lead where directions (n, 2), of length 1, point."""
        ahead = (way * direction).sum(axis=-1)
        return np.asarray(ahead >= np.cos(np.radians(self.max_angle_deg)) * np.hypot(*way.T), bool)

    def __post_init__(self) -> None:
        if not (self.max_gap_m >= 0 and 0 <= self.max_angle_deg <= 90 and 0 <= self.max_confidence <= 1):
            raise OptionError(
                f"gaps of {self.max_gap_m} m, {self.max_angle_deg} degrees, confidence {self.max_confidence}",
                expected="a length, an angle up to 90 degrees and a confidence from 0 to 1",
            )


def order_blocks(metres: Float64) -> Int64:
    """(n,) order of places (n, 2) of a band of rows, in metres: column by column of blocks, and block by block."""
    row, col = np.floor(metres / BLOCK_M).T
    return np.asarray(np.lexsort((row, col)), np.int64)


def is_open(start: Float64, stop: Float64, radius: Float64, *, scale: RoadScale, rule: BridgeRule) -> bool:
    """Whether what lies between two ends may hide a road.

    Args:
        start: (2,) float64 in metres.
        stop: (2,) float64 in metres.
        radius: (2,) float64, half the width in metres of the roads at both.
        scale: of the raster.
        rule: which gaps to close.
    """
    if rule.read is None:
        return True
    length = float(np.hypot(*(stop - start)))
    inset = np.minimum(radius, length / 2)
    pixel_m = np.array(scale.cell_m) / scale.factors
    count = max(2, int((length - inset.sum()) / min(pixel_m) * 2))
    along = np.linspace(inset[0], length - inset[1], count)[:, None] / length
    pixels = np.floor(to_pixels((start + along * (stop - start)) / np.array(scale.cell_m) * 2, scale)).astype(np.int64)
    pixels = np.minimum(pixels, np.array(scale.grid_shape) - 1)
    low, size = pixels.min(axis=0), np.ptp(pixels, axis=0) + 1
    classes, confidence = rule.read(Window(int(low[0]), int(low[1]), int(size[0]), int(size[1])))
    found = classes[tuple((pixels - low).T)]
    if mark_classes(rule.blocking)[found].any():
        return False
    if confidence is None:
        return True
    # What covers the ground, such as trees, says nothing about a road below.
    against = np.where(mark_classes(rule.background)[found], confidence[tuple((pixels - low).T)], 0)
    return bool(against.mean() <= 255 * rule.max_confidence)


def mark_classes(class_ids: Collection[int]) -> Bool:
    """(256,) whether a class is one of these."""
    marks = np.zeros(256, bool)
    marks[list(class_ids)] = True
    return marks
