"""Class weights: by name, or balanced by how often classes occur."""

from __future__ import annotations

import pytest

from geoseg.errors import OptionError
from geoseg.legend import LAND_COVER
from geoseg.training.class_weights import weigh_classes
from tests.training.scenery import make_source


def test_what_is_not_named_weighs_one() -> None:
    assert weigh_classes({}, {}, [], LAND_COVER) == (1, 1, 1, 1)
    assert weigh_classes({"road": 3}, {}, [], LAND_COVER) == (1, 1, 3, 1)
    with pytest.raises(OptionError, match="unknown class 'rod'"):
        weigh_classes({"rod": 3}, {}, [], LAND_COVER)


def test_balanced_is_the_inverse_square_root_of_the_share_in_the_crops() -> None:
    sources = [
        make_source(name="all", weight=3.0),
        make_source(name="roads", only="road", weight=1.0),
        make_source(name="held out", use="validation", weight=9.0),
    ]
    shares = {"all": {"background": 0.6, "building": 0.3, "road": 0.1}, "roads": {"not road": 0.78, "road": 0.22}}
    weights = weigh_classes("balanced", shares, sources, LAND_COVER)
    raw = [0.6**-0.5, 0.3**-0.5, (0.75 * 0.1 + 0.25 * 0.22) ** -0.5]
    mean = sum(raw) / 3
    assert weights == pytest.approx([*(w / mean for w in raw), 1.0])
    with pytest.raises(OptionError, match="no class occurs"):
        weigh_classes("balanced", {}, sources, LAND_COVER)
