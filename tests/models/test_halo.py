"""The measured halo."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from geoseg.errors import OptionError
from geoseg.models.engine import PatchGeometry
from geoseg.models.halo import measure_halo
from tests.fakes import FakeEngine

PATCH_PX = 256


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(0)
    return [random.integers(60, 200, (3, 300, 420), np.uint8), random.integers(0, 256, (3, 256, 256), np.uint8)]


@pytest.mark.parametrize(("radius_px", "halo_px"), [(0, 0), (8, 32), (32, 32), (33, 64), (64, 64)])
def test_the_halo_covers_a_known_reach(images: list[NDArray[np.uint8]], radius_px: int, halo_px: int) -> None:
    fake = FakeEngine(PatchGeometry(PATCH_PX, 0, PATCH_PX, PATCH_PX), radius_px=radius_px)
    measured = measure_halo(fake.predict_probabilities, images, patch_px=PATCH_PX, limit=1e-12)
    for halo, error in measured.errors.items():
        assert (error == 0) == (halo >= radius_px)
    assert (measured.halo_px, measured.seam_error) == (halo_px, 0)


def test_errors_are_those_of_cores_cut_out_one_by_one(images: list[NDArray[np.uint8]]) -> None:
    fake = FakeEngine(PatchGeometry(PATCH_PX, 0, PATCH_PX, PATCH_PX), radius_px=50)
    measured = measure_halo(fake.predict_probabilities, images[1:], patch_px=PATCH_PX)
    padded = np.pad(images[1], ((0, 0), (288, 288), (288, 288)), mode="symmetric")
    whole = fake.predict_probabilities(padded[None])[0].argmax(axis=0)[288:-288, 288:-288]
    patch = fake.predict_probabilities(images[1][None])[0].argmax(axis=0)
    for halo in (0, 32, 64, 96):
        core = slice(halo, PATCH_PX - halo)
        assert measured.errors[halo] == pytest.approx((patch[core, core] != whole[core, core]).mean())
        assert measured.compared_px[halo] == (PATCH_PX - 2 * halo) ** 2


def test_a_reach_beyond_what_is_affordable_gives_the_best_that_is(images: list[NDArray[np.uint8]]) -> None:
    fake = FakeEngine(PatchGeometry(PATCH_PX, 0, PATCH_PX, PATCH_PX), radius_px=100)
    measured = measure_halo(fake.predict_probabilities, images, patch_px=PATCH_PX, limit=1e-12)
    assert 0 < measured.halo_px <= PATCH_PX // 4
    assert measured.seam_error == min(e for h, e in measured.errors.items() if h <= PATCH_PX // 4) > 0


def test_images_below_a_patch_are_refused(images: list[NDArray[np.uint8]]) -> None:
    fake = FakeEngine(PatchGeometry(PATCH_PX, 0, PATCH_PX, PATCH_PX))
    for wrong in ([], [images[0][:, :255]]):
        with pytest.raises(OptionError, match="images of"):
            measure_halo(fake.predict_probabilities, wrong, patch_px=PATCH_PX)
    with pytest.raises(OptionError, match="halos"):
        measure_halo(fake.predict_probabilities, images, patch_px=PATCH_PX, halos_px=(96,))
