"""Footprints with straight walls: what every result keeps, and what clean and real shapes become."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geoseg.errors import InputError, OptionError
from geoseg.polygons.buildings import regularize_buildings
from geoseg.polygons.outlines import regularize_ring
from geoseg.polygons.straightening import KEPT, THINNED

PIXEL_M = 0.4
NO_HITS = np.zeros((0, 2))
TOLERANCE_M = 4 * PIXEL_M


def trace(ids: np.ndarray) -> np.ndarray:
    transform = Affine.scale(PIXEL_M)
    found = rasterio.features.shapes(ids.astype(np.int32), ids > 0, connectivity=4, transform=transform)
    return np.array([shapely.geometry.shape(geometry) for geometry, _ in found])


def draw(*parts: shapely.Geometry, noise_px: float = 0.0, seed: int = 0, size_px: int = 130) -> np.ndarray:
    """Staircases of shapes in metres, their outlines moved by a random field."""
    ids = np.zeros((size_px, size_px), np.int32)
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((2, size_px, size_px)), (0, 2, 2))
    shift = noise_px * noise / max(noise.std(), 1e-9) + np.mgrid[:size_px, :size_px] + 0.5
    for k, part in enumerate(parts):
        ids[shapely.contains_xy(part, shift[1] * PIXEL_M, shift[0] * PIXEL_M)] = k + 1
    outlines = [trace(np.where(ids == k + 1, 1, 0)) for k in range(len(parts))]
    return np.array([max(pieces, key=shapely.area) for pieces in outlines if len(pieces)])


def straighten(shapes: np.ndarray) -> np.ndarray:
    return regularize_buildings(shapes, pixel_m=PIXEL_M, tolerance_m=TOLERANCE_M)


def iou(one: shapely.Geometry, two: shapely.Geometry) -> float:
    return float(shapely.area(shapely.intersection(one, two)) / shapely.area(shapely.union(one, two)))


def turned(shape: shapely.Geometry, degrees: float) -> shapely.Geometry:
    return shapely.affinity.rotate(shape, degrees, origin=(26, 26))


def count_corners(shape: shapely.Polygon) -> int:
    return len(shape.exterior.coords) - 1


def turns_deg(shape: shapely.Polygon) -> np.ndarray:
    vectors = np.diff(shapely.get_coordinates(shape.exterior), axis=0)
    angles = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0]))
    return np.abs((np.roll(angles, -1) - angles + 180) % 360 - 180)


def make_ids(seed: int, classes: int, share: float) -> np.ndarray:
    fields = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((classes, 60, 60)), (0, 3, 3))
    return np.where(fields[0] > np.quantile(fields[0], 1 - share), fields.argmax(axis=0) + 1, 0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.floats(0.1, 0.7))
def test_any_layer_stays_a_layer(seed: int, classes: int, share: float) -> None:
    shapes = trace(make_ids(seed, classes, share))
    result = straighten(shapes)
    assert shapely.is_valid(result).all()
    assert (shapely.area(result) > 0).all()
    assert (shapely.get_type_id(result) == shapely.GeometryType.POLYGON).all()
    assert (shapely.get_num_interior_rings(result) == shapely.get_num_interior_rings(shapes)).all()
    one, two = shapely.STRtree(result).query(result, predicate="intersects")
    apart = one < two
    assert shapely.area(shapely.intersection(result[one[apart]], result[two[apart]])).sum() == 0
    for before, after in zip(shapes, result, strict=True):
        far = shapely.distance(shapely.points(shapely.get_coordinates(after)), shapely.boundary(before))
        assert far.max() <= TOLERANCE_M + 1e-9


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 90), st.integers(0, 1000))
def test_result_does_not_depend_on_start_and_direction(seed: int, degrees: float, start: int) -> None:
    shape = draw(turned(shapely.box(12, 16, 36, 30), degrees), noise_px=1, seed=seed)[0]
    ring = np.rint(shapely.get_coordinates(shape.exterior)[:-1] / PIXEL_M)
    nodes = np.array([3, 17])
    out, became, how = regularize_ring(ring, nodes, 4.0, NO_HITS)
    start %= len(ring)
    shifted = np.roll(ring, -start, axis=0)
    order = np.sort((nodes - start) % len(ring))
    other, other_became, other_how = regularize_ring(shifted, order, 4.0, NO_HITS)
    assert how == other_how
    np.testing.assert_array_equal(out, other)
    assert sorted(became) == sorted(other_became)
    back, back_became, _ = regularize_ring(ring[::-1].copy(), np.sort(len(ring) - 1 - nodes), 4.0, NO_HITS)
    np.testing.assert_array_equal(np.roll(back[::-1], 1, axis=0), out)
    np.testing.assert_array_equal(np.sort(out[became], axis=0), np.sort(back[back_became], axis=0))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 90))
def test_nodes_stay_on_the_outline_in_order(seed: int, degrees: float) -> None:
    shape = draw(turned(shapely.box(12, 16, 36, 30), degrees), noise_px=1, seed=seed)[0]
    ring = np.rint(shapely.get_coordinates(shape.exterior)[:-1] / PIXEL_M)
    nodes = np.unique(np.random.default_rng(seed).integers(0, len(ring), 6))
    plain, _, how = regularize_ring(ring, np.zeros(0, np.int64), 4.0, NO_HITS)
    out, became, how_with = regularize_ring(ring, nodes, 4.0, NO_HITS)
    assert len(set(became)) == len(nodes)
    around = (became - became[0]) % len(out)
    assert (np.diff(around) > 0).all()
    # A node slides along its wall where the staircase folds back.
    assert np.hypot(*(out[became] - ring[nodes]).T).max() < 3 * 4.0
    if how == how_with < THINNED:
        assert shapely.distance(shapely.LinearRing(plain), shapely.points(out)).max() < 1e-9


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 90), st.integers(-500, 500), st.integers(1, 3))
def test_shifts_and_quarter_turns_commute(seed: int, degrees: float, shift: int, quarters: int) -> None:
    house = turned(shapely.difference(shapely.box(12, 14, 38, 34), shapely.box(26, 22, 38, 34)), degrees)
    shapes = draw(house, noise_px=0.7, seed=seed)
    moved = shapely.transform(shapes, lambda xy: xy + shift * PIXEL_M)
    np.testing.assert_array_less(
        shapely.hausdorff_distance(
            straighten(moved), shapely.transform(straighten(shapes), lambda xy: xy + shift * PIXEL_M)
        ),
        1e-6,
    )
    turn = np.array([[0, 1], [-1, 0]])
    matrix = np.linalg.matrix_power(turn, quarters)
    rotated = straighten(shapely.transform(shapes, lambda xy: xy @ matrix))
    expected = shapely.transform(straighten(shapes), lambda xy: xy @ matrix)
    np.testing.assert_array_less(shapely.hausdorff_distance(rotated, expected), 1e-6)


@pytest.mark.parametrize(
    "shape",
    [
        shapely.box(8, 8, 30, 20),
        shapely.box(8, 8, 30, 28).difference(shapely.box(14, 8, 30, 16)),
        shapely.box(4, 4, 44, 44).difference(shapely.box(16, 16, 28, 32)),
    ],
)
def test_clean_axis_parallel_shapes_come_back_exactly(shape: shapely.Polygon) -> None:
    result = straighten(draw(shape))[0]
    assert shapely.hausdorff_distance(result, shape) < 1e-9
    assert len(shapely.get_coordinates(result)) == len(shapely.get_coordinates(shape))


@pytest.mark.parametrize("degrees", [7, 30, 45, 61.5])
def test_turned_rectangle_gets_four_right_angles(degrees: float) -> None:
    truth = turned(shapely.box(12, 16, 38, 32), degrees)
    result = straighten(draw(truth))[0]
    assert count_corners(result) == 4
    np.testing.assert_allclose(turns_deg(result), 90, atol=1e-6)
    assert iou(result, truth) > 0.97
    sides = np.diff(shapely.get_coordinates(result), axis=0)
    angle = np.degrees(np.arctan2(sides[:, 1], sides[:, 0]))
    np.testing.assert_allclose((angle - degrees + 45) % 90, 45, atol=0.5)


@pytest.mark.parametrize("seed", range(4))
def test_noisy_rectangle_gets_four_corners(seed: int) -> None:
    truth = turned(shapely.box(12, 16, 38, 32), 23 * seed)
    rough = draw(truth, noise_px=1, seed=seed)
    result = straighten(rough)[0]
    assert count_corners(result) == 4
    assert iou(result, truth) > iou(rough[0], truth)


@pytest.mark.parametrize("degrees", [0, 20])
def test_cut_corner_stays(degrees: float) -> None:
    leg = 5 / np.sqrt(2)
    truth = turned(shapely.Polygon([(10, 10), (34, 10), (34, 26 - leg), (34 - leg, 26), (10, 26)]), degrees)
    result = straighten(draw(truth))[0]
    assert count_corners(result) == 5
    assert np.sort(turns_deg(result))[:2] == pytest.approx([45, 45], abs=6)
    assert iou(result, truth) > 0.97


@pytest.mark.parametrize("radius_m", [4, 8, 15])
def test_round_buildings_stay_round(radius_m: float) -> None:
    truth = shapely.Point(26, 26).buffer(radius_m)
    assert iou(straighten(draw(truth))[0], truth) >= 0.93


def test_noisy_courtyard_stays() -> None:
    truth = turned(shapely.box(6, 6, 44, 44).difference(shapely.box(16, 18, 32, 34)), 17)
    result = straighten(draw(truth, noise_px=0.7))[0]
    assert [len(ring.coords) - 1 for ring in (result.exterior, *result.interiors)] == [4, 4]
    assert iou(result, truth) > 0.95


@pytest.mark.parametrize("degrees", [0, 12, 40])
def test_neighbours_keep_their_wall(degrees: float) -> None:
    houses = [turned(shapely.box(6 + 9 * k, 18 + (k == 2), 15 + 9 * k, 32), degrees) for k in range(4)]
    rough = draw(*houses, noise_px=0.5)
    result = straighten(rough)
    assert shapely.coverage_is_valid(result)
    assert len(shapely.get_parts(shapely.union_all(result))) == 1
    for k in range(3):
        shared = shapely.intersection(shapely.boundary(result[k]), shapely.boundary(result[k + 1]))
        assert shapely.length(shared) == pytest.approx(13.5, abs=2.5)
    assert np.mean([iou(a, b) for a, b in zip(result, houses, strict=True)]) > 0.93


def test_result_does_not_depend_on_the_order_of_polygons() -> None:
    shapes = trace(make_ids(5, 3, 0.6))
    order = np.random.default_rng(0).permutation(len(shapes))
    assert shapely.hausdorff_distance(straighten(shapes)[order], straighten(shapes[order])).max() < 1e-9


def test_a_building_inside_a_courtyard_shares_its_ring() -> None:
    outer = shapely.box(6, 6, 44, 44).difference(shapely.box(16, 18, 32, 34))
    result = straighten(draw(turned(outer, 17), turned(shapely.box(16, 18, 32, 34), 17)))
    assert shapely.coverage_is_valid(result)
    assert len(shapely.union_all(result).interiors) == 0


def test_tiny_outlines_survive() -> None:
    ids = np.zeros((9, 9), np.int32)
    ids[1, 1], ids[3, 3:5], ids[6:8, 6:8] = 1, 2, 3
    result = straighten(trace(ids))
    assert (shapely.area(result) > 0).all()
    ring = np.array([[0.0, 0.0], [1, 0], [1, 1], [0, 1]])
    assert regularize_ring(ring, np.zeros(0, np.int64), 4.0, NO_HITS)[2] <= KEPT


def test_none_gives_none() -> None:
    assert len(straighten(np.empty(0, object))) == 0


@pytest.mark.parametrize(
    "shapes",
    [[shapely.Point(0, 0)], [shapely.Polygon()], [turned(shapely.box(0, 0, 4, 4), 30)], [shapely.box(0, 0, 0.4, 0.5)]],
)
def test_what_is_no_outline_of_pixels_is_refused(shapes: list[shapely.Geometry]) -> None:
    with pytest.raises(InputError):
        straighten(np.array(shapes))


def test_lengths_must_be_positive() -> None:
    with pytest.raises(OptionError):
        regularize_buildings(draw(shapely.box(4, 4, 20, 20)), pixel_m=PIXEL_M, tolerance_m=0)
