"""Corners, right angles and PoLiS against closed forms and written-out definitions."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Transformer
from shapely import affinity

from geoseg.evaluation.outlines import OutlineCounts, flatten_to_metres, measure_polis
from geoseg.grid import GEOD, GeoGrid

L_SHAPE = shapely.Polygon([(0, 0), (4, 0), (4, 2), (2, 2), (2, 5), (0, 5)])
COURTYARD = shapely.box(0, 0, 10, 10) - shapely.box(3, 3, 7, 7)


def array(*geometries):
    return np.array(geometries, object)


def measure_slowly(a, b):
    def away(one, other):
        rings = [one.exterior, *one.interiors]
        distances = [shapely.Point(p).distance(other.boundary) for r in rings for p in r.coords[:-1]]
        return sum(distances) / len(distances)

    return (away(a, b) + away(b, a)) / 2


@st.composite
def polygons(draw):
    corners = draw(st.integers(3, 9))
    radii = draw(st.lists(st.floats(1, 5), min_size=corners, max_size=corners))
    angles = np.arange(corners) * 2 * np.pi / corners
    center = draw(st.tuples(st.floats(-5, 5), st.floats(-5, 5)))
    return shapely.Polygon(np.stack([np.cos(angles), np.sin(angles)], 1) * np.array(radii)[:, None] + center)


@given(st.lists(st.tuples(polygons(), polygons()), max_size=4))
@settings(deadline=None, max_examples=50)
def test_polis_is_the_written_out_definition(pairs):
    one, two = (np.array([p[i] for p in pairs], object) for i in (0, 1))
    expected = [measure_slowly(a, b) for a, b in pairs]
    np.testing.assert_allclose(measure_polis(one, two), expected)
    np.testing.assert_allclose(measure_polis(two, one), expected)


@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])
def test_polis_of_squares(shift):
    square = shapely.box(0, 0, 10, 10)
    # Sideways, two corners of each lie on the other and two are `shift` away.
    assert measure_polis(array(square), array(affinity.translate(square, shift)))[0] == shift / 2
    grown = shapely.box(-shift, -shift, 10 + shift, 10 + shift)
    expected = (shift + shift * np.sqrt(2)) / 2
    assert measure_polis(array(square), array(grown))[0] == pytest.approx(expected)


def test_polis_sees_courtyards():
    # 0 from the outer ring to itself; the courtyard's four corners are 3 from it.
    assert measure_polis(array(COURTYARD), array(shapely.box(0, 0, 10, 10)))[0] == pytest.approx((12 / 8 + 0) / 2)


@pytest.mark.parametrize("angle", [0, 17, 45, 133])
@pytest.mark.parametrize(
    ("shape", "corners", "right"),
    [
        (shapely.box(0, 0, 10, 6), 4, 4),
        (shapely.segmentize(shapely.box(0, 0, 10, 6), 1), 4, 4),
        (L_SHAPE, 6, 6),
        (COURTYARD, 8, 8),
        (shapely.Polygon([(0, 0), (4, 0), (0, 3)]), 3, 1),
        (shapely.Polygon([(0, 0), (10, 0), (12, 10), (2, 10)]), 4, 0),
        (shapely.Polygon([(0, 0), (10, 0), (11, 10), (1, 10)]), 4, 4),
        (shapely.union_all([L_SHAPE, shapely.box(20, 20, 30, 30)]), 10, 10),
        (shapely.GeometryCollection([L_SHAPE, shapely.LineString([(9, 9), (12, 12)])]), 6, 6),
    ],
)
def test_corners_and_right_angles(shape, corners, right, angle):
    shape = affinity.rotate(shape, angle)
    counts = OutlineCounts.count(array(shape, shape))
    assert counts == OutlineCounts(2, 2 * corners, 2 * right)
    assert counts.mean_corners == corners
    assert counts.right_share == right / corners


def test_nothing_to_count():
    none = OutlineCounts.count(array())
    assert none == OutlineCounts(0, 0, 0)
    assert np.isnan(none.mean_corners)
    assert np.isnan(none.right_share)
    assert none + OutlineCounts(1, 2, 3) == OutlineCounts(1, 2, 3)


@pytest.mark.parametrize("place", [(13.4, 52.5), (39.2, -6.2), (179.9999, 70.0)])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_planes_are_in_metres(place, crs):
    square = np.array([[-100, -100], [-100, 100], [100, 100], [100, -100]])
    lon, lat, _ = GEOD.fwd(
        *np.full((2, 4), np.array(place)[:, None]), np.degrees(np.arctan2(*square.T)), np.hypot(*square.T)
    )
    to_crs = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    grid = GeoGrid(CRS.from_user_input(crs).to_wkt(), Affine.identity(), 1, 1)
    shape = shapely.Polygon(np.stack(to_crs.transform(lon, lat), axis=1))
    (flat,) = flatten_to_metres(array(shape), np.array([to_crs.transform(*place)]), grid)
    np.testing.assert_allclose(shapely.get_coordinates(flat)[:4], square, atol=0.02)
