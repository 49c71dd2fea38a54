"""Every metre is a metre on the ground: at any latitude, in any CRS, across the antimeridian and round the poles."""

from __future__ import annotations

import math
from itertools import cycle
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Proj, Transformer

from geoseg.evaluation.evaluate import evaluate
from geoseg.evaluation.objects import ObjectScore
from geoseg.evaluation.road_layers import score_road_layers
from geoseg.grid import GEOD, GeoGrid
from geoseg.layers.read import open_layer
from geoseg.legend import LAND_COVER
from geoseg.polygons.attributes import locate_rings, measure_rings
from geoseg.polygons.rectangles import fit_rectangles
from geoseg.ragged import flatten_geometries
from geoseg.raster.cog import write_class_raster
from geoseg.run.polygonize import polygonize
from geoseg.tiles.patches import LATTICE_PX, fit_patches

LONLAT = CRS.from_epsg(4326)
FEET = {"proj": "tmerc", "lat_0": 40, "lon_0": -100, "units": "us-ft", "datum": "WGS84"}

# CRS, longitude and latitude of a place in it, and how large a pixel of about half a metre is.
PLACES = {
    "UTM 31 N, equator": (32631, 3.0, 0.0, 0.5),
    "UTM 33 N, 45 degrees, edge of the zone": (32633, 17.9, 45.0, 0.5),
    "UTM 37 S, 6 degrees": (32737, 39.2, -6.16, 0.5),
    "UTM 32 N, 70 degrees, edge of the zone": (32632, 6.1, 70.0, 0.5),
    "Web Mercator, equator": (3857, 9.0, 0.0, 0.5),
    "Web Mercator, 45 degrees": (3857, -71.0, 45.0, 0.7),
    "Web Mercator, 70 degrees": (3857, 25.0, 70.0, 1.46),
    "degrees, equator": (4326, 32.0, 0.0, 5e-6),
    "degrees, 45 degrees": (4326, 8.0, 45.0, 5e-6),
    "degrees, 70 degrees": (4326, -50.0, 70.0, 8e-6),
    "US survey feet, New York": (2263, -73.98, 40.75, 1.64),
    "international feet, Arizona": (2222, -110.5, 33.0, 1.64),
    "US survey feet, 45 degrees, off the meridian": (FEET, -98.0, 45.0, 1.64),
    "degrees across the antimeridian": (4326, 180.0, -16.8, 5e-6),
    "degrees across the antimeridian, 0 to 360": ("+proj=longlat +pm=180 +datum=WGS84", -180.0, 66.0, 8e-6),
    "UTM 1 S across the antimeridian": (32701, 180.0, -16.8, 0.5),
    "Mercator of the Pacific, across the antimeridian": (3832, 180.0, 60.0, 1.0),
    "Arctic, 75 degrees": (3413, 10.0, 75.0, 0.5),
    "Arctic, beside the pole": (3413, 100.0, 89.99, 0.5),
    "Antarctica, 70 degrees": (3031, -120.0, -70.0, 0.5),
}
ROUND_A_POLE = {"Arctic, round the pole": (3413, 0.0, 90.0, 0.5), "Antarctica, round the pole": (3031, 0.0, -90.0, 0.5)}


def wkt_of(crs: object) -> str:
    return CRS.from_user_input(crs).to_wkt()


def from_ground(crs: object) -> Transformer:
    return Transformer.from_crs(LONLAT, CRS.from_user_input(crs), always_xy=True)


def stake_out(lon: float, lat: float, *, bearing: float, length: float, width: float) -> np.ndarray:
    """(4, 2) longitude and latitude of the corners of a rectangle around a place, on the ellipsoid."""
    half, away = 0.5 * math.hypot(length, width), math.degrees(math.atan2(width, length))
    turns = [bearing - away, bearing + away, bearing + 180 - away, bearing + 180 + away]
    return np.array([GEOD.fwd(lon, lat, turn, half)[:2] for turn in turns])


def project(corners: np.ndarray, crs: object) -> shapely.Polygon:
    x, y = from_ground(crs).transform(*corners.T)
    if CRS.from_user_input(crs).is_geographic:  # a raster goes on beyond 180 degrees
        x = x[0] + (x - x[0] + 180) % 360 - 180
    return shapely.Polygon(np.stack([x, y], axis=1))


def check(crs: object, corners: np.ndarray, *, bearing: float | None, length: float, width: float) -> None:
    rings = locate_rings(flatten_geometries([project(corners, crs)]), GeoGrid(wkt_of(crs), Affine.identity(), 1, 1))
    (area,), (perimeter,) = measure_rings(rings)
    (orientation,), (found_length,), (found_width,) = fit_rectangles(rings, np.ones(1, bool))
    assert area == pytest.approx(length * width, rel=2e-6)
    assert perimeter == pytest.approx(2 * (length + width), rel=2e-6)
    assert (found_length, found_width) == pytest.approx((length, width), rel=2e-6)
    assert 0 <= orientation < 180
    if bearing is not None:
        assert abs((orientation - bearing + 90) % 180 - 90) <= 0.01


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=15, deadline=None)
@given(st.floats(0, 180), st.floats(8, 300), st.floats(0.2, 0.95))
def test_a_building_is_as_large_as_it_is(place: str, bearing: float, length: float, ratio: float) -> None:
    crs, lon, lat, _ = PLACES[place]
    # A bearing that is lost beside the pole, where meridians turn by degrees along a wall.
    told = None if abs(lat) > 89.9 else bearing
    corners = stake_out(lon, lat, bearing=bearing, length=length, width=ratio * length)
    check(crs, corners, bearing=told, length=length, width=ratio * length)


@settings(max_examples=150, deadline=None)
@given(st.floats(-180, 180), st.floats(-89.9, 89.9), st.floats(0, 180), st.floats(8, 300), st.floats(0.2, 0.95))
def test_anywhere_on_earth(lon: float, lat: float, bearing: float, length: float, ratio: float) -> None:
    zone = int((lon + 180) // 6) % 60 + 1
    crs: list[object] = [4326, 3413 if lat > 0 else 3031]
    crs += [3857, (32700 if lat < 0 else 32600) + zone] if abs(lat) < 84 else []
    corners = stake_out(lon, lat, bearing=bearing, length=length, width=ratio * length)
    for one in crs:
        check(one, corners, bearing=bearing, length=length, width=ratio * length)


@pytest.mark.parametrize("place", ROUND_A_POLE)
def test_round_a_pole(place: str) -> None:
    crs, lon, lat, _ = ROUND_A_POLE[place]
    corners = stake_out(lon, lat, bearing=20.0, length=4000.0, width=1000.0)
    check(crs, corners, bearing=None, length=4000.0, width=1000.0)


def make_grid(place: str, size: int = 80, *, turn: float = 0.0) -> GeoGrid:
    """A grid with the place in its middle, turned on the map by some degrees."""
    crs, lon, lat, pixel = (PLACES | ROUND_A_POLE)[place]
    x, y = from_ground(crs).transform(lon, lat)
    middle = Affine.translation(x, y) @ Affine.rotation(turn) @ Affine.scale(pixel, -pixel)
    return GeoGrid(wkt_of(crs), middle @ Affine.translation(-size / 2, -size / 2), size, size)


def lonlat_of(grid: GeoGrid, *corners: tuple[float, float]) -> np.ndarray:
    rows, cols = np.array(corners, float).T
    return np.stack(grid.to_lonlat.transform(*grid.to_world(rows, cols)), axis=1)


def write_classes(path: Path, grid: GeoGrid, classes: np.ndarray) -> Path:
    write_class_raster(path, grid, [(grid.window, classes)], legend=LAND_COVER)
    return path


def measure_exactly(grid: GeoGrid, block: list[tuple[int, int]]) -> float:
    lonlat = lonlat_of(grid, *block)
    if np.abs(lonlat[:, 1]).max() < 89.9:
        return abs(GEOD.polygon_area_perimeter(*lonlat.T)[0])
    # PROJ's geodesic areas lose their digits at a pole, where the scale of these maps is one number.
    scale = Proj(CRS.from_wkt(grid.crs)).get_factors(0.0, math.copysign(89.98, lonlat[0, 1])).areal_scale
    return shapely.Polygon(np.stack(grid.to_world(*np.array(block, float).T), axis=1)).area / scale


@pytest.mark.parametrize("turn", [0.0, 30.0])
@pytest.mark.parametrize("place", PLACES | ROUND_A_POLE)
def test_pixels_and_patches_are_measured_on_the_ground(place: str, turn: float) -> None:
    grid = make_grid(place, turn=turn)
    edges = lonlat_of(grid, (39.5, 40), (40.5, 40), (40, 39.5), (40, 40.5))
    size = GEOD.inv(*edges[[0, 2]].T, *edges[[1, 3]].T)[2]
    assert grid.ground_resolution_m() == pytest.approx(tuple(size), rel=1e-9)
    unit = fit_patches(grid, 0.6, patch_px=256, halo_px=32).unit_px
    assert np.abs(unit * size - LATTICE_PX * 0.6).max() <= 0.5 * size.max()


@pytest.mark.parametrize(("place", "turn"), list(zip(PLACES | ROUND_A_POLE, cycle([0.0, 30.0]))))
def test_layers_and_the_least_area_are_in_ground_metres(place: str, turn: float, tmp_path: Path) -> None:
    grid = make_grid(place, turn=turn)
    classes = np.zeros((80, 80), np.uint8)
    classes[10:70, 30:60], classes[2:6, 2:12] = 1, 2
    # At the equator a polygon of 40 pixels has 10 m2, in Web Mercator at 70 degrees just as many of larger pixels.
    blocks = [[(10, 30), (10, 60), (70, 60), (70, 30)], [(2, 2), (2, 12), (6, 12), (6, 2)]]
    expected = [measure_exactly(grid, block) for block in blocks]
    path = write_classes(tmp_path / "classes.tif", grid, classes)
    for least, kept in ((expected[1] - 0.5, [1, 2]), (expected[1] + 0.5, [1])):
        output = tmp_path / f"{len(kept)}.fgb"
        polygonize(path, output, tile_px=37, min_area_m2=least, workers=1)
        layer = open_layer(output)
        layer = layer[layer["class_id"] > 0].sort_values("class_id")
        assert layer["class_id"].tolist() == kept
        # Areas of PROJ's geodesics are no better than 0.01 m2, those of the layer are rounded to 0.001 m2.
        assert layer["area_m2"].tolist() == pytest.approx(expected[: len(kept)], rel=2e-6, abs=0.02)


@pytest.mark.parametrize("place", PLACES | ROUND_A_POLE)
def test_roads_are_near_each_other_by_ground_metres(place: str) -> None:
    crs, lon, lat, _ = (PLACES | ROUND_A_POLE)[place]
    # Two roads 200 m long, side by side, 4 m apart.
    corners = stake_out(lon, lat, bearing=35.0, length=200.0, width=4.0)
    x, y = project(corners, crs).exterior.xy
    ends = np.stack([x, y], axis=1)
    sides = [
        geopandas.GeoDataFrame(geometry=[shapely.LineString(ends[pair])], crs=CRS.from_user_input(crs))
        for pair in ([0, 3], [1, 2])
    ]
    near, far = (score_road_layers(*sides, buffer_m=buffer_m).roads for buffer_m in (4.01, 3.99))
    assert (near.truth_m, near.predicted_m) == pytest.approx((200.0, 200.0), rel=1e-4)
    assert (near.quality, far.quality) == pytest.approx((1.0, 0.0), abs=1e-9)


@pytest.mark.parametrize("place", PLACES | ROUND_A_POLE)
def test_layers_are_compared_on_pixels_of_ground_metres(place: str, tmp_path: Path) -> None:
    crs, lon, lat, _ = (PLACES | ROUND_A_POLE)[place]
    house, shifted = (
        project(stake_out(lon, lat, bearing=bearing, length=60.0, width=20.0), crs) for bearing in (0.0, 2.0)
    )
    paths = [tmp_path / "found.gpkg", tmp_path / "truth.gpkg"]
    for path, polygon in zip(paths, (house, shifted), strict=True):
        geopandas.GeoDataFrame({"class_id": [1]}, geometry=[polygon], crs=CRS.from_user_input(crs)).to_file(path)
    result = evaluate(*paths, resolution_m=0.25)
    assert result.pixel_m == pytest.approx((0.25, 0.25), rel=1e-4)
    assert result.buildings is not None
    # Corners turn by 2 degrees about the middle, 31.6 m away; walls are 0.35 to 1.05 m apart.
    assert 0.3 < result.buildings.polis < 1.1


@pytest.mark.parametrize("shift", [-60, 0, 60])
@pytest.mark.parametrize("place", [name for name in PLACES if "antimeridian" in name and "360" not in name])
def test_a_layer_cut_at_the_antimeridian_lies_on_its_raster(place: str, shift: int, tmp_path: Path) -> None:
    middle = make_grid(place)
    grid = GeoGrid(middle.crs, middle.transform @ Affine.translation(shift, 0), 80, 80)
    classes = np.zeros((80, 80), np.uint8)
    classes[10:70, 30:60], classes[2:6, 2:12] = 1, 2
    truth = write_classes(tmp_path / "classes.tif", grid, classes)
    polygonize(truth, tmp_path / "cut.geojson", tile_px=37, workers=1)
    result = evaluate(tmp_path / "cut.geojson", truth)
    found = result.counts.matrix.counts
    assert found.trace() == found.sum() == classes.size
    assert result.buildings is not None
    assert result.buildings.matched == ObjectScore(1, 0, 0)
