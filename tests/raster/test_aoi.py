from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry.base import BaseGeometry

from geoseg.errors import InputError
from geoseg.grid import GeoGrid, Window
from geoseg.raster.aoi import parse_aoi

Grids = Callable[..., GeoGrid]


@pytest.fixture
def grid(make_grid: Grids) -> GeoGrid:
    return make_grid(200, 300)


@pytest.fixture
def make_file(tmp_path: Path, grid: GeoGrid) -> Callable[..., Path]:
    """Factory of vector files: shapes in pixels (x = column, y = row) of the grid, written in any CRS."""

    def make(*shapes: BaseGeometry, crs: str = "EPSG:32737", name: str = "area.gpkg") -> Path:
        t = grid.transform
        moved = [
            shapely.transform(s, lambda p: np.stack([t.a * p[:, 0] + t.c, t.e * p[:, 1] + t.f], 1)) for s in shapes
        ]
        path = tmp_path / name
        geopandas.GeoDataFrame(geometry=moved, crs=grid.crs).to_crs(crs).to_file(path)
        return path

    return make


def centres_inside(shape: BaseGeometry, grid: GeoGrid) -> np.ndarray:
    cols, rows = np.meshgrid(np.arange(grid.cols) + 0.5, np.arange(grid.rows) + 0.5)
    return shapely.contains_xy(shape, cols, rows)


star = shapely.Polygon([(20.3, 15.2), (150.7, 60.1), (280.2, 20.4), (200.6, 110.3), (260.9, 190.2), (90.4, 130.8)])


@pytest.mark.parametrize("name", ["area.gpkg", "area.geojson", "area.fgb"])
@pytest.mark.parametrize("crs", ["EPSG:32737", "EPSG:4326", "EPSG:3857"])
def test_mask_holds_the_pixels_whose_centres_lie_inside(
    make_file: Callable[..., Path], grid: GeoGrid, crs: str, name: str
) -> None:
    area = parse_aoi(make_file(star, crs=crs, name=name), grid)
    wrong = area.mask(grid.window) != centres_inside(star, grid)
    assert wrong.sum() <= 6  # centres within a rounding error of the outline
    assert not area.window.is_empty
    inside = np.argwhere(area.mask(grid.window))
    assert (inside >= (area.window.row, area.window.col)).all()
    assert (inside < (area.window.row_stop, area.window.col_stop)).all()


@pytest.fixture
def star_file(make_file: Callable[..., Path]) -> Path:
    return make_file(star, shapely.box(3, 150, 44.5, 190.5))


@settings(max_examples=60, deadline=None)
@given(st.builds(Window, st.integers(-50, 220), st.integers(-50, 320), st.integers(1, 120), st.integers(1, 120)))
def test_mask_of_a_window_is_cut_from_the_whole(star_file: Path, grid: GeoGrid, window: Window) -> None:
    area = parse_aoi(star_file, grid)
    padded = np.pad(area.mask(grid.window), 200)
    rows, cols = window.within(Window(-200, -200, 600, 700))
    np.testing.assert_array_equal(area.mask(window), padded[rows, cols])


def test_box_in_degrees(grid: GeoGrid) -> None:
    lon, lat = grid.to_lonlat.transform(*grid.to_world(np.array([40.0, 160.0]), np.array([60.0, 250.0])))
    area = parse_aoi(f"{lon[0]},{lat[1]},{lon[1]},{lat[0]}", grid)
    for found, wanted in zip((area.window.row, area.window.col, *area.window.shape), (40, 60, 120, 190), strict=True):
        assert abs(found - wanted) <= 2
    assert area.mask(grid.window).mean() == pytest.approx(120 * 190 / 60_000, rel=0.02)


def test_box_larger_than_the_raster_is_all_of_it(grid: GeoGrid) -> None:
    area = parse_aoi("38,-7,41,-5", grid)
    assert area.window == grid.window
    assert area.mask(grid.window).all()


def test_box_across_the_antimeridian(make_grid: Grids) -> None:
    grid = make_grid(100, 400, Affine(0.01, 0, 178, 0, -0.01, -16), "EPSG:4326")
    area = parse_aoi("179,-16.5,-179,-16.2", grid)
    assert area.window == Window(20, 100, 30, 100)  # the grid's CRS ends at 180 degrees


def test_rotated_grid(make_grid: Grids) -> None:
    turned = Affine.translation(530_000, 9_330_000) @ Affine.rotation(40) @ Affine.scale(0.5, -0.5)
    grid = make_grid(200, 300, turned)
    lon, lat = grid.to_lonlat.transform(*grid.to_world(np.array([100.0]), np.array([150.0])))
    area = parse_aoi(f"{lon[0] - 1e-4},{lat[0] - 1e-4},{lon[0] + 1e-4},{lat[0] + 1e-4}", grid)
    mask = area.mask(grid.window)
    assert mask[100, 150]
    assert mask.sum() == pytest.approx((22.2 / 0.5) ** 2, rel=0.03)
    assert mask.sum() < area.window.rows * area.window.cols * 0.6


def test_fingerprint_follows_the_area(make_file: Callable[..., Path], grid: GeoGrid) -> None:
    one = parse_aoi(make_file(star), grid).fingerprint
    assert parse_aoi(make_file(star), grid).fingerprint == one
    assert parse_aoi(make_file(shapely.box(10, 10, 50, 50)), grid).fingerprint != one


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,2,3", "area 1,2,3"),
        ("1,2,3,4,5", "W,S,E,N"),
        ("39,-6,39,-5", "no area"),
        ("39,-5,40,-6", "no area"),
        ("40,-6,39,-5", "no area"),
        ("39,-91,40,0", "out of range"),
        ("500000,9300000,500100,9300100", "out of range"),
        ("nan,0,1,1", "W,S,E,N"),
        ("10,50,11,51", "no pixel"),
        ("39.2000001,-6.0600002,39.2000002,-6.0600001", "no pixel"),
        ("nowhere.geojson", "neither"),
    ],
)
def test_refusals(grid: GeoGrid, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        parse_aoi(text, grid)
    assert caught.value.expected
    assert caught.value.remedy


def test_refuses_a_sliver_between_pixel_centres(make_file: Callable[..., Path], grid: GeoGrid) -> None:
    sliver = shapely.Polygon([(10, 10.2), (200, 150.2), (200, 150.3)])
    with pytest.raises(InputError, match="no pixel"):
        parse_aoi(make_file(shapely.box(10.6, 10, 10.9, 100)), grid)
    assert not parse_aoi(make_file(sliver, shapely.box(5, 5, 9, 9)), grid).window.is_empty


def test_refuses_files_without_polygons(make_file: Callable[..., Path], grid: GeoGrid, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no polygon"):
        parse_aoi(make_file(shapely.LineString([(0, 0), (50, 50)])), grid)
    (tmp_path / "broken.geojson").write_text("{")
    with pytest.raises(InputError, match="not readable"):
        parse_aoi(tmp_path / "broken.geojson", grid)
    geopandas.GeoDataFrame(geometry=[star]).to_file(tmp_path / "nowhere.gpkg")
    with pytest.raises(InputError, match="no coordinate reference system"):
        parse_aoi(tmp_path / "nowhere.gpkg", grid)


def test_refuses_names_that_no_file_can_have(grid: GeoGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"(?i)name too long"):
        parse_aoi("POLYGON" * 50, grid)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(InputError, match="Permission denied"):
        parse_aoi("area.gpkg", grid)
