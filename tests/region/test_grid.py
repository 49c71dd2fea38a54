"""The grid of a region: the scenes' own where they share one, else one that is theirs as nearly as it can be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS, Transformer

from geoseg.errors import InputError, OptionError
from geoseg.grid import GeoGrid
from geoseg.raster.positions import find_bounds, find_offset
from geoseg.region.grid import choose_grid, cut_grid, find_zone_window, find_zones
from tests.region.making import make_grid

AT_180 = [
    make_grid((100, 100), epsg=4326, x=179.995, y=10, pixel=1e-4),
    make_grid((50, 90), epsg=4326, x=-179.999, y=10, pixel=1e-4),
]


def epsg(grid: GeoGrid) -> int | None:
    return CRS.from_wkt(grid.crs).to_epsg()


def assert_holds(grid: GeoGrid, scenes: list[GeoGrid]) -> None:
    """Every corner of every scene lies inside, and no side could be a pixel shorter."""
    for scene in scenes:
        ends = np.linspace(0, 1, 30)
        rows = np.concatenate([ends * 0, ends * 0 + 1, ends, ends]) * scene.rows
        cols = np.concatenate([ends, ends, ends * 0, ends * 0 + 1]) * scene.cols
        x, y = scene.to_world(rows, cols)
        x, y = Transformer.from_crs(scene.crs, grid.crs, always_xy=True).transform(x, y)
        found_cols, found_rows = ~grid.transform @ (x, y)
        assert found_rows.min() > -1e-3
        assert found_cols.min() > -1e-3
        assert found_rows.max() < grid.rows + 1e-3
        assert found_cols.max() < grid.cols + 1e-3


def test_parts_of_one_grid_lie_on_it() -> None:
    whole = replace(make_grid((300, 400)), transform=Affine(0.3, 0, 530_000.123, 0, -0.45, 9_330_000.7))
    scenes = [cut_grid(whole, part) for part in (replace(whole.window, row=7, rows=200), replace(whole.window, col=11))]
    grid = choose_grid(scenes)
    assert (grid.rows, grid.cols) == (300, 400)
    assert grid.transform.almost_equals(whole.transform, 1e-7)
    assert [find_offset(grid, scene) for scene in scenes] == [(-7, 0), (0, -11)]


@pytest.mark.parametrize(
    "other",
    [make_grid((50, 50), x=530_000.2), make_grid((50, 50), pixel=0.6), make_grid((50, 50), y=9_330_010, pixel=1)],
    ids=["not aligned", "of another size", "coarser"],
)
def test_others_get_whole_multiples_of_the_finest_pixel(other: GeoGrid) -> None:
    scenes = [make_grid((40, 40), x=530_000.1), other]
    grid = choose_grid(scenes)
    assert grid.transform.a == -grid.transform.e == 0.5
    assert grid.transform.c % 0.5 == grid.transform.f % 0.5 == 0
    assert epsg(grid) == 32737
    assert_holds(grid, scenes)


def test_turned_grids_are_not_taken() -> None:
    scene = replace(make_grid((50, 50)), transform=make_grid((50, 50)).transform @ Affine.rotation(30))
    grid = choose_grid([scene, scene])
    assert (grid.transform.b, grid.transform.d) == (0, 0)
    assert_holds(grid, [scene])


def test_scenes_of_two_zones_get_that_of_their_middle() -> None:
    scenes = [make_grid((100, 100), x=150_000), make_grid((100, 100), epsg=32736, x=870_000)]
    grid = choose_grid(scenes)
    assert epsg(grid) in (32736, 32737)
    assert grid.transform.a == 0.5
    assert_holds(grid, scenes)


@pytest.mark.parametrize(
    ("lat", "expected"), [(70.0, 32601), (-5.0, 32701), (88.0, 32661), (-85.0, 32761)], ids=["N", "S", "UPS N", "UPS S"]
)
def test_the_zone_is_that_of_the_centre(lat: float, expected: int) -> None:
    scenes = [
        make_grid((20, 20), epsg=4326, x=-179, y=lat, pixel=0.001),
        make_grid((20, 20), epsg=3995 if lat > 0 else 3031, x=0, y=0, pixel=1),
    ]
    x, y = Transformer.from_crs(4326, scenes[1].crs, always_xy=True).transform(-178.9, lat)
    scenes[1] = replace(scenes[1], transform=Affine(1, 0, x, 0, -1, y))
    assert epsg(choose_grid(scenes)) == expected


@pytest.mark.parametrize(
    "scenes",
    [
        AT_180,
        AT_180[::-1],
        [make_grid((90, 90), epsg=3857, x=20_037_480, y=0), make_grid((90, 90), epsg=3857, x=-20_037_500, y=0)],
        [make_grid((90, 90), epsg=32660, x=833_900, y=500), make_grid((90, 90), epsg=32601, x=166_100, y=500)],
    ],
    ids=["degrees", "in another order", "Mercator", "zones 60 and 1"],
)
def test_both_sides_of_the_antimeridian_are_neighbours(scenes: list[GeoGrid]) -> None:
    grid = choose_grid(scenes)
    assert epsg(grid) in (32601, 32660, 32701, 32760)
    width_m = grid.cols * grid.transform.a
    assert width_m < 2_500
    for scene in scenes:
        assert find_bounds(grid, scene).rows > 0


def test_a_scene_across_the_antimeridian_in_its_own_crs_is_one_scene() -> None:
    scene = make_grid((100, 100), epsg=32601, x=165_900, y=500)
    assert choose_grid([scene]) == scene
    assert choose_grid([scene, AT_180[0]]).cols < 100_000


def test_what_is_asked_for_is_done() -> None:
    scenes = [make_grid((100, 100)), make_grid((100, 100), epsg=4326, x=39.27, y=-6.06, pixel=1e-5)]
    assert epsg(choose_grid(scenes, crs="EPSG:4326")) == 4326
    assert choose_grid(scenes, crs="EPSG:21037", resolution_m=2).transform.a == 2
    assert choose_grid(scenes[:1], resolution_m=0.25).cols == 200
    coarse = choose_grid(scenes, crs="EPSG:4326", resolution_m=11.057)
    assert coarse.ground_resolution_m()[0] == pytest.approx(11.057, rel=0.01)
    with pytest.raises(OptionError, match="--resolution 0"):
        choose_grid(scenes, resolution_m=0)
    with pytest.raises(OptionError, match="--crs nonsense"):
        choose_grid(scenes, crs="nonsense")
    with pytest.raises(OptionError, match="neither"):
        choose_grid(scenes, crs="EPSG:4978")


def test_a_scene_without_a_place_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be brought"):
        choose_grid([make_grid((10, 10), epsg=4326, x=-100, y=60, pixel=1e-4)], crs="EPSG:2056")


def test_zones_and_their_scenes() -> None:
    scenes = [
        make_grid((10, 10), epsg=4326, x=41.999, y=5, pixel=0.001),
        make_grid((10, 10), epsg=4326, x=42.0, y=5, pixel=0.001),
        *AT_180,
        make_grid((10, 10), epsg=4326, x=50, y=86, pixel=0.001),
        make_grid((10, 10), epsg=4326, x=50, y=0.005, pixel=0.001),
        make_grid((100, 100), epsg=32601, x=166_000, y=500),
    ]
    found = {zone.name: numbers for zone, numbers in find_zones(scenes)}
    assert found == {
        "37N": [0], "38N": [0, 1], "60N": [2, 6], "01N": [2, 3, 6], "UPS-N": [4], "39N": [5], "39S": [5],
    }  # fmt: skip


def test_a_zone_cuts_its_grid() -> None:
    scene = make_grid((50, 2000), epsg=4326, x=41.99, y=5, pixel=1e-5)
    for zone, _ in find_zones([scene]):
        grid = choose_grid([scene], crs=zone.crs)
        cut = cut_grid(grid, find_zone_window(grid, zone))
        lon = cut.to_lonlat.transform(*cut.to_world(np.array([0.0, 0]), np.array([0.0, cut.cols])))[0]
        assert min(lon) > (41.9899 if zone.name == "37N" else 41.998)
        assert max(lon) < (42.002 if zone.name == "37N" else 42.0101)
