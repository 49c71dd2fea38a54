"""Places between the nodes of a cell against the projection itself."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Transformer

from geoseg.grid import GEOD, GeoGrid
from geoseg.polygons.places import CELL_PX, locate_points

PLACES = {
    "UTM": ("EPSG:32633", 390_000.0, 5_820_000.0, 0.3),
    "UTM, 30 m": ("EPSG:32633", 390_000.0, 5_820_000.0, 30.0),
    "UTM, 8 degrees off": ("EPSG:32633", 1_050_000.0, 5_820_000.0, 10.0),
    "another datum": ("EPSG:31467", 3_500_000.0, 5_500_000.0, 0.5),
    "web mercator": ("EPSG:3857", 1e6, 1.1e7, 10.0),
    "degrees": ("EPSG:4326", 13.4, 52.5, 1e-5),
    "degrees, 1 km": ("EPSG:4326", 13.4, 52.5, 1e-2),
    "US survey feet": ("EPSG:2263", 985_000.0, 200_000.0, 1.0),
    "equal area": ("EPSG:3035", 4_321_000.0, 3_210_000.0, 10.0),
    "polar": ("EPSG:3031", 300_000.0, -1_200_000.0, 10.0),
    "a pole": ("EPSG:3031", 0.0, 0.0, 2.0),
    "the antimeridian": ("EPSG:32701", 180_000.0, 8_140_000.0, 1.0),
    "the whole Earth": ("EPSG:3857", 0.0, 0.0, 10_000.0),
}


def grid_of(crs: str, pixel: float) -> GeoGrid:
    return GeoGrid(CRS.from_user_input(crs).to_wkt(), Affine.scale(pixel, -pixel), 1, 1)


def points_around(place: str, cells: float) -> tuple[np.ndarray, GeoGrid]:
    crs, x, y, pixel = PLACES[place]
    steps = np.random.default_rng(0).uniform(-1, 1, (2000, 2))
    return np.array([x, y]) + steps * cells * CELL_PX * pixel, grid_of(crs, pixel)


@pytest.mark.parametrize("place", PLACES)
def test_equals_the_projection(place: str) -> None:
    xy, grid = points_around(place, 1.5)
    lon, lat = np.degrees(locate_points(xy, grid))
    expected = grid.to_lonlat.transform(xy[:, 0], xy[:, 1])
    known = np.isfinite(expected[0])
    assert (np.isfinite(lon) == known).all()
    away = GEOD.inv(lon[known], lat[known], expected[0][known], expected[1][known])[2]
    _, x, y, pixel = PLACES[place]
    here = GeoGrid(grid.crs, Affine(pixel, 0, x, 0, -pixel, y), 1, 1)
    assert away.max() <= 1e-8 * (CELL_PX * max(here.ground_resolution_m()) + 1.0)


@pytest.mark.parametrize("place", PLACES)
def test_near_points_keep_their_distances(place: str) -> None:
    # What lengths and areas are made of: errors that neighbours share do not matter, others would.
    xy, grid = points_around(place, 1.5)
    ends = np.concatenate([xy, xy + PLACES[place][3]])
    found = np.degrees(locate_points(ends, grid)).reshape(2, 2, -1)
    expected = np.stack(grid.to_lonlat.transform(ends[:, 0], ends[:, 1])).reshape(2, 2, -1)
    known = np.isfinite(expected).all(axis=(0, 1))
    length, exact = (GEOD.inv(*places[:, 0, known], *places[:, 1, known])[2] for places in (found, expected))
    np.testing.assert_allclose(length, exact, rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(sorted(PLACES)), st.lists(st.integers(0, 1999), min_size=1, max_size=20))
def test_a_place_depends_on_its_point_only(place: str, chosen: list[int]) -> None:
    xy, grid = points_around(place, 3.0)
    np.testing.assert_array_equal(locate_points(xy[chosen], grid), np.stack(locate_points(xy, grid))[:, chosen])


def test_cells_agree_on_their_sides() -> None:
    side = CELL_PX * 0.3
    y = (np.floor(5_820_000 / side) + np.random.default_rng(0).uniform(0, 1, 100)) * side
    border = np.floor(390_000 / side) * side
    grid = grid_of("EPSG:32633", 0.3)
    west, east = (locate_points(np.column_stack([np.full(100, x), y]), grid) for x in (np.nextafter(border, 0), border))
    assert np.abs(np.subtract(west, east)).max() < 1e-15


def test_few_points_are_projected() -> None:
    xy, grid = points_around("UTM", 1.5)
    asked = []

    class Counting:
        def transform(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            asked.append(np.size(x))
            found: tuple[np.ndarray, np.ndarray] = Transformer.from_crs(grid.crs, 4326, always_xy=True).transform(x, y)
            return found

    grid.__dict__["to_lonlat"] = Counting()
    locate_points(xy, grid)
    assert sum(asked) <= 16 * 20


def test_no_points() -> None:
    lon, lat = locate_points(np.zeros((0, 2)), grid_of("EPSG:32633", 1.0))
    assert lon.shape == lat.shape == (0,)
