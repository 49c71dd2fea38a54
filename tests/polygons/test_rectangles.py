"""Smallest rectangles: against shapely in the plane, and what must hold for any polygon."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS

from geoseg.grid import GeoGrid
from geoseg.polygons.attributes import locate_rings
from geoseg.polygons.rectangles import Rectangles, find_hull, fit_rectangle, fit_rectangles
from geoseg.ragged import flatten_geometries

from .tracing import Raster, polygonize, rasters

PLACE = CRS.from_dict({"proj": "stere", "lat_0": 47, "lon_0": 8, "datum": "WGS84"}).to_wkt()


def fit(polygons: list[shapely.Polygon], crs: str = PLACE) -> Rectangles:
    geometries = np.array(polygons, object)
    rings = locate_rings(flatten_geometries(geometries), GeoGrid(crs, Affine.identity(), 1, 1))
    return fit_rectangles(rings, np.ones(len(geometries), bool))


def outer(polygon: shapely.Polygon) -> np.ndarray:
    return np.array(polygon.exterior.coords)[:-1]


@settings(max_examples=80, deadline=None)
@given(rasters(25), st.floats(-1, 1), st.floats(-1, 1))
def test_as_small_as_that_of_shapely(classes: Raster, shear: float, turn: float) -> None:
    polygons = polygonize(classes, classes.shape).geometries(Affine(1, shear, 0, turn, -2, 0))
    for polygon, expected in zip(polygons, shapely.oriented_envelope(polygons), strict=True):
        hull = find_hull(outer(polygon))
        assert shapely.Polygon(hull).symmetric_difference(polygon.convex_hull).area < 1e-9
        _, length, width = fit_rectangle(hull)
        assert length >= width
        assert length * width == pytest.approx(expected.area, rel=1e-6)


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 180), st.floats(1, 500), st.floats(0.1, 0.98), st.integers(0, 3))
def test_a_turned_rectangle_is_found(bearing: float, length: float, ratio: float, start: int) -> None:
    box = shapely.box(-length * ratio / 2, -length / 2, length * ratio / 2, length / 2)
    ring = np.roll(outer(shapely.affinity.rotate(box, -bearing)), start, axis=0)
    found = fit([shapely.Polygon(ring)])
    assert 0 <= found.orientation_deg[0] < 180
    assert abs((found.orientation_deg[0] - bearing + 90) % 180 - 90) <= 0.0051
    assert (found.length_m[0], found.width_m[0]) == pytest.approx((length, length * ratio), rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 90), st.integers(0, 3))
def test_a_square_has_one_bearing(bearing: float, start: int) -> None:
    ring = np.roll(outer(shapely.affinity.rotate(shapely.box(-5, -5, 5, 5), -bearing)), start, axis=0)
    found = fit([shapely.Polygon(ring)])
    assert 0 <= found.orientation_deg[0] < 90
    assert abs((found.orientation_deg[0] - bearing + 45) % 90 - 45) <= 0.0051


def test_holes_and_neighbours_do_not_matter() -> None:
    house, other = shapely.box(0, 0, 30, 10), shapely.box(0, 0, 5, 50)
    court = house.difference(shapely.box(5, 3, 20, 6))
    found = fit([court, other, house])
    assert found.length_m == pytest.approx([30, 50, 30], rel=1e-6)
    assert found.orientation_deg.tolist() == [90.0, 0.0, 90.0]


def test_only_those_asked_for_are_fitted() -> None:
    geometries = np.array([shapely.box(0, 0, 30, 10)] * 3, object)
    rings = locate_rings(flatten_geometries(geometries), GeoGrid(PLACE, Affine.identity(), 1, 1))
    found = fit_rectangles(rings, np.array([True, False, True]))
    assert [np.isnan(values).tolist() for values in found] == [[False, True, False]] * 3
    assert len(fit([]).width_m) == 0


def test_nowhere_on_earth_is_no_number() -> None:
    found = fit([shapely.box(1e12, 1e12, 2e12, 2e12), shapely.box(0, 0, 2, 1)], CRS.from_epsg(32633).to_wkt())
    assert np.isnan(found.length_m).tolist() == [True, False]


def test_a_flat_ring_is_as_long_as_its_ends_are_apart() -> None:
    assert fit_rectangle(find_hull(np.array([(0.0, 0.0), (1.0, 1.0), (3.0, 3.0)]))) == pytest.approx((45, 18**0.5, 0))
    assert fit_rectangle(find_hull(np.array([(1.0, 1.0), (1.0, 1.0)]))) == (0, 0, 0)
