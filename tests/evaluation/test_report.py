"""The page of an evaluation holds every number of the table, whatever the table holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.evaluation.error_map import RIGHT_COLOR, SIDE, UNKNOWN_COLOR, WRONG_COLOR, ErrorMap
from geoseg.evaluation.report import write_report
from geoseg.grid import Window
from geoseg.page import format_value
from tests.test_page import EVIL, Seen

TABLE = {
    "classes": ["background", EVIL],
    "pixels": {
        "accuracy": 0.9375,
        "iou": [0.5, None],
        "boundary_iou": [0.25, 0.125],
        "confusion": [[75, 25], [1, 3]],
    },
    "buildings": {"found": 12345, "f1": 0.75, "corners": {"predicted": 5.5, "true": 4.25}},
    "places": {"here": {"apls": 0.375, "length_m": 70.5}, "there": {"apls": 0.625}},
    "roads": None,
    "box_m": [0.5, 0.25, 17],
}
PER_CLASS = {
    "mean": {"iou": 0.625},
    "classes": {"background": {"iou": 0.75, "truth_px": 7}, "road": {"iou": 0.5, "truth_px": 8}},
    "shapes": {
        "found": 9,
        "by_iou": {"0.5": 0.75},
        "corners": {"predicted": 1.5, "truth": 2.5},
        "right_angle_share": {"predicted": 3.5, "truth": 4.5},
    },
}


def test_every_kind_of_number_finds_its_place(tmp_path: Path) -> None:
    picture = np.zeros((9, 9, 3), np.uint8)
    path = write_report(json.loads(json.dumps(TABLE)), tmp_path / "new", pictures={"errors": picture})
    assert path == tmp_path / "new" / "report.html"
    seen = Seen(path)
    for text in (
        "boundary IoU",
        "0.1250",
        "75.0%",
        "12,345",
        "Corners",
        "length (m)",
        "APLS",
        EVIL,
        "errors",
        "0.5000, 0.2500, 17",
    ):
        assert text in seen.texts, text
    assert "Roads" not in seen.texts
    assert "script" not in seen.tags
    assert [link[:15] for link in seen.links] == ["data:image/png;"]


def test_what_is_alike_becomes_one_table(tmp_path: Path) -> None:
    seen = Seen(write_report(PER_CLASS, tmp_path))
    assert seen.tags.count("table") == 4
    cells = [text for text in seen.texts if text.strip()]
    assert cells[cells.index("Classes") :] == [
        *("Classes", "IoU", "truth (px)", "background", "0.7500", "7", "road", "0.5000", "8", "mean", "0.6250", "-"),
        *(
            "Shapes",
            "value",
            "found",
            "9",
            "predicted",
            "truth",
            "corners",
            "1.5000",
            "2.5000",
            "right angle share",
            "3.5000",
            "4.5000",
        ),
        *("By IoU", "value", "0.5", "0.7500"),
    ]


SCALARS = st.one_of(st.none(), st.integers(0, 10**9), st.floats(0, 1), st.text(max_size=5))
KEYS = st.text("abc_", min_size=1, max_size=5)
TABLES = st.recursive(
    SCALARS, lambda inner: st.dictionaries(KEYS, inner, max_size=3) | st.lists(inner, max_size=3), max_leaves=10
)


def leaves(value: object) -> list[object]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in leaves(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves(inner)]
    return [value]


@settings(max_examples=40, deadline=None)
@given(table=st.dictionaries(KEYS, TABLES, max_size=4))
def test_no_number_is_lost(tmp_path_factory: Any, table: dict[str, object]) -> None:
    seen = Seen(write_report(table, tmp_path_factory.mktemp("page")))
    text = "\n".join(seen.texts)
    for leaf in leaves(table):
        if isinstance(leaf, int | float):
            assert format_value(leaf) in text


def test_error_maps_of_parts_add_up(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = Window(30, 40, 1000, 613)
    truth, predicted = (rng.integers(-1, 3, whole.shape).astype(np.int16) for _ in range(2))
    total = ErrorMap.zero(whole)
    for row in range(30, 1030, 271):
        for col in range(40, 653, 130):
            window = Window(row, col, 271, 130).intersect(whole)
            part = window.within(whole)
            total += ErrorMap.count(truth[part], predicted[part], window, whole=whole)
    at_once = ErrorMap.count(truth, predicted, whole, whole=whole)
    np.testing.assert_array_equal(total.judged, at_once.judged)
    np.testing.assert_array_equal(total.wrong, at_once.wrong)
    judged = (truth >= 0) & (predicted >= 0)
    assert total.judged.sum() == judged.sum()
    assert total.wrong.sum() == (judged & (truth != predicted)).sum()
    assert max(total.judged.shape) <= SIDE
    assert total.wrong[5, 7] == (judged & (truth != predicted))[15:18, 21:24].sum()


def test_an_error_map_tells_right_from_wrong_from_unknown() -> None:
    truth, predicted = np.array([[0, 0, -1]], np.int16), np.array([[0, 1, 1]], np.int16)
    window = Window(0, 0, 1, 3)
    picture = ErrorMap.count(truth, predicted, window, whole=window).paint()
    assert [tuple(pixel) for pixel in picture[0]] == [RIGHT_COLOR, WRONG_COLOR, UNKNOWN_COLOR]
