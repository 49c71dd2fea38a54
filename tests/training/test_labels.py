"""Labels: every kind of file says the same."""

from __future__ import annotations

import numpy as np
import pytest

from geoseg.errors import OptionError
from geoseg.legend import LAND_COVER
from geoseg.training.labels import decode_labels, known_class
from geoseg.training.losses import FULL, IGNORE
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
    source = make_source(kind="binary", only="road", ignore_above=250)
    image = DARK.copy()
    image[:, 0, 3] = 251
    mask = np.array([[[0, 255, 1, 255]]], np.uint8)
    assert decode_labels(source, LAND_COVER, image, mask).tolist() == [[0, 1, 1, IGNORE]]
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
