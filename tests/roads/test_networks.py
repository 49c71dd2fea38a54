"""Networks of generated streets whose truth is known."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import shapely
from affine import Affine
from scipy.ndimage import gaussian_filter

from geoseg.grid import GEOD, GeoGrid
from geoseg.polygons.identity import identify_features
from geoseg.roads.gaps import BridgeRule
from tests.roads.cities import compare, lines_m, make_city
from tests.roads.streets import ROAD, burn, make_grid, trace


def degrees(network) -> Counter[int]:
    return Counter(np.bincount(network.ends.ravel()).tolist())


def circle(x: float, y: float, radius: float) -> list[tuple[float, float]]:
    t = np.linspace(0, 2 * np.pi, 100)
    return list(zip(x + radius * np.cos(t), y + radius * np.sin(t), strict=True))


@pytest.mark.parametrize("pixel_m", [0.15, 0.3, 0.5, 1.0])
def test_towns(pixel_m: float) -> None:
    grid = make_grid(round(500 / pixel_m), round(500 / pixel_m), pixel_m)
    scores = []
    for seed in range(4):
        streets = make_city(seed)
        scores.append(compare(trace(burn(streets, grid, cap="round"), grid), streets, grid))
    assert np.mean([s.apls for s in scores]) > 0.95
    assert min(s.completeness for s in scores) > 0.95
    assert min(s.correctness for s in scores) > 0.97
    assert max(s.width_error_m for s in scores) < 0.35
    for score in scores:
        assert score.length_ratio == pytest.approx(1, abs=0.04)
        assert abs(score.junctions[0] - score.junctions[1]) <= 3


@pytest.mark.parametrize("width", [4, 6, 9, 14, 20])
@pytest.mark.parametrize("angle", [0, 17, 45, 80])
def test_a_straight_road_has_its_length_and_width(width: float, angle: float) -> None:
    grid = make_grid(500, 500)
    way = 90 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    line = [(125 - way).tolist(), (125 + way).tolist()]
    network = trace(burn([(line, width)], grid), grid)
    assert len(network) == 1
    assert degrees(network) == {1: 2}
    batch = network.describe(grid)
    assert batch.columns["length_m"][0] == pytest.approx(180, abs=1.2)
    assert batch.columns["width_m"][0] == pytest.approx(width, abs=0.35)
    assert batch.columns["width_std_m"][0] < 0.5
    found = lines_m(network, grid)[0]
    assert shapely.hausdorff_distance(found, shapely.LineString(line)) < 1.2
    assert len(found.coords) <= 6


def test_a_grid_of_streets() -> None:
    grid = make_grid(1000, 1000)
    streets = [([(x, 0), (x, 500)], 8.0) for x in (100, 200, 300, 400)]
    streets += [([(0, y), (500, y)], 6.0) for y in (100, 200, 300, 400)]
    network = trace(burn(streets, grid), grid)
    assert degrees(network) == {4: 16, 1: 16}
    inner = network.node_px[np.bincount(network.ends.ravel()) == 4]
    # Even widths have their middle between two cells.
    assert np.abs(inner / 200 - np.rint(inner / 200)).max() * 200 <= 1
    outer = network.node_px[np.bincount(network.ends.ravel()) == 1]
    assert ((outer == 0) | (outer == 1000)).any(axis=1).all(), "roads that leave the raster end at its border"
    upright = np.abs(np.diff(network.node_px[network.ends], axis=1))[:, 0, 1] < 5
    np.testing.assert_allclose(network.width_m[upright], 8, atol=0.1)
    np.testing.assert_allclose(network.width_m[~upright], 6, atol=0.1)


def test_a_roundabout_is_a_ring_with_its_roads() -> None:
    grid = make_grid(600, 600)
    streets = [(circle(150, 150, 20), 7.0), ([(0, 150), (130, 150)], 7.0), ([(170, 150), (300, 150)], 7.0)]
    streets += [([(150, 170), (150, 300)], 7.0)]
    network = trace(burn(streets, grid), grid)
    assert degrees(network) == {3: 3, 1: 3}
    ring = [line.length for line in lines_m(network, grid) if line.distance(shapely.Point(150, 150)) > 15]
    assert sum(ring) < 900
    around = lines_m(network, grid)[(np.bincount(network.ends.ravel())[network.ends] == 3).all(axis=1)]
    assert shapely.length(around).sum() == pytest.approx(2 * np.pi * 20, rel=0.05)


def test_a_ring_that_nothing_meets_stays() -> None:
    grid = make_grid(400, 400)
    network = trace(burn([(circle(100, 100, 40), 6.0)], grid), grid)
    assert len(network) == 1
    assert network.ends[0, 0] == network.ends[0, 1]
    assert network.describe(grid).columns["length_m"][0] == pytest.approx(2 * np.pi * 40, rel=0.02)


def test_carriageways_stay_apart() -> None:
    grid = make_grid(300, 800)
    network = trace(burn([([(0, 60), (400, 60)], 8.0), ([(0, 70), (400, 70)], 8.0)], grid), grid)
    assert len(network) == 2
    np.testing.assert_allclose(np.sort(network.node_px[:, 0]), [120, 120, 140, 140], atol=1)


def test_noise_changes_little() -> None:
    grid = make_grid(1000, 1000)
    rng = np.random.default_rng(2)
    streets = make_city(1)
    clean = burn(streets, grid, cap="round") == ROAD
    rough = gaussian_filter(rng.standard_normal(clean.shape), 2)
    soft = gaussian_filter(clean.astype(float), 1.5) + 0.12 * rough / rough.std() > 0.5
    soft ^= rng.random(clean.shape) < 0.01
    for row, col in rng.integers(0, 1000, (300, 2)):
        soft[row : row + 8, col : col + 4] = False
    network = trace((soft * ROAD).astype(np.uint8), grid, bridges=BridgeRule())
    score = compare(network, streets, grid)
    assert score.apls > 0.85
    assert score.completeness > 0.94
    assert score.correctness > 0.95
    assert score.width_error_m < 0.8


def test_nothing_gives_nothing() -> None:
    grid = make_grid(200, 300)
    network = trace(np.zeros((200, 300), np.uint8), grid, tile_px=(64, 64), bridges=BridgeRule())
    assert len(network) == 0
    assert len(network.node_px) == 0
    speck = np.zeros((200, 300), np.uint8)
    speck[100:110, 100:112] = ROAD
    assert len(trace(speck, grid, bridges=BridgeRule())) == 0


def test_a_place_joins_its_roads_and_a_yard_is_no_road() -> None:
    grid = make_grid(800, 800)
    yard = np.zeros((800, 800), np.uint8)
    yard[300:500, 300:500] = ROAD
    assert len(trace(yard, grid)) == 0
    roads = [([(0, 200), (200, 200)], 8.0), ([(200, 200), (400, 205)], 8.0), ([(200, 0), (200, 200)], 8.0)]
    place = np.maximum(yard, burn(roads, grid))
    network = trace(place, grid)
    assert degrees(network)[1] == 3
    groups = shapely.line_merge(shapely.union_all(lines_m(network, grid)))
    assert shapely.get_num_geometries(groups) == 3
    assert shapely.length(groups) == pytest.approx(600, rel=0.05)


def test_a_hole_in_a_wide_road_is_no_block() -> None:
    grid = make_grid(400, 800)
    wide = burn([([(0, 100), (400, 100)], 26.0)], grid)
    wide[192:208, 380:396] = 0
    assert len(trace(wide, grid)) == 1
    block = burn([(circle(200, 100, 30), 8.0), ([(0, 100), (170, 100)], 8.0), ([(230, 100), (400, 100)], 8.0)], grid)
    assert degrees(trace(block, grid)) == {3: 2, 1: 2}


@pytest.mark.parametrize("width", [8.0, 26.0, 50.0])
def test_roads_reach_the_border_of_the_raster(width: float) -> None:
    grid = make_grid(500, 700)
    network = trace(burn([([(-50, 90), (400, 150)], width)], grid), grid)
    assert len(network) == 1
    np.testing.assert_array_equal(network.node_px[:, 1], [0, 700])
    np.testing.assert_allclose(network.node_px[:, 0], [2 * (90 + 50 / 7.5), 2 * (90 + 400 / 7.5)], atol=6)


def test_a_runway_has_a_middle_line() -> None:
    grid = make_grid(600, 1600)
    network = trace(burn([([(50, 150), (750, 160)], 60.0)], grid), grid)
    length = network.describe(grid).columns["length_m"]
    assert length.max() > 600
    assert (
        lines_m(network, grid)[np.argmax(length)].hausdorff_distance(shapely.LineString([(50, 150), (750, 160)])) < 45
    )
    assert network.width_m[np.argmax(length)] == pytest.approx(60, abs=8)


@pytest.mark.parametrize("crs_lat", [("EPSG:4326", 0.0), ("EPSG:4326", 70.0), ("EPSG:3857", 45.0), ("EPSG:2263", 40.7)])
def test_metres_are_ground_metres(crs_lat: tuple[str, float]) -> None:
    import pyproj  # noqa: PLC0415

    crs, lat = crs_lat
    lon = -74.0 if crs == "EPSG:2263" else 20.0
    to = pyproj.Transformer.from_crs(4326, crs, always_xy=True)
    # A pixel of half a metre on the ground, whatever the CRS makes of it.
    x, y = to.transform(lon, lat)
    east, _, _ = GEOD.fwd(lon, lat, 90, 1000)
    _, north, _ = GEOD.fwd(lon, lat, 0, 1000)
    dx, dy = (to.transform(east, lat)[0] - x) / 2000, (to.transform(lon, north)[1] - y) / 2000
    grid = GeoGrid(pyproj.CRS(crs).to_wkt(), Affine(dx, 0, x, 0, -dy, y), 400, 400)
    network = trace(burn([([(50, 30), (50, 170)], 8.0)], make_grid(400, 400)), grid)
    columns = network.describe(grid).columns
    assert columns["length_m"][0] == pytest.approx(140, rel=0.01)
    assert columns["width_m"][0] == pytest.approx(8, rel=0.04)


def test_ids_belong_to_positions() -> None:
    grid = make_grid(1000, 1000)
    classes = burn(make_city(2), grid)

    def name_roads(classes: np.ndarray) -> list[str]:
        batch = trace(classes, grid).describe(grid)
        return list(identify_features(batch.columns["class_id"], batch.geometries, grid.crs))

    names = name_roads(classes)
    assert names == name_roads(classes)
    assert len(set(names)) == len(names)
    # A part of the town that is torn down leaves the ids of the rest.
    less = classes.copy()
    less[:, 600:] = 0
    rest = name_roads(less)
    assert len(set(names) & set(rest)) >= len(rest) / 3
