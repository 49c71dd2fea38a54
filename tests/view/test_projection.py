"""The plane of a page."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Geod, Transformer

from geoseg.view.projection import RADIUS_M, PageProjection, ground_scale


@pytest.mark.parametrize("lat", [0.0, 6.1, 45.0, -45.0, 70.0, 84.0])
def test_ground_scale_is_geodesic(lat: float) -> None:
    projection = PageProjection()
    to_page = projection.transformer_from(CRS.from_epsg(4326))
    x1, y = to_page.transform(10.0, lat)
    x2, _ = to_page.transform(10.0001, lat)
    _, _, true_m = Geod(ellps="WGS84").inv(10.0, lat, 10.0001, lat)
    assert (x2 - x1) * ground_scale(y) == pytest.approx(true_m, rel=1e-7)


def test_the_plane_is_web_mercator() -> None:
    mine = PageProjection().transformer_from(CRS.from_epsg(4326)).transform(39.27, -6.06)
    usual = Transformer.from_crs(4326, 3857, always_xy=True).transform(39.27, -6.06)
    assert mine == pytest.approx(usual, abs=1e-6)
    turned = PageProjection(180.0).transformer_from(CRS.from_epsg(4326)).transform(np.array([179.0, -179.0]), [0, 0])
    assert turned[0] == pytest.approx([-math.radians(1) * RADIUS_M, math.radians(1) * RADIUS_M])


@given(
    lon=st.floats(-179.99, 179.99),
    lat=st.floats(-80, 80),
    lon_0=st.sampled_from([0.0, 180.0]),
    size=st.floats(1, 5e6),
    place=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)),
)
def test_a_point_of_a_box_lies_in_one_of_its_boxes_in_degrees(
    lon: float, lat: float, lon_0: float, size: float, place: tuple[float, float]
) -> None:
    projection, lonlat = PageProjection(lon_0), CRS.from_epsg(4326)
    x, y = projection.transformer_from(lonlat).transform(lon, lat)
    box = x - size * place[0], y - size * place[1], x + size * (1 - place[0]), y + size * (1 - place[1])
    found = projection.unproject_box(box, lonlat, (-180.0, -90.0, 180.0, 90.0))
    assert any(w - 1e-9 <= lon <= e + 1e-9 and s - 1e-9 <= lat <= n + 1e-9 for w, s, e, n in found)


@pytest.mark.parametrize("epsg", [32737, 3857, 2263, 4326, 3413])
def test_boxes_in_other_crs_cover_the_view(epsg: int) -> None:
    crs = CRS.from_epsg(epsg)
    lon, lat = {32737: (39.3, -6.1), 2263: (-74.0, 40.7), 3413: (-45.0, 80.0)}.get(epsg, (10.0, 50.0))
    projection = PageProjection()
    x, y = projection.transformer_from(CRS.from_epsg(4326)).transform(lon, lat)
    rng = np.random.default_rng(0)
    px, py = rng.uniform(x - 500, x + 500, 200), rng.uniform(y - 500, y + 500, 200)
    mine = projection.transformer_from(crs).transform(px, py, direction="INVERSE")
    everything = (-180.0, -90.0, 180.0, 90.0)
    ((west, south, east, north),) = projection.unproject_box((x - 500, y - 500, x + 500, y + 500), crs, everything)
    slack = 1e-3 * (east - west)
    assert ((mine[0] >= west - slack) & (mine[0] <= east + slack)).all()
    assert ((mine[1] >= south - slack) & (mine[1] <= north + slack)).all()
