"""Class arrays to polygons: what GDAL draws, for any number of threads."""

from __future__ import annotations

import gc
import threading
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from geopandas.testing import assert_geodataframe_equal
from hypothesis import given, settings
from hypothesis import strategies as st

import geoseg
from geoseg.errors import InputError, OptionError
from geoseg.run import array_polygons
from tests.polygons.tracing import Raster, normalize, rasters

CORNER = Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000)
PLACE: dict[str, Any] = {"crs": "EPSG:32645", "transform": CORNER}


@settings(max_examples=60, deadline=None)
@given(rasters(), st.integers(1, 4), st.integers(3, 50), st.sampled_from([None, 0, 255]))
def test_polygons_are_those_of_gdal(classes: Raster, threads: int, tile_px: int, nodata: int | None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(array_polygons, "TILE_PX", tile_px)
        found = geoseg.polygonize_array(classes, **PLACE, nodata=nodata, threads=threads)
    mask = np.ones(classes.shape, bool) if nodata is None else classes != nodata
    drawn = list(rasterio.features.shapes(classes, mask=mask, connectivity=4, transform=CORNER))
    expected = normalize([int(value) for _, value in drawn], [shapely.geometry.shape(shape) for shape, _ in drawn])
    assert normalize(found.class_id, found.geometry) == expected
    assert (found.pixels * 0.25 == found.area).all()
    assert found.crs.to_epsg() == 32645


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_polygons, "TILE_PX", 16)
    classes = np.random.default_rng(0).integers(0, 3, (100, 90), np.uint8)
    one, *others = (geoseg.polygonize_array(classes, **PLACE, skip=(1,), threads=threads) for threads in (1, 2, 7))
    assert set(one.class_id) == {0, 2}
    for other in others:
        assert_geodataframe_equal(one, other)


@pytest.mark.parametrize("dtype", [bool, np.int64, np.uint16])
def test_any_integers_will_do(dtype: type) -> None:
    classes = np.eye(5, dtype=dtype)
    found = geoseg.polygonize_array(classes, **PLACE)
    assert_geodataframe_equal(found, geoseg.polygonize_array(classes.astype(np.uint8), **PLACE))


def test_lazy_arrays_are_computed() -> None:
    classes = np.random.default_rng(0).integers(0, 3, (40, 30), np.uint8)
    expected = geoseg.polygonize_array(classes, **PLACE)
    assert_geodataframe_equal(geoseg.polygonize_array(da.from_array(classes, chunks=7), **PLACE), expected)
    assert_geodataframe_equal(geoseg.polygonize_array(classes, **PLACE, nodata=-1), expected)


def test_all_skipped_gives_an_empty_frame() -> None:
    found = geoseg.polygonize_array(np.zeros((4, 4), np.uint8), **PLACE, skip=(0,))
    assert found.empty
    assert list(found) == ["class_id", "pixels", "geometry"]


def test_a_data_array_brings_its_place_and_nodata() -> None:
    xr = pytest.importorskip("xarray")
    pytest.importorskip("rioxarray")
    classes = np.random.default_rng(0).integers(0, 3, (40, 30), np.uint8)
    array = xr.DataArray(classes, dims=("y", "x")).rio.write_crs(32645).rio.write_transform(CORNER).rio.write_nodata(2)
    expected = geoseg.polygonize_array(classes, **PLACE, nodata=2)
    assert_geodataframe_equal(geoseg.polygonize_array(array), expected)
    assert_geodataframe_equal(geoseg.polygonize_array(array.chunk({"x": 7, "y": 9}).T), expected)


def test_results_come_in_order_from_all_threads() -> None:
    both = threading.Barrier(2)

    def square(number: int) -> tuple[int, int]:
        if number < 2:
            both.wait(60)  # passes only if two threads work at once, this one among them
        return number * number, threading.get_ident()

    squares, threads = zip(*array_polygons._share_work(square, range(9), 2), strict=True)
    assert list(squares) == [number * number for number in range(9)]
    assert len(set(threads)) == 2
    assert threading.get_ident() in threads


@pytest.mark.parametrize("threads", [1, 3])
def test_a_fault_comes_to_the_caller_and_ends_the_work(threads: int) -> None:
    begun = []

    def fail(number: int) -> None:
        begun.append(number)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        list(array_polygons._share_work(fail, range(10_000), threads))
    assert len(begun) <= threads


def test_the_collector_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    classes = np.zeros((4, 4), np.uint8)
    geoseg.polygonize_array(classes, **PLACE)
    assert gc.isenabled()
    gc.disable()
    try:
        geoseg.polygonize_array(classes, **PLACE)
        assert not gc.isenabled()
    finally:
        gc.enable()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(array_polygons, "trace_tile", fail)
    with pytest.raises(RuntimeError, match="no"):
        geoseg.polygonize_array(classes, **PLACE)
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("classes", "options", "says"),
    [
        (np.zeros((2, 4, 4), np.uint8), PLACE, "one band"),
        (np.zeros((0, 4), np.uint8), PLACE, "shape"),
        (np.zeros((4, 4)), PLACE, "integers from 0 to 255"),
        (np.full((4, 4), 256), PLACE, "256"),
        (np.full((4, 4), -1), PLACE, "-1"),
        (np.zeros((4, 4), np.uint8), {}, "place on Earth"),
    ],
)
def test_what_is_no_class_array_is_refused(classes: np.ndarray, options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        geoseg.polygonize_array(classes, **options)


def test_threads_are_one_or_more() -> None:
    with pytest.raises(OptionError, match="1 or more"):
        geoseg.polygonize_array(np.zeros((4, 4), np.uint8), **PLACE, threads=0)
