"""A part of a patch gives what the whole gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.models.crop import WORTH_IT, crop_patch
from geoseg.models.engine import PatchGeometry
from geoseg.models.onnx_engine import OnnxEngine
from geoseg.models.package import ModelPackage
from geoseg.models.resample import classify_core
from tests.fakes import FakeEngine

PATCH_PX, HALO_PX = 256, 32
spans = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


def ask(shape: tuple[int, int], rows: list[float], cols: list[float]) -> NDArray[np.bool_]:
    asked = np.zeros(shape, bool)
    cut = [
        slice(int(low * (n - 1)), int(high * (n - 1)) + 1) for n, (low, high) in zip(shape, (rows, cols), strict=True)
    ]
    asked[tuple(cut)] = True
    return asked


@settings(max_examples=60, deadline=None)
@given(spans, spans, st.sampled_from([(192, 192), (480, 603), (120, 51), (192, 60)]))
def test_what_is_asked_for_is_as_in_the_whole_patch(
    rows: list[float], cols: list[float], core: tuple[int, int]
) -> None:
    geometry = PatchGeometry(PATCH_PX, HALO_PX, *core)
    engine = FakeEngine(geometry, radius_px=HALO_PX)
    image = np.random.default_rng(0).integers(0, 256, (1, 3, PATCH_PX, PATCH_PX)).astype(np.uint8)
    asked = ask(core, rows, cols)
    for whole, part in zip(engine.predict(image), engine.predict(image, asked[None]), strict=True):
        np.testing.assert_array_equal(whole[0][asked], part[0][asked])
    part = crop_patch(asked, geometry)
    if part is not None:
        sides = [s.stop - s.start for s in part.patch]
        assert all(0 <= s.start < s.stop <= PATCH_PX and s.start % 32 == s.stop % 32 == 0 for s in part.patch)
        assert sides[0] * sides[1] <= WORTH_IT * PATCH_PX**2
        assert asked[part.core].all()


def test_a_corner_costs_a_corner() -> None:
    geometry = PatchGeometry(1024, 128, 768, 768)
    part = crop_patch(ask((768, 768), [0, 0.1], [0.9, 1]), geometry)
    assert part is not None
    assert part.patch == (slice(0, 352), slice(672, 1024))


def test_all_or_nearly_all_is_left_whole() -> None:
    geometry = PatchGeometry(PATCH_PX, HALO_PX, 192, 192)
    assert crop_patch(np.ones((192, 192), bool), geometry) is None
    assert crop_patch(ask((192, 192), [0.0, 0.9], [0, 1]), geometry) is None


@pytest.mark.parametrize("core", [(64, 64), (160, 201)])
def test_onnx_runtime_computes_the_part_alone(
    package: ModelPackage, scenery: NDArray[np.uint8], core: tuple[int, int]
) -> None:
    geometry = PatchGeometry(128, 32, *core)
    engine, image = OnnxEngine(package, geometry), scenery[None, :, :128, :128]
    asked = ask(core, [0, 0.1], [0, 0.1])
    part = crop_patch(asked, geometry)
    assert part is not None
    shapes = []
    predict_core = engine._predict_core
    engine._predict_core = lambda given, part: shapes.append(given.shape) or predict_core(given, part)  # type: ignore
    classes, confidence = engine.predict(image, asked[None])
    assert shapes == [(1, 3, *(s.stop - s.start for s in part.patch))]
    alone = engine.predict_probabilities(np.ascontiguousarray(image[:, :, *part.patch]))
    wanted = classify_core(alone[0], part.rows, part.cols)
    np.testing.assert_array_equal(classes[0, *part.core], wanted[0])
    np.testing.assert_array_equal(confidence[0, *part.core], wanted[1])
