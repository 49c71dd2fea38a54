"""Scores against their definitions on sets of pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics
from torchmetrics import functional

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


@given(
    hnp.arrays(np.int64, (6, 7), elements=st.integers(0, CLASSES - 1)),
    hnp.arrays(np.int64, (6, 7), elements=st.integers(0, CLASSES - 1)),
)
@settings(max_examples=30, deadline=None)
def test_scores_are_those_of_scikit_learn_and_torchmetrics(truth, predicted):
    matrix = ConfusionMatrix.count(truth, predicted, CLASSES)
    np.testing.assert_array_equal(
        matrix.counts, metrics.confusion_matrix(truth.ravel(), predicted.ravel(), labels=range(CLASSES))
    )
    scores = metrics.precision_recall_fscore_support(
        truth.ravel(), predicted.ravel(), labels=range(CLASSES), zero_division=np.nan
    )
    np.testing.assert_allclose(np.nan_to_num(matrix.precision), np.nan_to_num(scores[0]))
    np.testing.assert_allclose(np.nan_to_num(matrix.recall), np.nan_to_num(scores[1]))
    np.testing.assert_allclose(np.nan_to_num(matrix.f1), np.nan_to_num(scores[2]))
    assert matrix.accuracy == pytest.approx(metrics.accuracy_score(truth.ravel(), predicted.ravel()))
    iou = functional.jaccard_index(
        torch.from_numpy(predicted), torch.from_numpy(truth), task="multiclass", num_classes=CLASSES, average="none"
    )
    np.testing.assert_allclose(np.nan_to_num(matrix.iou), iou, rtol=1e-6)
    for c in range(CLASSES):
        of_class = functional.accuracy(torch.from_numpy(predicted == c), torch.from_numpy(truth == c), task="binary")
        assert matrix.class_accuracy[c] == pytest.approx(of_class.item())
