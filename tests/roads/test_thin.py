"""Kernels against scikit-image, scipy and plain definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, find_objects, label
from skimage.morphology import thin

from geoseg.roads.mask import SMOOTH, count_majority, fill_holes, smooth_once
from geoseg.roads.pieces import measure_width, order_offsets
from geoseg.roads.thin import THIN, thin_cells, thin_list


@pytest.mark.parametrize("rounds", [1, 2, 5, 100])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_thinning_is_that_of_scikit_image(rounds: int, share: float) -> None:
    mask = np.pad(np.random.default_rng(7).random((90, 110)) < share, 1)
    cells = mask.astype(np.uint8)
    thin_cells(cells, THIN, rounds)
    np.testing.assert_array_equal(cells.astype(bool), thin(mask, max_num_iter=rounds))


def test_lists_of_cells_are_thinned_like_rasters() -> None:
    mask = np.pad(np.random.default_rng(1).random((40, 50)) < 0.8, 1)
    places = np.argwhere(mask)
    number = np.full(mask.shape, len(places))
    number[mask] = np.arange(len(places))
    steps = np.array([[0, 1], [-1, 1], [-1, 0], [-1, -1], [0, -1], [1, -1], [1, 0], [1, 1]])
    neighbours = number[tuple((places[:, None] + steps).transpose(2, 0, 1))]
    alive, depth = thin_list(neighbours, np.zeros(len(places), np.uint8), THIN)
    found = np.zeros_like(mask)
    found[tuple(places[alive == 1].T)] = True
    np.testing.assert_array_equal(found, thin(mask))
    assert depth.min() == 1
    kept, _ = thin_list(neighbours, np.ones(len(places), np.uint8), THIN)
    assert kept.all()


@pytest.mark.parametrize("side", [0, 1, 3, 6])
def test_holes_are_filled_by_their_extent(side: int) -> None:
    mask = (np.random.default_rng(3).random((80, 90)) < 0.6).astype(np.uint8)
    expected = mask.copy()
    holes, _ = label(mask == 0)
    for i, (rows, cols) in enumerate(find_objects(holes), 1):
        touches = rows.start == 0 or cols.start == 0 or rows.stop == 80 or cols.stop == 90
        if not touches and rows.stop - rows.start <= side and cols.stop - cols.start <= side:
            expected[holes == i] = 1
    fill_holes(mask, side)
    np.testing.assert_array_equal(mask, expected)


def test_majorities_and_ties() -> None:
    classes = np.array([[2, 2, 0, 2, 2], [0, 0, 2, 0, 0], [2, 2, 2, 0, 2]], np.uint8)
    confidence = np.arange(15, dtype=np.uint8).reshape(3, 5)
    mask, mean = count_majority(classes, confidence, 2, 2, 2)
    # Two of four: the first pixel decides; the last row and column of cells are incomplete.
    np.testing.assert_array_equal(mask, [[1, 0, 1], [1, 1, 1]])
    np.testing.assert_array_equal(mean, [[1, 5, 4], [11, 12, 14]])
    assert (count_majority(classes, np.zeros((0, 0), np.uint8), 2, 2, 2)[1] == -1).all()


def test_smoothing_keeps_lines_and_takes_bumps() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[5, 2:18] = 1
    np.testing.assert_array_equal(smooth_once(mask, SMOOTH)[5, 3:17], 1)
    mask = np.zeros((20, 20), np.uint8)
    mask[5:12, 2:18] = 1
    rough = mask.copy()
    rough[4, 8], rough[11, 12], rough[8, 8] = 1, 0, 0
    np.testing.assert_array_equal(smooth_once(rough, SMOOTH)[:, 4:16], mask[:, 4:16])


@pytest.mark.parametrize("cells", [1, 2, 3, 6, 7, 14, 15])
@pytest.mark.parametrize("cell_m", [(0.5, 0.5), (0.4, 0.6)])
def test_widths_of_straight_roads_are_exact(cells: int, cell_m: tuple[float, float]) -> None:
    mask = np.zeros((60, 60), np.uint8)
    mask[20 : 20 + cells] = 1
    middle = 20 + (cells - 1) // 2
    places = np.array([[middle, c] for c in range(25, 35)])
    width = measure_width(mask, places, *order_offsets(cell_m, 15.0), cell_m)
    np.testing.assert_allclose(width, cells * cell_m[0], rtol=1e-6)


def test_widths_follow_the_distance_to_the_edge() -> None:
    rng = np.random.default_rng(5)
    mask = np.pad((rng.random((60, 60)) < 0.97).astype(np.uint8), 12)
    places = np.argwhere(mask)
    width = measure_width(mask, places, *order_offsets((0.5, 0.5), 6.0), (0.5, 0.5))
    distance = 0.5 * distance_transform_edt(mask)[mask == 1]
    near = distance < 6
    assert (width[near] >= 2 * distance[near] - 0.75).all()
    assert (width[near] <= 2 * distance[near] + 0.5).all()
    np.testing.assert_allclose(width[distance > 7], 12.0, atol=0.5)
