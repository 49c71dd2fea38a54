"""Coverages whose buildings get straight walls: still coverages, still independent of tiles, and regular."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.polygons.coverage import Coverage
from geoseg.polygons.rings import PolygonBatch

from .test_generalise import SKIPS, TO_PIXELS, check_coverage, coverages, generalise
from .test_generalise_large import check_edges, make_scene
from .tracing import Raster, same, tile_sizes

BUILDING = 1


@st.composite
def towns(draw: st.DrawFn) -> Raster:
    """Buildings (1), some with courtyards, beside and within patches of other classes, roughened."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows, cols = draw(st.integers(12, 72)), draw(st.integers(12, 72))
    relief = ndimage.gaussian_filter(rng.standard_normal((rows, cols)), draw(st.floats(0.8, 6)))
    classes = np.digitize(relief, np.quantile(relief, [0.4, 0.75])) * draw(st.integers(0, 2))
    row, col = np.mgrid[:rows, :cols]
    shift = draw(st.floats(0, 1.2)) * ndimage.gaussian_filter(rng.standard_normal((2, rows, cols)), (0, 2, 2)) * 6
    for _ in range(draw(st.integers(1, 7))):
        middle, angle, half = rng.uniform(0, [rows, cols]), rng.uniform(0, np.pi), rng.uniform(1.5, 15, 2)
        y, x = row + shift[0] - middle[0], col + shift[1] - middle[1]
        along, across = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
        inside = (np.abs(along) < half[0]) & (np.abs(across) < half[1])
        if rng.random() < 0.3:
            inside &= ~((np.abs(along) < half[0] * 0.5) & (np.abs(across) < half[1] * 0.5))
        classes[inside] = BUILDING
    noise = rng.random((rows, cols)) < draw(st.sampled_from([0, 0, 0.01, 0.1]))
    classes[noise] = rng.integers(0, 4, int(noise.sum()))
    return classes.astype(np.uint8)


@st.composite
def terraces(draw: st.DrawFn) -> Raster:
    """Rows of touching houses (1 to 6, all to be regular) within a frame of 0, roughened, with slits between some."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    side = draw(st.integers(30, 90))
    row, col = np.mgrid[:side, :side]
    shift = draw(st.floats(0, 1.2)) * ndimage.gaussian_filter(rng.standard_normal((2, side, side)), (0, 2, 2)) * 6
    angle, slit = rng.uniform(0, np.pi), draw(st.sampled_from([0, 0, 0.7, 1.5]))
    y, x = row + shift[0] - side / 2, col + shift[1] - side / 2
    along, across = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
    classes = np.where(rng.random((side, side)) < draw(st.sampled_from([0, 0, 0.03])), 7, 0)
    begin = -side * 0.4
    for house in range(1, draw(st.integers(3, 7))):
        width, depth = rng.uniform(5, 14), rng.uniform(4, side * 0.3, 2)
        inside = (along >= begin) & (along < begin + width) & (across > -depth[0]) & (across < depth[1])
        if rng.random() < 0.3:
            inside &= (along - begin - width / 2) ** 2 + across**2 > 9
        classes[inside] = house
        begin += width + slit * rng.integers(0, 2)
    classes[[0, 1, -2, -1]] = classes[:, [0, 1, -2, -1]] = 0
    return classes.astype(np.uint8)


HOUSES = range(1, 7)
REGULAR = [(BUILDING,), (BUILDING,), (BUILDING, 2), (0, 1, 2, 3)]


def check_town(
    classes: Raster, tolerance_m: float, skip: tuple[int, ...], smooth: tuple[int, ...], regularize: tuple[int, ...]
) -> None:
    marked, found = generalise(classes, tolerance_m, skip=skip, smooth=smooth, regularize=regularize)
    if len(marked):
        check_coverage(classes, marked, found, skip)


@settings(max_examples=60, deadline=None)
@given(
    towns(),
    st.floats(0.3, 3),
    st.sampled_from(SKIPS),
    st.sampled_from([(), (0, 2), (0, 2, 3)]),
    st.sampled_from(REGULAR),
)
def test_towns_stay_coverages(
    classes: Raster, tolerance_m: float, skip: tuple[int, ...], smooth: tuple[int, ...], regularize: tuple[int, ...]
) -> None:
    check_town(classes, tolerance_m, skip, smooth, regularize)


@settings(max_examples=60, deadline=None)
@given(coverages(), st.floats(0.3, 4), st.sampled_from(SKIPS), st.sampled_from([(1,), (0, 1, 2, 3, 4)]))
def test_what_is_no_town_stays_a_coverage(
    classes: Raster, tolerance_m: float, skip: tuple[int, ...], regularize: tuple[int, ...]
) -> None:
    check_town(classes, tolerance_m, skip, (), regularize)


@settings(max_examples=50, deadline=None)
@given(terraces(), st.floats(0.3, 3), st.sampled_from(SKIPS))
def test_terraces_stay_coverages(classes: Raster, tolerance_m: float, skip: tuple[int, ...]) -> None:
    check_town(classes, tolerance_m, skip, (), tuple(HOUSES))


@pytest.mark.slow
@settings(max_examples=4000, deadline=None)
@given(terraces(), st.floats(0.3, 3), st.sampled_from(SKIPS))
def test_many_terraces_stay_coverages(classes: Raster, tolerance_m: float, skip: tuple[int, ...]) -> None:
    check_town(classes, tolerance_m, skip, (), tuple(HOUSES))


@pytest.mark.slow
@settings(max_examples=4000, deadline=None)
@given(
    st.one_of(towns(), coverages()),
    st.floats(0.3, 4),
    st.sampled_from(SKIPS),
    st.sampled_from([(), (0, 2), (0, 2, 3)]),
    st.sampled_from(REGULAR),
)
def test_many_towns_stay_coverages(
    classes: Raster, tolerance_m: float, skip: tuple[int, ...], smooth: tuple[int, ...], regularize: tuple[int, ...]
) -> None:
    check_town(classes, tolerance_m, skip, smooth, regularize)


@settings(max_examples=20, deadline=None)
@given(
    st.one_of(towns(), terraces()),
    tile_sizes(72),
    st.integers(1, 4),
    st.integers(1, 50),
    st.floats(0.5, 3),
    st.sampled_from([*REGULAR, tuple(HOUSES)]),
)
def test_tiles_cells_and_batches_change_no_byte(
    classes: Raster,
    tile: tuple[int, int],
    cell_buckets: int,
    batch_polygons: int,
    tolerance_m: float,
    regularize: tuple[int, ...],
) -> None:
    _, whole = generalise(classes, tolerance_m, skip=(0,), regularize=regularize)
    _, parts = generalise(
        classes,
        tolerance_m,
        tile,
        skip=(0,),
        regularize=regularize,
        cell_buckets=cell_buckets,
        batch_polygons=batch_polygons,
    )
    assert same(whole, parts)


def draw_rectangles(seed: int, size: int = 600, gap: int = 60) -> tuple[Raster, int]:
    """Rotated rectangles, each in its own square, on class 0."""
    rng = np.random.default_rng(seed)
    classes = np.zeros((size, size), np.uint8)
    row, col = np.mgrid[:size, :size] + 0.5
    count = 0
    for top in range(gap // 2, size, gap):
        for left in range(gap // 2, size, gap):
            angle, half = rng.uniform(0, np.pi), rng.uniform(8, 19, 2)
            part = np.s_[top - gap // 2 : top + gap // 2, left - gap // 2 : left + gap // 2]
            y, x = row[part] - top - rng.uniform(-0.5, 0.5), col[part] - left - rng.uniform(-0.5, 0.5)
            along, across = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
            classes[part][(np.abs(along) < half[0]) & (np.abs(across) < half[1])] = BUILDING
            count += 1
    return classes, count


@pytest.mark.parametrize("skip", [(), (0,)])
def test_rotated_rectangles_get_four_corners(skip: tuple[int, ...]) -> None:
    classes, count = draw_rectangles(0)
    marked, found = generalise(classes, 1.0, skip=skip, regularize=(BUILDING,))
    check_coverage(classes, marked, found, skip)
    houses = found.geometries(TO_PIXELS)[found.class_id == BUILDING]
    assert len(houses) == count
    assert (shapely.get_num_coordinates(houses) == 5).mean() >= 0.95
    before = marked.pixels[marked.class_id == BUILDING]
    assert np.abs(shapely.area(houses) / before - 1).max() < 0.05


@pytest.mark.parametrize("skip", [(), (0,)])
def test_rows_of_houses_get_four_corners_each(skip: tuple[int, ...]) -> None:
    row, col = np.mgrid[:140, :140] + 0.5
    noise = 4 * ndimage.gaussian_filter(np.random.default_rng(1).standard_normal((2, 140, 140)), (0, 2, 2))
    classes = np.zeros((140, 140), np.uint8)
    for top, angle in ((35, 0.2), (100, -0.5)):
        y, x = row - top + noise[0], col - 70 + noise[1]
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        inside = (np.abs(along) < 48) & (np.abs(across) < 13)
        classes[inside] = 1 + (along[inside] + 48) // 16
    marked, found = generalise(classes, 1.0, skip=skip, regularize=tuple(HOUSES))
    check_coverage(classes, marked, found, skip)
    houses = found.geometries(TO_PIXELS)[found.class_id > 0]
    assert len(houses) == 12
    assert (shapely.get_num_coordinates(shapely.simplify(houses, 0.02)) == 5).mean() > 0.8


def test_a_building_at_the_border_stays_there_and_is_regular() -> None:
    row, col = np.mgrid[:80, :80] + 0.5
    along, across = row * np.cos(0.5) + col * np.sin(0.5), col * np.cos(0.5) - row * np.sin(0.5)
    classes = ((np.abs(along - 30) < 20) & (np.abs(across - 10) < 25)).astype(np.uint8)
    classes[(classes == 0) & (row > 40)] = 2
    marked, found = generalise(classes, 1.0, regularize=(BUILDING,))
    check_coverage(classes, marked, found, ())
    (house,) = found.geometries(TO_PIXELS)[found.class_id == BUILDING]
    assert house.bounds[1] == 0
    assert len(shapely.simplify(house, 0.02).exterior.coords) <= 7
    assert abs(house.area - np.sum(classes == BUILDING)) < 0.03 * house.area


def test_nothing_to_regularise_changes_nothing() -> None:
    classes = make_scene(256)
    _, plain = generalise(classes, 1.0)
    _, other = generalise(classes, 1.0, regularize=(77,))
    assert same(plain, other)


@pytest.mark.slow
def test_large_scenes_stay_coverages_whatever_the_tiles() -> None:
    classes = make_scene(2048, noise=0.001)
    _, whole = generalise(classes, 1.0, smooth=(0, 3), regularize=(BUILDING,))
    check_edges(whole, classes.shape)
    shapes = whole.geometries(TO_PIXELS)
    assert shapely.is_valid(shapes).all()
    assert (shapely.area(shapes) > 0).all()
    _, parts = generalise(
        classes, 1.0, (700, 512), smooth=(0, 3), regularize=(BUILDING,), cell_buckets=37, batch_polygons=511
    )
    assert same(whole, parts)


def count_corners(found: PolygonBatch) -> int:
    return int(np.sum(shapely.get_num_coordinates(found.geometries(TO_PIXELS)[found.class_id == BUILDING])))


def test_pixels_that_are_not_square_are_regularised_as_metres() -> None:
    classes, _ = draw_rectangles(3, size=240)
    narrow = np.repeat(classes, 2, axis=0)
    for pixel_m, regular in (((0.5, 1.0), True), ((0.3, 1.0), False)):
        marked, found = generalise(narrow, 1.0, pixel_m=pixel_m, regularize=(BUILDING,))
        check_coverage(narrow, marked, found, ())
        _, plain = generalise(narrow, 1.0, pixel_m=pixel_m)
        assert same(plain, found) != regular
        assert count_corners(found) <= count_corners(plain)


BULGES = pytest.mark.parametrize(("cosine", "gap"), [(1.0, 1.5), (0.8, 1.7)])


def draw_bulging(cosine: float, gap: float, half: float) -> tuple[Raster, NDArray[np.float64]]:
    """A house (1) that bulges, a hedge (7) that runs close around it, and how far along the house pixels are.

    Straight walls would cross the hedge, did they not give way.
    """
    row, col = np.mgrid[:90, :90] - 45.0
    sine = np.sqrt(1 - cosine**2)
    along, across = row * cosine + col * sine, col * cosine - row * sine
    bulge = 3 * np.cos(along / 9) * np.cos(across / 7)
    outside = np.maximum(np.abs(along) - half, np.abs(across) - 18) - bulge
    hedge = np.where((outside > gap) & (outside < gap + 6), 7, 0)
    return np.where(outside < 0, BUILDING, hedge).astype(np.uint8), along


@BULGES
def test_a_wall_that_is_in_the_way_retreats(cosine: float, gap: float) -> None:
    classes, _ = draw_bulging(cosine, gap, 26)
    marked, found = generalise(classes, 1.0, regularize=(BUILDING,))
    check_coverage(classes, marked, found, ())
    outline, plain = (
        drawn.geometries(TO_PIXELS)[drawn.class_id == BUILDING][0] for drawn in (found, generalise(classes, 1.0)[1])
    )
    assert shapely.get_num_coordinates(outline) <= 11 < shapely.get_num_coordinates(plain)
    assert outline.intersection(plain).area / outline.union(plain).area > 0.85


@BULGES
def test_walls_of_touching_houses_retreat_one_by_one(cosine: float, gap: float) -> None:
    classes, along = draw_bulging(cosine, gap, 30)
    classes[(classes == BUILDING) & (along >= 2)] = 2
    marked, found = generalise(classes, 1.0, regularize=(1, 2))
    check_coverage(classes, marked, found, ())
    _, plain = generalise(classes, 1.0)
    for house in (1, 2):
        outline, rough = (drawn.geometries(TO_PIXELS)[drawn.class_id == house][0] for drawn in (found, plain))
        assert shapely.get_num_coordinates(outline) <= 9 < shapely.get_num_coordinates(rough)
        assert outline.intersection(rough).area / outline.union(rough).area > 0.85


def test_a_row_of_houses_up_to_the_border_is_regular_but_for_the_last() -> None:
    row, col = np.mgrid[:60, :120] + 0.5
    noise = 4 * ndimage.gaussian_filter(np.random.default_rng(1).standard_normal((2, 60, 120)), (0, 2, 2))
    along, across = col + 0.2 * row + noise[0], row - 30 - 0.2 * (col - 60) + noise[1]
    classes = np.where((np.abs(across) < 12) & (along < 95), 1 + along // 19, 0).astype(np.uint8)
    marked, found = generalise(classes, 1.0, regularize=tuple(HOUSES))
    check_coverage(classes, marked, found, ())
    shapes = found.geometries(TO_PIXELS)
    inner = shapes[(found.class_id > 0) & (shapely.bounds(shapes)[:, 0] > 0)]
    assert len(inner) >= 4
    assert (shapely.get_num_coordinates(shapely.simplify(inner, 0.02)) == 5).mean() >= 0.75


@pytest.mark.parametrize("regularize", [(), (BUILDING,)])
def test_where_nothing_is_in_the_way_outlines_are_proposed_once(
    regularize: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    propose = Coverage.propose
    monkeypatch.setattr(Coverage, "propose", lambda self, **given: asked.append(1) or propose(self, **given))
    generalise(draw_rectangles(0)[0], 1.0, regularize=regularize)
    assert len(asked) == 1
