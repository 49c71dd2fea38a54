from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.raster.resample import resample_patch

sizes = st.integers(1, 150)


def make_image(rows: int, cols: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (2, rows, cols)).astype(np.uint8)


def weigh(size: int, out: int) -> NDArray[np.float64]:
    """The same resampling as a dense matrix, written down from its definition in floats."""
    matrix = np.zeros((out, size))
    for i in range(out):
        if size >= out:
            for j in range(size):
                matrix[i, j] = max(0.0, min((i + 1) * size / out, j + 1) - max(i * size / out, j)) * out / size
        else:
            at = min(max((i + 0.5) * size / out - 0.5, 0), size - 1)
            low = min(int(at), max(size - 2, 0))
            matrix[i, low] += 1 - (at - low)
            matrix[i, min(low + 1, size - 1)] += at - low
    return matrix


@settings(max_examples=40, deadline=None)
@given(sizes, sizes, st.integers(1, 64), st.integers(0, 9))
def test_equals_the_definition(rows: int, cols: int, out: int, seed: int) -> None:
    image = make_image(rows, cols, seed)
    expected = weigh(rows, out) @ image.astype(float) @ weigh(cols, out).T
    assert np.abs(resample_patch(image, out) - expected).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("shape", [(64, 64), (96, 160), (100, 321)])
def test_shrinking_agrees_with_opencv(shape: tuple[int, int]) -> None:
    image = make_image(*shape)
    expected = np.stack([cv2.resize(band, (32, 32), interpolation=cv2.INTER_AREA) for band in image])
    assert np.abs(resample_patch(image, 32).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("shape", [(10, 10), (16, 21), (31, 3)])
def test_enlarging_agrees_with_opencv(shape: tuple[int, int]) -> None:
    image = make_image(*shape)
    expected = np.stack([cv2.resize(band, (64, 64), interpolation=cv2.INTER_LINEAR) for band in image])
    assert np.abs(resample_patch(image, 64).astype(int) - expected).max() <= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(32, 90), st.integers(32, 90), st.integers(2, 4))
def test_blocks_of_the_lattice_give_what_the_whole_gives(unit_rows: int, unit_cols: int, units: int) -> None:
    image = make_image(units * unit_rows, units * unit_cols)
    whole = resample_patch(image, 32 * units)
    for i in range(units):
        for j in range(units):
            block = image[:, i * unit_rows : (i + 1) * unit_rows, j * unit_cols : (j + 1) * unit_cols]
            np.testing.assert_array_equal(
                resample_patch(block, 32), whole[:, 32 * i : 32 * (i + 1), 32 * j : 32 * (j + 1)]
            )


@settings(max_examples=30, deadline=None)
@given(st.integers(5, 90), st.integers(5, 90))
def test_shifting_by_a_unit_shifts_the_result(unit_rows: int, unit_cols: int) -> None:
    image = make_image(4 * unit_rows, 4 * unit_cols)
    one = resample_patch(image[:, : 3 * unit_rows, : 3 * unit_cols], 96)
    other = resample_patch(image[:, unit_rows:, unit_cols:], 96)
    # Away from the edges, where enlarging has no neighbour to look at.
    np.testing.assert_array_equal(one[:, 48:80, 48:80], other[:, 16:48, 16:48])


@given(st.integers(0, 255), sizes, sizes)
@settings(max_examples=20, deadline=None)
def test_a_flat_image_stays_flat(value: int, rows: int, cols: int) -> None:
    assert (resample_patch(np.full((1, rows, cols), value, np.uint8), 32) == value).all()
