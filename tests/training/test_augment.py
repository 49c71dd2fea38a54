"""Augmentation: geometry moves image and labels alike, colours leave labels alone, chance comes from one generator."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import OptionError
from geoseg.training.augment import Augmentation, change_colors, draw_shadow, draw_veil, turn_crop, turned_side_px
from geoseg.training.losses import IGNORE
from tests.training.scenery import CALM

COLOR_CHANGES = [f.name for f in fields(Augmentation) if f.name != "rotate"]
MOST = {"brightness": 0.5, "contrast": 0.5, "gamma": 1.0, "tint": 0.3, "saturation": 1.0, "hue": 0.5, "noise": 0.1}
RGB_ONLY = {"saturation", "hue"}


def smooth_image(bands: int, size: int = 64) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size
    waves = [127 + 60 * np.sin(3 * x + k) + 60 * np.cos(5 * y * (k + 1)) for k in range(bands)]
    return np.stack(waves, axis=2).clip(0, 255).astype(np.uint8)


@given(size=st.integers(1, 9), bands=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_a_symmetry_of_the_square_moves_image_and_labels_alike(size: int, bands: int, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 256, (size, size), np.uint8)
    image = np.repeat(labels[..., None], bands, axis=2)
    turned, turned_labels = turn_crop(image, labels, np.random.default_rng(seed), crop_px=size, is_free=False)
    assert (turned == turned_labels[..., None]).all()
    symmetries = [np.rot90(flipped, k) for flipped in (labels, labels[:, ::-1]) for k in range(4)]
    assert any(np.array_equal(turned_labels, s) for s in symmetries)


def test_all_eight_symmetries_occur() -> None:
    labels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    rng = np.random.default_rng(0)
    turns = [turn_crop(labels[..., None], labels, rng, crop_px=4, is_free=False)[1] for _ in range(100)]
    assert len({t.tobytes() for t in turns}) == 8


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), bands=st.sampled_from([1, 3, 4]))
def test_free_turns_keep_labels_on_their_pixels_and_leave_no_empty_corner(seed: int, bands: int) -> None:
    side = turned_side_px(64)
    labels = np.kron(np.random.default_rng(seed).integers(1, 3, (4, 4)), np.ones((24, 24)))[:side, :side]
    labels = np.pad(labels, [(0, side - labels.shape[0])] * 2, mode="edge").astype(np.uint8)
    image = np.repeat(100 * labels[..., None], bands, axis=2)
    turned, turned_labels = turn_crop(image, labels, np.random.default_rng(seed), crop_px=64, is_free=True)
    assert turned.shape == (64, 64, bands)
    assert turned.min() >= 99
    assert set(np.unique(turned_labels)) <= {1, 2}
    # The nearest neighbour has at least a quarter of the weight of the four that are blended.
    assert (np.abs(turned[..., 0].astype(int) - 100 * turned_labels) <= 76).all()


def test_what_is_turned_in_from_outside_is_ignored() -> None:
    image, labels = np.full((64, 64, 3), 9, np.uint8), np.ones((64, 64), np.uint8)
    corners = [turn_crop(image, labels, np.random.default_rng(s), crop_px=64, is_free=True)[1] for s in range(5)]
    assert all(set(np.unique(c)) == {1, IGNORE} for c in corners)


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_no_amount_is_no_change(bands: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, bands), np.uint8)
    assert np.array_equal(change_colors(image, np.random.default_rng(1), CALM), image)


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("name", COLOR_CHANGES)
def test_each_change_changes_and_depends_on_the_generator_only(name: str, bands: int) -> None:
    image = smooth_image(bands)
    before = image.copy()
    amount = replace(CALM, **{name: MOST.get(name, 1.0)})
    results = [change_colors(image, np.random.default_rng(s), amount) for s in range(12)]
    again = [change_colors(image, np.random.default_rng(s), amount) for s in range(12)]
    assert np.array_equal(image, before)
    assert all(np.array_equal(a, b) for a, b in zip(results, again, strict=True))
    assert all(r.shape == image.shape and r.dtype == np.uint8 for r in results)
    is_changed = any(not np.array_equal(r, image) for r in results)
    needs = (name in RGB_ONLY and bands != 3) or (name == "jpeg" and bands not in (1, 3))
    assert is_changed != needs


def test_changes_do_not_depend_on_the_number_of_threads() -> None:
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    most = replace(Augmentation(), contrast=0.5, blur=0.4, sharpness=0.5, haze=0.5)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append([change_colors(image, np.random.default_rng(s), most) for s in range(12)])
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_compression_keeps_the_order_of_the_bands() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0], image[..., 2] = 200, 40
    changed = change_colors(image, np.random.default_rng(0), replace(CALM, jpeg=1.0))
    assert np.abs(changed.astype(int) - image).max() < 12


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_veils_are_smooth_and_shadows_are_shares(seed: int) -> None:
    veil, shadow = draw_veil(np.random.default_rng(seed), 60, 40), draw_shadow(np.random.default_rng(seed), 60, 40)
    for drawn in (veil, shadow):
        assert drawn.shape == (60, 40)
        assert drawn.dtype == np.float32
        assert drawn.min() >= 0
        assert drawn.max() <= 1
    assert max(np.abs(np.diff(veil, axis=a)).max() for a in (0, 1)) < 0.12
    assert shadow.max() > 0


def test_default_changes_leave_the_scene_recognisable() -> None:
    """Correlation of grey values, in the mean: strong, but no noise."""
    image = smooth_image(3, 96)
    grey = image.mean(axis=2).ravel()
    changed = [change_colors(image, np.random.default_rng(s), Augmentation()).mean(axis=2).ravel() for s in range(60)]
    assert np.mean([np.corrcoef(grey, c)[0, 1] for c in changed]) > 0.85


@pytest.mark.parametrize(("name", "amount"), [("brightness", -0.1), ("contrast", 1.2), ("hue", 0.6), ("blur", np.nan)])
def test_amounts_out_of_range_are_named(name: str, amount: float) -> None:
    with pytest.raises(OptionError, match=name):
        replace(CALM, **{name: amount})
