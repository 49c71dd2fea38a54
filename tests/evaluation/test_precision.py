"""Average precision against the written-out definition and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.evaluation.precision import IOU_STEPS, RankedObjects

STEPS = len(IOU_STEPS)


def average_slowly(confidence, outcome, truths):
    ranked = [o for _, o in sorted(zip(-confidence, outcome, strict=True), key=lambda pair: pair[0]) if o >= 0]
    curve = [(sum(ranked[:k]) / truths, sum(ranked[:k]) / k) for k in range(1, len(ranked) + 1)]
    best = [max((p for r, p in curve if r >= recall), default=0.0) for recall in np.linspace(0, 1, 101)]
    return sum(best) / 101


@st.composite
def rankings(draw):
    outcome = draw(st.lists(st.sampled_from([1, 0, -1]), max_size=12))
    confidence = draw(st.permutations(range(len(outcome))))
    return np.array(confidence) / 20, np.array(outcome, np.int8), sum(o == 1 for o in outcome) + draw(st.integers(0, 3))


@given(rankings())
def test_equals_the_written_out_definition(ranking):
    confidence, outcome, truths = ranking
    score = RankedObjects(confidence, np.repeat(outcome[:, None], STEPS, axis=1), truths).average_precision
    if not truths:
        assert np.isnan(score).all()
    else:
        np.testing.assert_allclose(score, average_slowly(confidence, outcome, truths))


@given(rankings(), rankings())
def test_parts_add_up(one, two):
    two = (two[0] + 1 / 40, *two[1:])
    parts = [RankedObjects(c, np.repeat(o[:, None], STEPS, axis=1), t) for c, o, t in (one, two)]
    whole = RankedObjects(np.concatenate([one[0], two[0]]), np.concatenate([p.outcome for p in parts]), one[2] + two[2])
    np.testing.assert_allclose((parts[0] + parts[1]).average_precision, whole.average_precision)


def test_closed_forms():
    def score(outcome, truths):
        column = np.repeat(np.array(outcome, np.int8)[:, None], STEPS, axis=1)
        return RankedObjects(np.linspace(1, 0, len(outcome)), column, truths).average_precision[0]

    assert score([1, 1], 2) == 1
    assert score([0, 1], 1) == 0.5
    assert score([1], 2) == pytest.approx(51 / 101)
    assert score([], 2) == 0
    assert score([-1, 1], 1) == 1
