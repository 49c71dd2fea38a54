"""From model pixels to source pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from geoseg.models.resample import classify_core, compute_taps

PATCH_PX, HALO_PX = 96, 32
INNER_PX = PATCH_PX - 2 * HALO_PX


@pytest.fixture(scope="module")
def probabilities() -> NDArray[np.float32]:
    values = np.random.default_rng(0).uniform(0, 1, (5, PATCH_PX, PATCH_PX)).astype(np.float32)
    return values / values.sum(axis=0)


@given(core_px=st.integers(1, 300), blocks=st.integers(1, 6), halo=st.integers(0, 2))
def test_weights_are_means_of_pixels_in_the_patch(core_px: int, blocks: int, halo: int) -> None:
    patch_px, halo_px = 32 * (blocks + 2 * halo), 32 * halo
    taps = compute_taps(core_px, patch_px=patch_px, halo_px=halo_px)
    assert taps.starts.min() >= 0
    assert taps.starts.max() + taps.weights.shape[1] <= patch_px
    assert taps.weights.min() >= 0
    np.testing.assert_allclose(taps.weights.sum(axis=1), 1, rtol=1e-6)
    # The mean place of what is read is the centre of the source pixel, but for model pixels that are read in part.
    centres = (taps.to_matrix(patch_px).astype(float) * np.arange(patch_px)).sum(axis=1)
    expected = (np.arange(core_px) + 0.5) * (32 * blocks) / core_px - 0.5 + halo_px
    np.testing.assert_allclose(
        centres, np.clip(expected, 0, patch_px - 1), atol=1e-3 if core_px >= 32 * blocks else 0.25
    )


@pytest.mark.parametrize("shape", [(INNER_PX, INNER_PX), (77, 128), (INNER_PX, 33), (33, INNER_PX)])
def test_finer_sources_get_linear_interpolation(probabilities: NDArray[np.float32], shape: tuple[int, int]) -> None:
    at = [(np.arange(n) + 0.5) * INNER_PX / n - 0.5 + HALO_PX for n in shape]
    grid = np.meshgrid(*at, indexing="ij")
    expected = np.stack([map_coordinates(p.astype(float), grid, order=1) for p in probabilities])
    check(probabilities, shape, expected)


@pytest.mark.parametrize("shape", [(8, 16), (1, 2), (11, 7), (31, 3)])
def test_coarser_sources_get_means_over_areas(probabilities: NDArray[np.float32], shape: tuple[int, int]) -> None:
    core = probabilities[:, HALO_PX:-HALO_PX, HALO_PX:-HALO_PX]
    expected = np.stack([cv2.resize(p, shape[::-1], interpolation=cv2.INTER_AREA) for p in core])
    check(probabilities, shape, expected)


def check(probabilities: NDArray[np.float32], shape: tuple[int, int], expected: NDArray[np.float64]) -> None:
    rows, cols = (compute_taps(n, patch_px=PATCH_PX, halo_px=HALO_PX) for n in shape)
    classes, confidence = classify_core(probabilities, rows, cols)
    best = expected.max(axis=0)
    # Where two classes are equal but for rounding either may win.
    np.testing.assert_allclose(np.take_along_axis(expected, classes[None].astype(int), 0)[0], best, atol=1e-6)
    assert np.abs(confidence - 255 * best).max() <= 0.5 + 1e-3
    by_matrix = rows.to_matrix(PATCH_PX) @ probabilities @ cols.to_matrix(PATCH_PX).T
    np.testing.assert_allclose(by_matrix, expected, atol=1e-6)


@given(core_px=st.integers(1, 200))
def test_neighbouring_patches_read_the_same(core_px: int) -> None:
    """What a patch reads beyond its core is what its neighbour reads at its own rim, one core further on."""
    taps = compute_taps(core_px, patch_px=PATCH_PX, halo_px=HALO_PX)
    both = compute_taps(2 * core_px, patch_px=PATCH_PX + INNER_PX, halo_px=HALO_PX)
    halves = both.to_matrix(PATCH_PX + INNER_PX)
    np.testing.assert_allclose(halves[:core_px, :PATCH_PX], taps.to_matrix(PATCH_PX), atol=1e-5)
    np.testing.assert_allclose(halves[core_px:, INNER_PX:], taps.to_matrix(PATCH_PX), atol=1e-5)
