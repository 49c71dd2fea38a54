"""Matching of polygons against closed-form cases and the written-out algorithm."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geoseg.evaluation.objects import ObjectScore, match_objects, score_objects


def boxes(*corners: tuple[float, float, float, float]) -> np.ndarray:
    return np.array([shapely.box(*c) for c in corners], dtype=object)


def match_slowly(predicted, truth, confidence, min_iou):
    left, pairs = set(range(len(truth))), []
    for i in sorted(range(len(predicted)), key=lambda i: -confidence[i]):
        ious = [(predicted[i].intersection(truth[j]).area / predicted[i].union(truth[j]).area, -j) for j in left]
        best = max(ious, default=(0.0, 0))
        if best[0] >= min_iou and best[0] > 0:
            left.remove(-best[1])
            pairs.append((i, -best[1]))
    return pairs


@st.composite
def some_boxes(draw):
    corners = draw(st.lists(st.tuples(*[st.integers(0, 8)] * 2, *[st.integers(1, 5)] * 2), max_size=12))
    return boxes(*((x, y, x + w, y + h) for x, y, w, h in corners))


@given(some_boxes(), some_boxes(), st.randoms(use_true_random=False), st.sampled_from([0.2, 0.5, 0.7]))
def test_equals_the_written_out_algorithm(predicted, truth, random, min_iou):
    confidence = np.array([random.random() for _ in predicted])
    pairs = match_objects(predicted, truth, confidence=confidence, min_iou=min_iou)
    expected = match_slowly(predicted, truth, confidence, min_iou)
    assert pairs.tolist() == [list(p) for p in expected]


def test_closed_form():
    truth = boxes((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10))
    # IoU 1, exactly 0.5, and 1/3; one building of air.
    predicted = boxes((0, 0, 10, 10), (20, 0, 30, 5), (45, 0, 55, 10), (80, 0, 90, 10))
    score = score_objects(predicted, truth)
    assert score == ObjectScore(found=2, made_up=2, missed=1)
    assert score.precision == 0.5
    assert score.recall == pytest.approx(2 / 3)
    assert score.f1 == pytest.approx(4 / 7)


def test_two_halves_are_one_building_found_once():
    assert score_objects(boxes((0, 0, 10, 5), (0, 5, 10, 10)), boxes((0, 0, 10, 10))) == ObjectScore(1, 1, 0)


def test_the_confident_one_chooses_first():
    truth, predicted = boxes((0, 0, 10, 10)), boxes((0, 0, 10, 9), (0, 0, 10, 10))
    assert match_objects(predicted, truth, confidence=np.array([0.9, 0.1])).tolist() == [[0, 0]]
    assert match_objects(predicted, truth, confidence=np.array([0.1, 0.9])).tolist() == [[1, 0]]


def test_none_at_all():
    none = boxes()
    assert score_objects(none, boxes((0, 0, 1, 1))) == ObjectScore(0, 0, 1)
    assert score_objects(boxes((0, 0, 1, 1)), none) == ObjectScore(0, 1, 0)
    assert np.isnan(score_objects(none, none).f1)
    assert ObjectScore(1, 2, 3) + ObjectScore(4, 5, 6) == ObjectScore(5, 7, 9)
