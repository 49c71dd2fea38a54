"""Labels: every kind of file says the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import InputError, OptionError
from geoseg.legend import LAND_COVER
from geoseg.training.labels import decode_labels, ignore_bright, known_class, label_values
from geoseg.training.losses import FULL, IGNORE
from geoseg.training.source import list_faults
from tests.training.scenery import make_source

DARK = np.zeros((3, 1, 4), np.uint8)


def test_class_ids_outside_of_the_legend_are_ignored() -> None:
    mask = np.array([[[0, 3, 4, 255]]], np.uint8)
    assert decode_labels(make_source(), LAND_COVER, DARK, mask).tolist() == [[0, 3, IGNORE, IGNORE]]


def test_colors_not_listed_are_ignored() -> None:
    source = make_source(kind="colors", colors={"road": ((1, 2, 3),), "background": ((9, 9, 9), (7, 7, 7))})
    mask = np.array([(1, 2, 3), (9, 9, 9), (7, 7, 7), (3, 2, 1)], np.uint8).T.reshape(3, 1, 4)
    assert decode_labels(source, LAND_COVER, DARK, mask).tolist() == [[2, 0, 0, IGNORE]]
    assert known_class(source, LAND_COVER) == FULL


def test_binary_with_white_no_data() -> None:
    source = make_source(kind="binary", only="road")
    image = DARK.copy()
    image[:, 0, 3] = 251
    mask = np.array([[[0, 255, 1, 255]]], np.uint8)
    labels = decode_labels(source, LAND_COVER, image, mask)
    assert ignore_bright(labels, image, 250).tolist() == [[0, 1, 1, IGNORE]]
    assert known_class(source, LAND_COVER) == 2


def test_ndvi_by_hand() -> None:
    source = make_source(kind="ndvi", only="vegetation", ndvi_above=0.1)
    image = np.zeros((4, 1, 4), np.uint8)
    image[0, 0], image[3, 0] = [100, 100, 200, 0], [100, 150, 100, 0]
    assert decode_labels(source, LAND_COVER, image, None).tolist() == [[0, 1, 0, 0]]
    assert known_class(source, LAND_COVER) == 3


def test_an_unknown_class_is_named() -> None:
    with pytest.raises(OptionError, match="'roads'"):
        known_class(make_source(kind="binary", only="roads"), LAND_COVER)
    with pytest.raises(OptionError, match="'lake'"):
        known_class(make_source(ids={"lake": (3,)}), LAND_COVER)
    with pytest.raises(OptionError, match="'lake'"):
        known_class(make_source(kind="coco", values={"ignore": ("a",), "lake": ("b",)}), LAND_COVER)
    with pytest.raises(OptionError, match="'ignore'"):
        known_class(make_source(ids={"ignore": (3,)}), LAND_COVER)


@given(
    ids=st.dictionaries(st.integers(0, 255), st.sampled_from([c.name for c in LAND_COVER.classes]), max_size=40),
    seed=st.integers(0, 99),
)
def test_ids_in_the_file_become_those_of_the_legend(ids: dict[int, str], seed: int) -> None:
    listed = {name: tuple(i for i, n in ids.items() if n == name) for name in ids.values()}
    names = {c.name: c.id for c in LAND_COVER.classes}
    mask = np.random.default_rng(seed).integers(0, 256, (1, 9, 7), np.uint8)
    expected = [[names[ids[v]] if v in ids else IGNORE for v in row] for row in mask[0].tolist()]
    source = make_source(ids=listed or {"road": ()})
    assert decode_labels(source, LAND_COVER, DARK, mask).tolist() == expected


def test_one_class_of_many_is_a_partial_label() -> None:
    source = make_source(only="building")
    mask = np.array([[[0, 1, 2, 255]]], np.uint8)
    assert decode_labels(source, LAND_COVER, DARK, mask).tolist() == [[0, 1, 0, IGNORE]]
    assert known_class(source, LAND_COVER) == 1


def test_values_are_classes_in_the_order_of_drawing() -> None:
    source = make_source(kind="coco", values={"road": ("b", "c"), "ignore": ("*",), "building": ("a",)})
    labels, places = label_values(["a", "b", "c", "d"], source, LAND_COVER, origin="x")
    assert labels.tolist() == [1, 2, 2, IGNORE]
    assert places.tolist() == [2, 0, 0, 1]
    only = make_source(kind="coco", only="road", values=source.values)
    assert label_values(["a", "b", "d"], only, LAND_COVER, origin="x")[0].tolist() == [0, 1, IGNORE]
    plain = make_source(kind="coco")
    assert label_values(["road"], plain, LAND_COVER, origin="x")[0].tolist() == [2]
    with pytest.raises(InputError, match="no class covers 'lake'"):
        label_values(["road", "lake"], plain, LAND_COVER, origin="x")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "vector"}, "needs 'class_column', or 'only'"),
        ({"kind": "vector", "only": "road", "values": {"road": ("a",)}}, "need the 'class_column'"),
        ({"kind": "vector", "only": "road", "labels": ""}, "needs 'labels'"),
        ({"kind": "vector", "only": "road", "width_m": -1.0}, "width_m"),
        ({"width_m": 3.0}, "'width_m' is not for kind 'classes'"),
        ({"kind": "coco", "extent": "a.gpkg"}, "'extent' is not for kind 'coco'"),
        ({"ids": {"road": (256,)}}, "between 0 and 255"),
        ({"ids": {"road": (1,), "building": (1,)}}, "an id is listed twice"),
        ({"kind": "coco", "values": {"road": ("a",), "building": ("a",)}}, "a value is listed twice"),
    ],
)
def test_faults_of_a_source_are_told(changes: dict[str, Any], said: str) -> None:
    found = [text for is_fault, text in list_faults(make_source(**changes)) if is_fault]
    assert len(found) == 1
    assert said in found[0]
