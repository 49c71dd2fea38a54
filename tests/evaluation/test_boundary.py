"""Boundary IoU against erosion as its authors do it, and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from geoseg.evaluation.boundary import BoundaryCounts, find_band

ids = hnp.arrays(np.int16, (13, 11), elements=st.integers(-1, 2))
EVERYTHING = slice(None), slice(None)


def draw_square(shape, top, left, side):
    image = np.zeros(shape, np.int16)
    image[top : top + side, left : left + side] = 1
    return image


@given(hnp.arrays(bool, (9, 12)), st.integers(1, 4))
@settings(deadline=None)
def test_the_band_is_the_mask_without_its_erosion(mask, reach_px):
    framed = np.pad(mask, reach_px + 1)  # the authors take the image's edge for a contour
    eroded = ndimage.binary_erosion(framed, np.ones((3, 3)), iterations=reach_px)
    np.testing.assert_array_equal(find_band(framed.astype(np.int16), 1, reach_px), framed & ~eroded)


def test_neither_unknown_pixels_nor_the_edge_are_a_contour():
    image = np.ones((8, 8), np.int16)
    image[3, 3] = -1
    assert not find_band(image, 1, 2).any()
    image[0, 0] = 0
    assert find_band(image, 1, 2).sum() == 8


@pytest.mark.parametrize(("shift", "reach_px"), [(0, 3), (1, 3), (2, 2), (3, 5)])
def test_shifted_squares(shift, reach_px):
    side, inner = 20, 20 - 2 * reach_px
    truth, predicted = (draw_square((40, 40), 10, 10 + s, side) for s in (0, shift))
    counts = BoundaryCounts.count(truth, predicted, 2, reach_px=reach_px, core=EVERYTHING)
    band = side**2 - inner**2
    # Common to the squares, less what lies inside of one of the two bands.
    common = side * (side - shift) - (2 * inner * inner - inner * (inner - shift))
    assert (counts.common[1], counts.either[1]) == (common, 2 * band - common)
    assert counts.iou[1] == common / (2 * band - common)


def test_wide_bands_give_the_iou_of_the_squares():
    truth, predicted = draw_square((40, 40), 10, 10, 8), draw_square((40, 40), 10, 12, 8)
    assert BoundaryCounts.count(truth, predicted, 2, reach_px=4, core=EVERYTHING).iou[1] == 6 / 10


@given(ids, ids, st.integers(1, 3), st.integers(0, 13), st.integers(0, 11))
@settings(deadline=None)
def test_parts_with_a_margin_add_up(truth, predicted, reach_px, row, col):
    truth[predicted < 0] = predicted[truth < 0] = -1
    whole = BoundaryCounts.count(truth, predicted, 3, reach_px=reach_px, core=EVERYTHING)
    total = BoundaryCounts.zero(3)
    for rows in (range(row), range(row, 13)):
        for cols in (range(col), range(col, 11)):
            top, left = max(0, rows.start - reach_px), max(0, cols.start - reach_px)
            part = slice(top, rows.stop + reach_px), slice(left, cols.stop + reach_px)
            core = slice(rows.start - top, rows.stop - top), slice(cols.start - left, cols.stop - left)
            if len(rows) and len(cols):
                total += BoundaryCounts.count(truth[part], predicted[part], 3, reach_px=reach_px, core=core)
    np.testing.assert_array_equal(total.common, whole.common)
    np.testing.assert_array_equal(total.either, whole.either)
    assert np.isnan(BoundaryCounts.zero(1).iou[0])
