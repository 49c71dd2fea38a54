"""Windows, however many and whoever computes them, give the counts of the whole, in memory that does not grow."""

from __future__ import annotations

import pickle
import tracemalloc
from dataclasses import dataclass

import dask
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from geoseg.errors import InputError
from geoseg.evaluation import comparison as module
from geoseg.evaluation import error_map
from geoseg.evaluation.boundary import BoundaryCounts
from geoseg.evaluation.comparison import Comparison, count_pixels, find_judged, index_classes
from geoseg.evaluation.confusion import ConfusionMatrix
from geoseg.evaluation.slack import SlackCounts
from geoseg.grid import GeoGrid, Window
from geoseg.legend import LAND_COVER
from geoseg.raster.aoi import AreaOfInterest

EVERYTHING = slice(None), slice(None)
COUNTED = {"boundary_px": 3, "slack_px": 2}


@dataclass(frozen=True)
class Array:
    """Class ids that lie in memory."""

    ids: np.ndarray
    name: str = "array"

    def read(self, window: Window) -> np.ndarray:
        return self.ids[window.row : window.row_stop, window.col : window.col_stop].copy()


@dataclass(frozen=True)
class Stripes:
    """Class ids that lie nowhere."""

    step: int
    name: str = "stripes"

    def read(self, window: Window) -> np.ndarray:
        rows, cols = np.ogrid[window.row : window.row_stop, window.col : window.col_stop]
        return ((rows // self.step + cols // 7) % 4).astype(np.uint8)


def lay_grid(rows, cols):
    return GeoGrid(CRS.from_epsg(32633).to_wkt(), Affine(0.5, 0, 390_000, 0, -0.5, 5_820_000), rows, cols)


def make_ids(seed, shape=(70, 90)):
    rng = np.random.default_rng(seed)
    coarse = rng.choice([0, 1, 2, 3, 255], p=[0.4, 0.2, 0.15, 0.2, 0.05], size=(shape[0] // 5, shape[1] // 5))
    return np.kron(coarse, np.ones((5, 5))).astype(np.uint8)


def make_area(polygon, window):
    return AreaOfInterest(polygon, window, "")


def compare(predicted, truth, grid, **areas):
    return Comparison(grid, predicted, truth, 4, index_classes(LAND_COVER, None), **areas)


@pytest.fixture
def both():
    area = make_area(shapely.Point(40, 35).buffer(30), Window(5, 10, 60, 60))
    ignored = make_area(shapely.box(30, 20, 44, 33), Window(20, 30, 13, 14))
    return compare(Array(make_ids(1)), Array(make_ids(0)), lay_grid(70, 90), area=area, ignored=ignored)


def test_the_whole_at_once_is_what_numpy_gives(both):
    counts = count_pixels(both, **COUNTED)
    judged = both.area.mask(both.grid.window) & ~both.ignored.mask(both.grid.window)
    judged &= (both.truth.ids != 255) & (both.predicted.ids != 255)
    truth, predicted = (np.where(judged, side.ids.astype(np.int16), -1) for side in (both.truth, both.predicted))
    boundary = BoundaryCounts.count(truth, predicted, 4, reach_px=3, core=EVERYTHING)
    slack = SlackCounts.count(truth, predicted, 4, slack_px=2, core=EVERYTHING)
    np.testing.assert_array_equal(counts.matrix.counts, ConfusionMatrix.count(truth, predicted, 4).counts)
    np.testing.assert_array_equal([counts.boundary.common, counts.boundary.either], [boundary.common, boundary.either])
    np.testing.assert_array_equal([counts.slack.found, counts.slack.right], [slack.found, slack.right])
    assert counts.left_out_px == both.area.mask(both.grid.window).sum() - judged.sum()
    assert counts.errors.judged.sum() == counts.matrix.pixels
    assert counts.errors.wrong.sum() == (truth != predicted).sum()


@pytest.mark.parametrize("window_px", [7, 16, 33, 50])
@pytest.mark.parametrize("with_area", [False, True])
def test_windows_add_up_to_the_whole(both, window_px, with_area, monkeypatch):
    if not with_area:
        both = compare(both.predicted, both.truth, both.grid)
    whole = count_pixels(both, **COUNTED)
    monkeypatch.setattr(module, "WINDOW_PX", window_px)
    assert len(list(both.cut_windows())) > 1
    for workers in (1, 3):
        parts = count_pixels(both, **COUNTED, workers=workers)
        for name in ("matrix", "boundary", "slack", "errors"):
            for key, counted in vars(getattr(whole, name)).items():
                np.testing.assert_array_equal(getattr(getattr(parts, name), key), counted)
        assert parts.left_out_px == whole.left_out_px


def test_other_schedulers_may_do_it(both, monkeypatch):
    whole = count_pixels(both, **COUNTED)
    monkeypatch.setattr(module, "WINDOW_PX", 16)
    both = pickle.loads(pickle.dumps(both))
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(count_pixels(both, **COUNTED).boundary.common, whole.boundary.common)


@pytest.mark.parametrize("window_px", [16, 2048])
def test_places_on_judged_pixels(both, window_px, monkeypatch):
    monkeypatch.setattr(module, "WINDOW_PX", window_px)
    rng = np.random.default_rng(3)
    rows, cols = rng.uniform(-10, 80, 500), rng.uniform(-10, 100, 500)
    judged = both.read(both.grid.window)[0] >= 0
    inside = (rows >= 0) & (rows < 70) & (cols >= 0) & (cols < 90)
    expected = np.zeros(500, bool)
    expected[inside] = judged[rows[inside].astype(int), cols[inside].astype(int)]
    np.testing.assert_array_equal(find_judged(both, np.stack(both.grid.to_world(rows, cols), axis=1)), expected)
    assert len(find_judged(both, np.empty((0, 2)))) == 0


def test_a_fault_in_a_window_is_told():
    strange = Array(np.full((70, 90), 77, np.uint8), "strange.tif")
    with pytest.raises(InputError, match=r"strange\.tif has unknown classes: 77"):
        count_pixels(compare(strange, Array(make_ids(0)), lay_grid(70, 90)), **COUNTED)


def test_memory_does_not_grow_with_the_raster(monkeypatch):
    monkeypatch.setattr(module, "WINDOW_PX", 512)
    monkeypatch.setattr(error_map, "SIDE", 20)  # a few maps wait at every level of the tree, which has log(n) levels

    def measure(side):
        stripes = compare(Stripes(5), Stripes(6), lay_grid(side, side))
        tracemalloc.start()
        counts = count_pixels(stripes, **COUNTED, workers=1)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert counts.matrix.pixels == side**2
        return peak

    measure(512)  # what is imported or compiled once
    small, large = measure(2048), measure(4096)
    assert large < 1.3 * small
    assert large < 4096**2 * 2  # less than two sides as bytes
