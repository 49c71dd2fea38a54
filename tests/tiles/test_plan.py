"""A plan covers the raster once, whatever the tile size."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS

from geoseg.errors import InputError
from geoseg.grid import GeoGrid, Window
from geoseg.tiles.patches import (
    LATTICE_PX,
    MAX_CORE_SOURCE_PX,
    MAX_PATCH_PX,
    PatchLattice,
    fit_patches,
)
from geoseg.tiles.plan import TilePlan

UTM = CRS.from_epsg(32633).to_wkt()


def make_grid(rows: int, cols: int, pixel_m: float = 0.3) -> GeoGrid:
    return GeoGrid(UTM, Affine(pixel_m, 0, 500000, 0, -pixel_m, 5600000), rows, cols)


sizes = st.integers(1, 90)


@given(sizes, sizes, sizes, sizes)
def test_cores_cover_every_pixel_once(rows: int, cols: int, tile_rows: int, tile_cols: int) -> None:
    plan = TilePlan(make_grid(rows, cols), (tile_rows, tile_cols))
    covered = np.zeros((rows, cols), int)
    for tile in plan.tiles():
        covered[tile.core.within(plan.grid.window)] += 1
        assert not tile.core.is_empty
    assert (covered == 1).all()
    assert len(list(plan.tiles())) == plan.shape[0] * plan.shape[1]


@given(sizes, sizes, st.integers(0, 80), st.integers(0, 80), st.integers(1, 50), st.integers(1, 50))
def test_tiles_of_an_area_are_those_that_touch_it(
    rows: int, cols: int, row: int, col: int, high: int, wide: int
) -> None:
    plan = TilePlan(make_grid(rows, cols), (7, 11))
    area = Window(row, col, high, wide)
    touching = [t for t in plan.tiles() if not t.core.intersect(area).is_empty]
    assert list(plan.tiles(area)) == touching


def test_neighbours_touch_the_core() -> None:
    plan = TilePlan(make_grid(30, 30), (10, 10), (3, 3))
    assert len(plan.neighbours(plan.tile(1, 1))) == 8
    assert {t.id for t in plan.neighbours(plan.tile(0, 0))} == {(0, 1), (1, 0), (1, 1)}
    for other in plan.neighbours(plan.tile(1, 1)):
        assert not other.core.intersect(plan.tile(1, 1).padded).is_empty


def test_peak_bytes_counts_the_halo_and_stops_at_the_raster() -> None:
    plan = TilePlan(make_grid(1000, 1000), (100, 100), (10, 10))
    assert plan.peak_bytes(bytes_per_core_px=2, bytes_per_padded_px=1, fixed_bytes=5) == 5 + 2 * 100**2 + 120**2
    assert TilePlan(make_grid(10, 10), (100, 100)).peak_bytes(bytes_per_core_px=1) == 100


@given(st.floats(0.05, 4.0), st.sampled_from([0.3, 0.4, 0.6]))
def test_the_lattice_keeps_the_models_ground_resolution(pixel_m: float, model_m: float) -> None:
    lattice = fit_patches(make_grid(5000, 5000, pixel_m), model_m, patch_px=512, halo_px=64)
    for units in lattice.unit_px:
        seen_m = units * pixel_m / 32
        assert seen_m == pytest.approx(model_m, abs=pixel_m / 64 + 2e-3 * model_m) or units == 1
    assert all(core % unit == 0 for core, unit in zip(lattice.core_px, lattice.unit_px, strict=True))


@given(st.integers(1, 400), st.integers(1, 400))
def test_a_tile_is_whole_patch_cores(unit: int, wanted: int) -> None:
    lattice = PatchLattice(256, 32, (unit, unit))
    assert lattice.tile_px(wanted)[0] % lattice.core_px[0] == 0
    assert lattice.tile_px(wanted)[0] >= lattice.core_px[0]


@pytest.mark.parametrize("pixel_m", [30.0, 0.001])
def test_a_raster_out_of_the_models_reach_is_refused(pixel_m: float) -> None:
    with pytest.raises(InputError, match="ground resolution"):
        fit_patches(make_grid(100, 100, pixel_m), 0.4, patch_px=512, halo_px=64)


halos = st.sampled_from([32, 96, 128, 192])


@given(st.integers(1, 9000), st.integers(1, 9000), halos, st.sampled_from([0.05, 0.3, 0.4, 2.0]))
def test_fitted_patches_predict_no_more_pixels(rows: int, cols: int, halo_px: int, pixel_m: float) -> None:
    grid = make_grid(rows, cols, pixel_m)
    own = fit_patches(grid, 0.4, patch_px=1024, halo_px=halo_px)
    fitted = own.fit(grid)

    def cost(lattice: PatchLattice) -> int:
        return lattice.predicted_px(grid) + max(lattice.predicted_px(grid), 2 * lattice.patch_px**2)

    assert cost(fitted) <= cost(own)
    assert fitted.count(grid) <= own.count(grid)
    assert (fitted.halo_px, fitted.unit_px) == (own.halo_px, own.unit_px)
    assert fitted.patch_px % LATTICE_PX == 0
    assert fitted.patch_px <= MAX_PATCH_PX
    # Where there are seams there are no more of them than where the halo was measured.
    assert fitted.patch_px >= own.patch_px or fitted.count(grid) == 1
    assert fitted == own or fitted.core_px[0] * fitted.core_px[1] <= MAX_CORE_SOURCE_PX


@given(st.integers(50_000, 200_000), st.integers(50_000, 200_000))
def test_the_halo_of_a_large_raster(rows: int, cols: int) -> None:
    grid = make_grid(rows, cols, 0.4)
    for halo_px, limit in ((128, 1.22), (192, 1.35)):
        fitted = fit_patches(grid, 0.4, patch_px=1024, halo_px=halo_px).fit(grid)
        assert (fitted.patch_px / (fitted.patch_px - 2 * halo_px)) ** 2 <= limit
        assert fitted.predicted_px(grid) <= limit * rows * cols


def test_fine_imagery_keeps_the_cores_small() -> None:
    grid = make_grid(100_000, 100_000, 0.02)
    own = fit_patches(grid, 0.4, patch_px=1024, halo_px=128)
    assert own.fit(grid) == own
