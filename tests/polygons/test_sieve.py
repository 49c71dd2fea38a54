"""What is too small goes to the neighbour with the longest common side, whatever the tiles."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS
from skimage.measure import label

from geoseg.grid import GEOD, GeoGrid, Window
from geoseg.polygons.sieve import (
    LARGEST_AREA,
    UNIT_M2,
    SmallComponents,
    list_small_components,
    measure_rows,
    reclassify_components,
    tabulate_minimum,
)
from geoseg.polygons.sweep import merge_small_components
from tests.polygons.tracing import Raster, parse, rasters, tile_sizes

NODATA = 255


def sieve(
    classes: Raster, tile: tuple[int, int], minimum: dict[int, float], row_areas: np.ndarray | None = None
) -> Raster:
    """The whole raster after sieving it tile by tile; tiles without a known pixel are left out."""
    rows, cols = classes.shape
    table = tabulate_minimum({k: v * UNIT_M2 for k, v in minimum.items()})
    row_areas = np.ones(rows, np.int64) if row_areas is None else row_areas
    windows = [
        Window(r, c, min(tile[0], rows - r), min(tile[1], cols - c))
        for r in range(0, rows, tile[0])
        for c in range(0, cols, tile[1])
    ]
    parts = {w: classes[w.row : w.row_stop, w.col : w.col_stop] for w in windows}
    listed = [
        list_small_components(part, window=w, row_areas=row_areas[w.row : w.row_stop], minimum=table, nodata=NODATA)
        for w, part in parts.items()
        if (part != NODATA).any()
    ]
    decided = list(merge_small_components(listed, minimum=table, pixel_m=(1.0, 1.0)))
    changes = {(w.row, w.col): change for w, change in decided}
    assert len(changes) == len(decided)
    result = classes.copy()
    for w, part in parts.items():
        if (w.row, w.col) in changes:
            new = reclassify_components(part, changes[w.row, w.col], nodata=NODATA)
            result[w.row : w.row_stop, w.col : w.col_stop] = new
    return result


def label_classes(classes: Raster) -> np.ndarray:
    return label(classes.astype(int), background=NODATA, connectivity=1)


def sieve_plainly(classes: Raster, minimum: dict[int, float]) -> Raster:
    """The rule word for word: smallest first, one after the other, everything looked at anew each time."""
    result = classes.copy()
    stuck: set[tuple[int, int]] = set()
    while True:
        parts = label_classes(result)
        found = []
        for number in range(1, parts.max() + 1):
            rows, cols = np.nonzero(parts == number)
            place = (int(rows[0]), int(cols[0]))
            if len(rows) < minimum.get(int(result[place]), 0) and place not in stuck:
                found.append((len(rows), place, number))
        if not found:
            return result
        _, place, number = min(found)
        mine = np.pad(parts == number, 1)
        around = np.pad(result, 1, constant_values=NODATA)
        lengths = np.zeros(256, int)
        for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
            beyond = np.roll(mine, shift, axis) & ~mine
            lengths += np.bincount(around[beyond], minlength=256)
        lengths[NODATA] = 0
        if lengths.max() == 0:
            stuck.add(place)
        else:
            result[parts == number] = lengths.argmax()


@settings(max_examples=60, deadline=None)
@given(classes=rasters(24), tile=tile_sizes(26), units=st.lists(st.integers(0, 30), min_size=5, max_size=5))
def test_it_is_the_plain_rule_for_every_tiling(classes: Raster, tile: tuple[int, int], units: list[int]) -> None:
    minimum = {k: float(v) for k, v in enumerate(units)}
    expected = sieve_plainly(classes, minimum)
    assert (sieve(classes, tile, minimum) == expected).all()
    assert (sieve(classes, classes.shape, minimum) == expected).all()


def test_rows_of_tiles_are_decided_as_the_sweep_passes() -> None:
    """What waits is near the last row that was seen, also where everything is too small."""
    classes = np.random.default_rng(2).integers(0, 4, (600, 60)).astype(np.uint8)
    seen = 0

    def list_tiles() -> Iterator[SmallComponents]:
        nonlocal seen
        table = np.full(256, 20)
        for row in range(0, 600, 30):
            seen = row
            for col in range(0, 60, 30):
                part = classes[row : row + 30, col : col + 30]
                window = Window(row, col, 30, 30)
                yield list_small_components(
                    part, window=window, row_areas=np.ones(30, np.int64), minimum=table, nodata=NODATA
                )

    merged = merge_small_components(list_tiles(), minimum=np.full(256, 20), pixel_m=(1.0, 1.0))
    delays = [seen - window.row for window, _ in merged]
    assert len(delays) == 40
    assert max(delays) <= 60, delays


@settings(max_examples=60, deadline=None)
@given(classes=rasters(40), tile=tile_sizes(), unit=st.integers(1, 40))
def test_nothing_small_is_left_and_no_hole(classes: Raster, tile: tuple[int, int], unit: int) -> None:
    result = sieve(classes, tile, dict.fromkeys(range(5), float(unit)))
    assert ((result == NODATA) == (classes == NODATA)).all()
    islands = label(classes != NODATA, connectivity=1)
    for number in range(1, label_classes(result).max() + 1):
        mine = label_classes(result) == number
        # Only what is alone on an island of known pixels may be small.
        assert mine.sum() >= unit or (islands == islands[mine][0]).sum() == mine.sum()


def test_the_longest_side_wins_over_the_larger_neighbour() -> None:
    classes = parse("""
        000000
        000000
        003110
        003110
        000000
    """)
    assert (sieve(classes, (2, 2), {3: 3.0}) == np.where(classes == 3, 0, classes)).all()
    walled = parse("000000 011110 013310 011110 000000")
    assert (sieve(walled, (3, 3), {3: 3.0}) == np.where(walled == 3, 1, walled)).all()


def test_row_areas_are_the_unit() -> None:
    classes = parse("0000 0110 0000 0220 0000")
    row_areas = np.array([10, 10, 10, 4, 4], np.int64)
    result = sieve(classes, (2, 3), {1: 15.0, 2: 15.0}, row_areas)
    assert (result == np.where(classes == 2, 0, classes)).all()


def test_lists_survive_their_files(tmp_path) -> None:
    classes = np.random.default_rng(0).integers(0, 4, (30, 20)).astype(np.uint8)
    listed = list_small_components(
        classes, window=Window(3, 5, 30, 20), row_areas=np.ones(30, np.int64), minimum=np.full(256, 9), nodata=NODATA
    )
    listed.save(tmp_path / "tile.safetensors")
    again = SmallComponents.load(tmp_path / "tile.safetensors")
    assert again.window == listed.window
    for name in ("number", "class_id", "area", "first", "contacts", "border", "border_class"):
        assert (getattr(again, name) == getattr(listed, name)).all()


@pytest.mark.parametrize("tile", [(7, 5), (64, 64)])
def test_without_a_minimum_nothing_changes(tile: tuple[int, int]) -> None:
    classes = np.random.default_rng(1).integers(0, 4, (40, 50)).astype(np.uint8)
    assert (sieve(classes, tile, {}) == classes).all()


@settings(max_examples=30, deadline=None)
@given(classes=rasters(24), tile=tile_sizes(26), share=st.integers(2, 30))
def test_areas_stop_where_numbers_would_overflow(classes: Raster, tile: tuple[int, int], share: int) -> None:
    row_areas = np.full(len(classes), -(-LARGEST_AREA // share))
    minimum = dict.fromkeys(range(5), 1e300)
    assert (tabulate_minimum(minimum)[:5] == LARGEST_AREA).all()
    expected = sieve_plainly(classes, dict.fromkeys(range(5), share))
    assert (sieve(classes, classes.shape, minimum, row_areas) == expected).all()
    assert (sieve(classes, tile, minimum, row_areas) == expected).all()


def test_large_pixels_have_their_area() -> None:
    grid = GeoGrid(CRS.from_epsg(6933).to_wkt(), Affine(1000, 0, 0, 0, -1000, 5e6), 40, 30)
    assert measure_rows(grid, grid.window) * UNIT_M2 == pytest.approx(1e6, rel=1e-4)


def test_rows_are_measured_on_the_ground() -> None:
    degrees = GeoGrid(CRS.from_epsg(4326).to_wkt(), Affine(0.001, 0, 10.0, 0, -0.001, 70.0), 20_000, 50)
    areas = measure_rows(degrees, Window(0, 0, 20_000, 10)) * UNIT_M2
    for row in (0, 9_999, 19_999):
        north = 70 - row * 0.001
        x, y = 10.025, np.array([north, north - 0.001])
        expected, _ = GEOD.polygon_area_perimeter([x, x + 0.001, x + 0.001, x], [y[1], y[1], y[0], y[0]])
        assert areas[row] == pytest.approx(abs(expected), rel=1e-5)
    assert (measure_rows(degrees, Window(300, 7, 9, 9)) == measure_rows(degrees, Window(0, 0, 500, 1))[300:309]).all()
