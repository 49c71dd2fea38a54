"""Where a prediction is wrong, small enough to look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window

SIDE = 400
"""Cells along the longer side of a map."""

RIGHT_COLOR, WRONG_COLOR, UNKNOWN_COLOR = (232, 236, 234), (176, 18, 60), (128, 128, 128)


@dataclass(frozen=True)
class ErrorMap:
    """Judged and wrong pixels by cell of a coarse grid; maps of parts add up to that of the whole.

    Args:
        wrong: int64 (n, m), pixels whose class differs.
        judged: int64 (n, m), pixels that both sides know.
    """

    wrong: NDArray[np.int64]
    judged: NDArray[np.int64]

    @classmethod
    def zero(cls, whole: Window) -> ErrorMap:
        """The map of no pixels, for a grid of that size."""
        cell_px = _cell_px(whole)
        shape = -(-whole.rows // cell_px), -(-whole.cols // cell_px)
        return cls(np.zeros(shape, np.int64), np.zeros(shape, np.int64))

    @classmethod
    def count(
        cls, truth: NDArray[np.int16], predicted: NDArray[np.int16], window: Window, *, whole: Window
    ) -> ErrorMap:
        """Count one window.

        Args:
            truth: int16 (H, W) class indices, negative where nothing is judged.
            predicted: int16 (H, W), the same.
            window: where the two lie.
            whole: all that the map shows.
        """
        found, cell_px = cls.zero(whole), _cell_px(whole)
        judged = (truth >= 0) & (predicted >= 0)
        rows = (np.arange(window.row, window.row_stop) - whole.row) // cell_px
        cols = (np.arange(window.col, window.col_stop) - whole.col) // cell_px
        place = np.ix_(np.unique(rows), np.unique(cols))
        starts = np.unique(rows, return_index=True)[1], np.unique(cols, return_index=True)[1]
        for total, part in ((found.judged, judged), (found.wrong, judged & (truth != predicted))):
            sums = np.add.reduceat(part, starts[0], axis=0, dtype=np.int64)
            total[place] = np.add.reduceat(sums, starts[1], axis=1)
        return found

    def __add__(self, other: ErrorMap) -> ErrorMap:
        return ErrorMap(self.wrong + other.wrong, self.judged + other.judged)

    def paint(self) -> NDArray[np.uint8]:
        """A picture uint8 (n, m, 3): the redder, the more of a cell is wrong; grey where nothing is judged."""
        share = (self.wrong / np.maximum(self.judged, 1))[..., None]
        # The square root lets thin errors, along contours, be seen beside large ones.
        mixed = np.array(RIGHT_COLOR) + np.sqrt(share) * (np.array(WRONG_COLOR) - np.array(RIGHT_COLOR))
        return np.where((self.judged > 0)[..., None], mixed.round(), np.array(UNKNOWN_COLOR)).astype(np.uint8)


def _cell_px(whole: Window) -> int:
    return max(1, -(-max(whole.shape) // SIDE))
