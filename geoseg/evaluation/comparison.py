"""Two sides on one grid, counted window by window under dask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
from dask.base import compute
from dask.delayed import delayed
from numpy.typing import NDArray

from geoseg.errors import InputError
from geoseg.evaluation.boundary import BoundaryCounts
from geoseg.evaluation.confusion import ConfusionMatrix
from geoseg.evaluation.error_map import ErrorMap
from geoseg.evaluation.sides import NODATA, ClassSource
from geoseg.evaluation.slack import SlackCounts
from geoseg.grid import GeoGrid, Window
from geoseg.legend import ClassLegend
from geoseg.raster.aoi import AreaOfInterest

WINDOW_PX = 2048
MERGED_AT_ONCE = 4

_UNKNOWN, _UNHEARD = -1, -2


@dataclass(frozen=True)
class PixelCounts:
    """What was counted in a part of the grid; counts of parts add up to those of the whole.

    Args:
        matrix: classes against classes.
        boundary: the bands along the contours.
        slack: classes with a tolerance.
        errors: where the classes differ.
        left_out_px: pixels of the area that are ignored or unknown on a side.
    """

    matrix: ConfusionMatrix
    boundary: BoundaryCounts
    slack: SlackCounts
    errors: ErrorMap
    left_out_px: int

    @classmethod
    def zero(cls, classes: int, block: Window) -> PixelCounts:
        """The counts of no pixels, for a block of the grid."""
        return cls(
            ConfusionMatrix.zero(classes),
            BoundaryCounts.zero(classes),
            SlackCounts.zero(classes),
            ErrorMap.zero(block),
            0,
        )

    def __add__(self, other: PixelCounts) -> PixelCounts:
        return PixelCounts(
            self.matrix + other.matrix,
            self.boundary + other.boundary,
            self.slack + other.slack,
            self.errors + other.errors,
            self.left_out_px + other.left_out_px,
        )


@dataclass(frozen=True)
class Comparison:
    """What is compared with what, and where.

    Args:
        grid: of both sides.
        predicted: class ids.
        truth: class ids.
        classes: number of classes that are told apart.
        index: (256,) int16 place of a class id among them, negative where it has none; see `index_classes`.
        area: only its pixels are judged; None for all.
        ignored: its pixels are not judged.
    """

    grid: GeoGrid
    predicted: ClassSource
    truth: ClassSource
    classes: int
    index: NDArray[np.int16]
    area: AreaOfInterest | None = None
    ignored: AreaOfInterest | None = None

    @property
    def block(self) -> Window:
        """The part of the grid in which the area lies."""
        return self.grid.window if self.area is None else self.area.window

    def cut_windows(self, margin_px: int = 0) -> Iterator[Window]:
        """Row-major, windows that cover the block and, as far as the grid goes, `margin_px` around it."""
        block = self.block.pad(margin_px, margin_px).intersect(self.grid.window)
        for row in range(block.row, block.row_stop, WINDOW_PX):
            for col in range(block.col, block.col_stop, WINDOW_PX):
                yield Window(row, col, WINDOW_PX, WINDOW_PX).intersect(block)

    def read(self, window: Window) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """(rows, cols) class indices of the truth and of the prediction, negative on both where nothing is judged.

        Raises:
            InputError: a side cannot be read, or holds classes that the legend does not know.
        """
        truth, predicted = (self._read_indices(side, window) for side in (self.truth, self.predicted))
        unjudged = (truth < 0) | (predicted < 0)
        if self.area is not None:
            unjudged |= ~self.area.mask(window)
        if self.ignored is not None:
            unjudged |= self.ignored.mask(window)
        truth[unjudged] = predicted[unjudged] = _UNKNOWN
        return truth, predicted

    def count(self, window: Window, *, boundary_px: int, slack_px: int) -> PixelCounts:
        """Count one window; what lies around it is read as far as its bands and tolerances need it."""
        margin = max(boundary_px, slack_px)
        padded = window.pad(margin, margin).intersect(self.grid.window)
        truth, predicted = self.read(padded)
        core = window.within(padded)
        matrix = ConfusionMatrix.count(truth[core], predicted[core], self.classes)
        wanted = window.rows * window.cols if self.area is None else np.count_nonzero(self.area.mask(window))
        return PixelCounts(
            matrix,
            BoundaryCounts.count(truth, predicted, self.classes, reach_px=boundary_px, core=core),
            SlackCounts.count(truth, predicted, self.classes, slack_px=slack_px, core=core),
            ErrorMap.count(truth[core], predicted[core], window, whole=self.block),
            int(wanted) - matrix.pixels,
        )

    def _read_indices(self, side: ClassSource, window: Window) -> NDArray[np.int16]:
        ids = side.read(window)
        places: NDArray[np.int16] = self.index[ids]
        if (places == _UNHEARD).any():
            unknown = ", ".join(str(i) for i in np.unique(ids[places == _UNHEARD])[:5])
            raise InputError(
                f"{side.name} has unknown classes: {unknown}", expected="the class ids of the legend, and 255"
            )
        return places


def index_classes(legend: ClassLegend, only_id: int | None) -> NDArray[np.int16]:
    """(256,) place of a class id among those of the legend, or 1 for `only_id` and 0 for the others."""
    index = np.full(256, _UNHEARD, np.int16)
    for i, known in enumerate(legend.classes):
        index[known.id] = i if only_id is None else int(known.id == only_id)
    index[[legend.nodata, NODATA]] = _UNKNOWN
    return index


def count_pixels(comparison: Comparison, *, boundary_px: int, slack_px: int, workers: int | None = None) -> PixelCounts:
    """Count all windows as dask tasks whose results are merged as a tree: memory does not grow with the grid.

    Threads do the work, or, where a `distributed.Client` is open, the workers of its cluster.

    Args:
        comparison: the two sides.
        boundary_px: width of the bands along contours.
        slack_px: tolerance of the relaxed scores.
        workers: threads; default: one a processor.

    Raises:
        InputError: a side cannot be read, or holds classes that the legend does not know.
    """
    shared = delayed(comparison, traverse=False)
    count, merge = delayed(Comparison.count, pure=False), delayed(_add_all, pure=False)
    parts = [count(shared, w, boundary_px=boundary_px, slack_px=slack_px) for w in comparison.cut_windows()]
    while len(parts) > 1:
        parts = [merge(parts[i : i + MERGED_AT_ONCE]) for i in range(0, len(parts), MERGED_AT_ONCE)]
    options = {} if workers is None else {"num_workers": workers}
    return compute(parts[0], **options)[0] if parts else PixelCounts.zero(comparison.classes, comparison.block)


def _add_all(parts: list[PixelCounts]) -> PixelCounts:
    return reduce(add, parts)


def find_judged(comparison: Comparison, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of some places lie on a judged pixel.

    Args:
        comparison: the two sides.
        points: (n, 2) float64 (x, y) in the grid's CRS.

    Returns:
        (n,) bool.
    """
    judged = np.zeros(len(points), bool)
    x, y, inverse = points[:, 0], points[:, 1], ~comparison.grid.transform
    cols = np.floor(inverse.a * x + inverse.b * y + inverse.c).astype(np.int64)
    rows = np.floor(inverse.d * x + inverse.e * y + inverse.f).astype(np.int64)
    block = comparison.block
    inside = (rows >= block.row) & (rows < block.row_stop) & (cols >= block.col) & (cols < block.col_stop)
    across = -(-block.cols // WINDOW_PX)
    number = np.where(inside, (rows - block.row) // WINDOW_PX * across + (cols - block.col) // WINDOW_PX, -1)
    order = np.argsort(number)
    first = np.searchsorted(number[order], np.arange(-(-block.rows // WINDOW_PX) * across + 1))
    for i, window in enumerate(comparison.cut_windows()):
        here = order[first[i] : first[i + 1]]
        if here.size:
            truth, _ = comparison.read(window)
            judged[here] = truth[rows[here] - window.row, cols[here] - window.col] >= 0
    return judged
