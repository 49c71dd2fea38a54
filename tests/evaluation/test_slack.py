"""Relaxed scores against distances, and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import distance_transform_edt

from geoseg.evaluation.confusion import ConfusionMatrix
from geoseg.evaluation.slack import SlackCounts

EVERYTHING = slice(None), slice(None)
ids = hnp.arrays(np.int16, (13, 11), elements=st.integers(-1, 2))


def away_from(mask):
    return distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, np.inf)


def draw_line(col, width=2):
    image = np.zeros((30, 30), np.int16)
    image[:, col : col + width] = 1
    return image


@given(ids, ids, st.integers(0, 4))
@settings(deadline=None)
def test_hits_are_near_the_other_side(truth, predicted, slack_px):
    counts = SlackCounts.count(truth, predicted, 3, slack_px=slack_px, core=EVERYTHING)
    for i in range(3):
        here, there = truth == i, predicted == i
        assert counts.truth[i] == here.sum()
        assert counts.predicted[i] == there.sum()
        assert counts.found[i] == (here & (away_from(there) <= slack_px)).sum()
        assert counts.right[i] == (there & (away_from(here) <= slack_px)).sum()


@given(ids, ids)
@settings(deadline=None)
def test_without_slack_they_are_the_strict_scores(truth, predicted):
    truth[predicted < 0] = predicted[truth < 0] = -1
    slack = SlackCounts.count(truth, predicted, 3, slack_px=0, core=EVERYTHING)
    matrix = ConfusionMatrix.count(truth, predicted, 3)
    for score in ("iou", "precision", "recall", "f1"):
        np.testing.assert_allclose(getattr(slack, score), getattr(matrix, score))


@pytest.mark.parametrize(("shift", "iou", "precision"), [(2, 1.0, 1.0), (3, 1 / 3, 0.5), (4, 0.0, 0.0)])
def test_shifted_lines(shift, iou, precision):
    counts = SlackCounts.count(draw_line(10), draw_line(10 + shift), 2, slack_px=2, core=EVERYTHING)
    assert counts.precision[1] == counts.recall[1] == precision
    assert counts.iou[1] == pytest.approx(iou)
    assert counts.f1[1] == pytest.approx(2 * iou / (1 + iou))


def test_a_class_that_only_one_side_has():
    counts = SlackCounts.count(draw_line(10), np.zeros((30, 30), np.int16), 3, slack_px=2, core=EVERYTHING)
    assert (counts.recall[1], counts.iou[1], counts.f1[1]) == (0, 0, 0)
    assert np.isnan(counts.precision[1])
    assert np.isnan(counts.iou[2])
