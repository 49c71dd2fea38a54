"""The tables of a run say the same whether it was interrupted or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import InputError, OutputError
from geoseg.training.history import STEPS, VALIDATIONS, History, read_columns
from geoseg.training.validate import Score

LAST = 12


def record(history: History, first: int, last: int, *, pace: float = 1.0) -> None:
    """Steps first .. last, with a validation at every fourth."""
    for step in range(first, last + 1):
        numbers = np.random.default_rng(step).random(5)
        history.record_step(
            step, minutes=pace * step, loss=numbers[0], gradient_norm=numbers[1] * 1e4, rate=numbers[2] * 1e-5
        )
        if step % 4 == 0:
            score = Score(('no, "never"', "yes", "absent"), np.array([[step, 1, 0], [2, 3, 0], [0, 0, 0]]))
            history.record_validation(
                step,
                minutes=pace * step,
                train_loss=float("nan") if step == LAST else numbers[3],
                validation_loss=numbers[4],
                mean_iou=score.mean_iou,
                scores={"a source": score},
            )


def read_all(folder: Path) -> dict[str, list[str]]:
    """Every cell but the minutes."""
    tables = {}
    for name in (STEPS, VALIDATIONS):
        rows = (folder / name).read_text().splitlines()
        tables[name] = [",".join(row.split(",")[:1] + row.split(",")[2:]) for row in rows]
    return tables


@settings(max_examples=25, deadline=None)
@given(checkpoint=st.integers(0, LAST), ahead=st.integers(0, 6), torn=st.text("0123456789.,", max_size=20))
def test_a_killed_run_leaves_no_trace(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: int, ahead: int, torn: str
) -> None:
    folder = tmp_path_factory.mktemp("run")
    whole = History(folder / "whole", step=0, validated_step=0)
    record(whole, 1, LAST)
    whole.close()
    first = History(folder / "parts", step=0, validated_step=0)
    record(first, 1, min(LAST, checkpoint + ahead), pace=2.0)
    # A killed process does not close its files; what was recorded is there all the same.
    for name in (STEPS, VALIDATIONS):
        with (folder / "parts" / name).open("a") as file:
            file.write(torn)
    second = History(folder / "parts", step=checkpoint, validated_step=checkpoint)
    record(second, checkpoint + 1, LAST, pace=3.0)
    second.close()
    first.close()
    assert read_all(folder / "parts") == read_all(folder / "whole")


def test_what_was_recorded_can_be_read_at_once(tmp_path: Path) -> None:
    history = History(tmp_path, step=0, validated_step=0)
    assert read_columns(tmp_path / STEPS) == {}
    record(history, 1, 8)
    steps, log = read_columns(tmp_path / STEPS), read_columns(tmp_path / VALIDATIONS)
    history.close()
    assert list(steps) == ["step", "minutes", "loss", "gradient_norm", "rate"]
    assert steps["step"].tolist() == [*range(1, 9)]
    expected = [np.random.default_rng(step).random(5)[1] * 1e4 for step in range(1, 9)]
    np.testing.assert_allclose(steps["gradient_norm"], expected, rtol=1e-5)
    assert list(log)[2:] == [
        "train_loss",
        "validation_loss",
        "mean_iou",
        'a source: no, "never"',
        "a source: yes",
        "a source: absent",
    ]
    np.testing.assert_allclose(log["a source: yes"], [0.5, 0.5], rtol=1e-5)
    assert np.isnan(log["a source: absent"]).all()


def test_a_number_that_is_none_survives(tmp_path: Path) -> None:
    history = History(tmp_path, step=0, validated_step=0)
    history.record_step(1, minutes=0, loss=1, gradient_norm=float("inf"), rate=0)
    history.record_step(2, minutes=0, loss=1, gradient_norm=float("nan"), rate=0)
    history.close()
    np.testing.assert_array_equal(read_columns(tmp_path / STEPS)["gradient_norm"], [np.inf, np.nan])


def test_a_table_of_another_job_is_not_continued(tmp_path: Path) -> None:
    history = History(tmp_path, step=0, validated_step=0)
    record(history, 1, 4)
    history.close()
    other = History(tmp_path, step=4, validated_step=4)
    scores = {"another": Score(("x",), np.array([[1]]))}
    with pytest.raises(OutputError, match="lacks the columns another: x"):
        other.record_validation(5, minutes=0, train_loss=1, validation_loss=1, mean_iou=1, scores=scores)
    other.close()


def test_a_table_that_is_none(tmp_path: Path) -> None:
    (tmp_path / STEPS).write_text("step,loss\none,two\n")
    with pytest.raises(InputError, match="cannot be read"):
        read_columns(tmp_path / STEPS)
    with pytest.raises(InputError, match="cannot be read"):
        read_columns(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="cannot be read"):
        History(tmp_path, step=3, validated_step=3)
