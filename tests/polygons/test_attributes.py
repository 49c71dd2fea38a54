"""Areas and perimeters against pyproj's exact geodesics."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Proj, Transformer

from geoseg.grid import GEOD, GeoGrid
from geoseg.polygons.attributes import mean_confidence, measure_polygons

US_FEET = "EPSG:2263"
PLACES = {
    "web mercator, equator": ("EPSG:3857", 1_000_000.0, 100.0, 1.0),
    "web mercator, 45 degrees": ("EPSG:3857", 1_000_000.0, 5_621_521.0, 1.0),
    "web mercator, 70 degrees": ("EPSG:3857", 1_000_000.0, 11_068_715.0, 1.0),
    "utm": ("EPSG:32633", 390_000.0, 5_820_000.0, 1.0),
    "degrees": ("EPSG:4326", 13.4, 52.5, 1e-5),
    "degrees across the antimeridian": ("EPSG:4326", 179.9999, -16.8, 1e-5),
    "degrees across the equator": ("EPSG:4326", 0.0, 0.0, 1e-5),
    "US survey feet": (US_FEET, 985_000.0, 200_000.0, 3.0),
    "polar stereographic": ("EPSG:3031", 300_000.0, -1_200_000.0, 1.0),
    "round the south pole": ("EPSG:3031", -2000.0, 1500.0, 20.0),
    "UTM across the antimeridian": ("EPSG:32701", 180_000.0, 8_140_000.0, 1.0),
}


def grid_of(crs: str, pixel: float = 1.0) -> GeoGrid:
    return GeoGrid(CRS.from_user_input(crs).to_wkt(), Affine.scale(pixel), 1, 1)


def make_polygons(n: int, x: float, y: float, size: float) -> np.ndarray:
    """Star-shaped polygons of 4 to 30 vertices, half of them with a hole; sizes from 1 to 1000 times `size`."""
    rng = np.random.default_rng(0)
    polygons = []
    for _ in range(n):
        vertices = int(rng.integers(4, 30))
        angle = np.sort(rng.uniform(0, 2 * np.pi, vertices))
        radius = rng.uniform(0.5, 1.0, vertices) * size * 10 ** rng.uniform(0, 3)
        outer = np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)
        hole = np.stack([x + 0.2 * radius * np.cos(angle), y + 0.2 * radius * np.sin(angle)], axis=1)
        polygons.append(shapely.Polygon(outer, [hole] if rng.random() < 0.5 else []))
    return np.array(polygons, dtype=object)


def rings_of(polygon: shapely.Polygon, grid: GeoGrid) -> list[tuple[np.ndarray, np.ndarray]]:
    return [grid.to_lonlat.transform(*np.asarray(ring.coords).T) for ring in [polygon.exterior, *polygon.interiors]]


def expect(polygons: np.ndarray, grid: GeoGrid) -> tuple[np.ndarray, np.ndarray]:
    """From pyproj's geodesics, ring by ring, because the direction of a hole decides its sign there."""
    areas, perimeters = [], []
    for polygon in polygons:
        rings = [[abs(v) for v in GEOD.polygon_area_perimeter(*ring)] for ring in rings_of(polygon, grid)]
        areas.append(rings[0][0] - sum(area for area, _ in rings[1:]))
        perimeters.append(sum(perimeter for _, perimeter in rings))
    return np.array(areas), np.array(perimeters)


def expect_small(polygons: np.ndarray, grid: GeoGrid) -> np.ndarray:
    """From PROJ's equal-area projection centred on each polygon: geodesic areas are no better than 0.01 m2."""
    areas = []
    for polygon in polygons:
        (lon, lat), *_ = rings_of(polygon, grid)
        local = CRS.from_proj4(f"+proj=laea +lat_0={lat[0]} +lon_0={lon[0]} +ellps=WGS84")
        to_local = Transformer.from_crs(CRS.from_epsg(4326), local, always_xy=True)
        rings = [np.stack(to_local.transform(*ring), axis=1) for ring in rings_of(polygon, grid)]
        areas.append(shapely.Polygon(rings[0], rings[1:]).area)
    return np.array(areas)


@pytest.mark.parametrize("place", PLACES)
def test_equals_exact_geodesics(place):
    crs, x, y, size = PLACES[place]
    grid, polygons = grid_of(crs, size), make_polygons(60, x, y, size)
    area, perimeter = measure_polygons(polygons, grid)
    expected_area, expected_perimeter = expect(polygons, grid)
    large = expected_area > 1e5
    assert large.any()
    np.testing.assert_allclose(area[large], expected_area[large], rtol=1e-6)
    np.testing.assert_allclose(area, expect_small(polygons, grid), rtol=1e-6)
    np.testing.assert_allclose(perimeter, expected_perimeter, rtol=1e-6)


@pytest.mark.parametrize("size", [2000.0, 5000.0, 20_000.0, 100_000.0])
def test_long_edges(size):
    grid, polygons = grid_of("EPSG:3857"), make_polygons(20, 2e6, 6e6, size / 1000)
    area, perimeter = measure_polygons(polygons, grid)
    expected_area, expected_perimeter = expect(polygons, grid)
    np.testing.assert_allclose(area, expected_area, rtol=1e-6, atol=0.01)  # of geodesic areas
    np.testing.assert_allclose(perimeter, expected_perimeter, rtol=1e-6)


def test_polygon_round_the_pole_has_the_area_of_the_cap():
    grid = grid_of("EPSG:3031")
    cap, hole = shapely.Point(0, 0).buffer(500_000, quad_segs=64), shapely.Point(0, 0).buffer(100_000, quad_segs=64)
    area, _ = measure_polygons(np.array([cap, hole, cap.difference(hole)]), grid)
    expected, _ = expect(np.array([cap, hole]), grid)
    np.testing.assert_allclose(area[:2], expected, rtol=1e-6)
    assert area[2] == pytest.approx(area[0] - area[1], rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 49), min_size=1, max_size=20))
def test_a_value_depends_on_its_polygon_only(chosen):
    grid, polygons = grid_of("EPSG:3857"), make_polygons(50, 1e6, 5e6, 1.0)
    area, perimeter = measure_polygons(polygons, grid)
    some_area, some_perimeter = measure_polygons(polygons[chosen], grid)
    np.testing.assert_array_equal(some_area, area[chosen])
    np.testing.assert_array_equal(some_perimeter, perimeter[chosen])


@pytest.mark.parametrize("crs", ["EPSG:32701", "EPSG:3832", "EPSG:4326"])
def test_small_polygons_across_the_antimeridian(crs):
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(180.0, -16.8)
    side = 1e-4 if crs == "EPSG:4326" else 10.0
    steps = np.linspace(-0.9, 0.9, 19) * side
    boxes = shapely.box(x - side + steps, y, x + side + steps, y + side)
    area, _ = measure_polygons(boxes, grid_of(crs))
    np.testing.assert_allclose(area, expect_small(boxes, grid_of(crs)), rtol=1e-6)


@pytest.mark.parametrize(("crs", "pole"), [("EPSG:3413", 90.0), ("EPSG:3031", -90.0)])
@pytest.mark.parametrize("east", [0.0, 3.0, 100.0, 5000.0])
def test_small_polygons_at_a_pole(crs, pole, east):
    # There a polar map has one scale; the areas of geodesics, and of equal-area maps as PROJ draws them, lose digits.
    scale = Proj(crs).get_factors(0.0, pole - np.sign(pole) * 0.02).areal_scale
    boxes = shapely.box(east - np.array([1.5, 4.0, 20.0]), -1.0, east + np.array([1.5, 4.0, 20.0]), 2.0)
    area, _ = measure_polygons(boxes, grid_of(crs))
    np.testing.assert_allclose(area, shapely.area(boxes) / scale, rtol=1e-6)


def test_no_polygons():
    area, perimeter = measure_polygons(np.array([], dtype=object), grid_of("EPSG:3857"))
    assert area.shape == perimeter.shape == (0,)


def test_mean_confidence():
    np.testing.assert_allclose(mean_confidence(np.array([255 * 3, 0, 128]), np.array([3, 7, 1])), [1.0, 0.0, 128 / 255])


def test_no_longitude_is_not_a_number():
    polygons = np.array([shapely.box(1e12, 1e12, 2e12, 2e12), shapely.box(390_000, 5_820_000, 390_010, 5_820_010)])
    area, perimeter = measure_polygons(polygons, grid_of("EPSG:32633"))
    assert np.isnan(area).tolist() == np.isnan(perimeter).tolist() == [True, False]
