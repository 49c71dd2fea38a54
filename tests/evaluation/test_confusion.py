"""Scores against their definitions on sets of pixels."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geoseg.evaluation.confusion import ConfusionMatrix

CLASSES = 4
ids = hnp.arrays(np.int16, (6, 7), elements=st.integers(-1, CLASSES - 1))


@given(ids, ids)
def test_scores_are_those_of_the_sets(truth, predicted):
    matrix = ConfusionMatrix.count(truth, predicted, CLASSES)
    known = (truth >= 0) & (predicted >= 0)
    assert matrix.pixels == known.sum()
    for c in range(CLASSES):
        true, found = (truth == c) & known, (predicted == c) & known
        both = (true & found).sum()
        expected = {
            "iou": (both, (true | found).sum()),
            "precision": (both, found.sum()),
            "recall": (both, true.sum()),
            "f1": (2 * both, true.sum() + found.sum()),
        }
        for name, (part, whole) in expected.items():
            np.testing.assert_equal(getattr(matrix, name)[c], part / whole if whole else np.nan)
    if known.any():
        assert matrix.accuracy == (truth == predicted)[known].mean()


@given(ids, ids, st.integers(0, 6))
def test_parts_add_up(truth, predicted, row):
    whole = ConfusionMatrix.count(truth, predicted, CLASSES)
    parts = [ConfusionMatrix.count(truth[s], predicted[s], CLASSES) for s in (slice(row), slice(row, None))]
    np.testing.assert_array_equal((parts[0] + parts[1]).counts, whole.counts)


def test_mean_leaves_out_classes_that_do_not_occur():
    truth = np.array([0, 0, 1, 1])
    matrix = ConfusionMatrix.count(truth, truth, 3)
    assert matrix.mean_iou == 1.0
    assert np.isnan(ConfusionMatrix.zero(3).mean_iou)
