"""One tile's classes and confidence on disk, and tiles laid side by side."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import geoseg
from geoseg.classes.stitch import ReadTile, stitch_tiles, stitch_window
from geoseg.classes.tile import NOTHING, read_class_tile, write_class_tile
from geoseg.grid import GeoGrid, Window
from geoseg.legend import LAND_COVER
from geoseg.raster.cog import write_class_raster
from geoseg.tiles.plan import Tile, TilePlan
from tests.conftest import CORNER, UTM

NODATA = LAND_COVER.nodata
GRID = GeoGrid(rasterio.CRS.from_user_input(UTM).to_wkt(), CORNER, 90, 110)

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def make_pair(rows: int, cols: int, seed: int = 1) -> Pair:
    rng = np.random.default_rng(seed)
    classes = rng.choice([0, 1, 2, 3, NODATA], (rows, cols)).astype(np.uint8)
    classes.flat[0] = 1
    return classes, rng.integers(0, 256, (rows, cols)).astype(np.uint8)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 110), st.integers(0, 2**32))
def test_what_is_written_is_read(rows: int, cols: int, seed: int) -> None:
    pair = make_pair(rows, cols, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "classes" / "tile.tif"
        size = write_class_tile(path, *pair, grid=GRID, window=Window(0, 0, rows, cols), nodata=NODATA)
        assert size == path.stat().st_size > 0
        found = read_class_tile(path)
        assert [p.name for p in path.parent.iterdir()] == ["tile.tif"]
    assert found is not None
    for written, read in zip(pair, found, strict=True):
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, written)


def test_a_tile_without_a_known_pixel_says_so(tmp_path: Path) -> None:
    classes, confidence = np.full((20, 30), NODATA, np.uint8), np.zeros((20, 30), np.uint8)
    path = tmp_path / "tile.tif"
    write_class_tile(path, classes, confidence, grid=GRID, window=Window(0, 0, 20, 30), nodata=NODATA)
    assert path.read_bytes() == NOTHING
    assert read_class_tile(path) is None
    window = Window(0, 0, 20, 30)
    tiles = [Tile((0, 0), window, window)]
    assert list(stitch_tiles(tiles, lambda _: read_class_tile(path), band="class")) == []


def test_background_is_known(tmp_path: Path) -> None:
    background = np.zeros((20, 30), np.uint8)
    path = tmp_path / "tile.tif"
    assert write_class_tile(path, background, background, grid=GRID, window=Window(0, 0, 20, 30), nodata=NODATA) > 0
    assert read_class_tile(path) is not None


@pytest.mark.parametrize("size", [0, 1, 14, 100])
def test_a_damaged_tile_is_named(tmp_path: Path, size: int) -> None:
    path = tmp_path / "tile.tif"
    write_class_tile(path, *make_pair(20, 30), grid=GRID, window=Window(0, 0, 20, 30), nodata=NODATA)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(geoseg.InputError, match="damaged"):
        read_class_tile(path)
    assert not path.exists()


@pytest.mark.parametrize("transform", [CORNER, CORNER @ Affine.rotation(20)])
def test_a_tile_lies_where_its_pixels_are(tmp_path: Path, transform: Affine) -> None:
    grid = GeoGrid(GRID.crs, transform, 90, 110)
    window = Window(40, 70, 50, 40)
    write_class_tile(tmp_path / "tile.tif", *make_pair(50, 40), grid=grid, window=window, nodata=NODATA)
    with rasterio.open(tmp_path / "tile.tif") as raster:
        assert raster.crs == UTM
        assert raster.transform.almost_equals(transform @ Affine.translation(70, 40), 1e-9)
        assert raster.transform @ (0, 0) == pytest.approx(transform @ (70, 40))
        assert raster.descriptions == ("class", "confidence")


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
import geoseg
from tests.classes.test_tiles import GRID, NODATA, make_pair
from geoseg.classes.tile import write_class_tile
from geoseg.grid import Window
path = Path(sys.argv[1])
old, size = path.read_bytes(), path.stat().st_size
for limit in [0, 1, 9, *range(100, size, 100), size - 1]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_class_tile(path, *make_pair(50, 60), grid=GRID, window=Window(0, 0, 50, 60), nodata=NODATA)
    except geoseg.OutputError:
        continue
    sys.exit(f"{limit} of {size} bytes were enough")
sys.exit(path.read_bytes() != old)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of file size")
def test_no_room_for_a_tile_is_an_error_wherever_the_room_ends(tmp_path: Path) -> None:
    """A tile cut short would be taken for a finished one, and of length 0 for one that holds nothing."""
    path = tmp_path / "tile.tif"
    write_class_tile(path, *make_pair(50, 60), grid=GRID, window=Window(0, 0, 50, 60), nodata=NODATA)
    command = [sys.executable, "-c", FULL_DISK, str(path)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(geoseg.OutputError):
        write_class_tile(
            tmp_path / "file" / "tile.tif", *make_pair(5, 5), grid=GRID, window=Window(0, 0, 5, 5), nodata=NODATA
        )


PLAN = TilePlan(GRID, (32, 40))
Tiles = tuple[Pair, list[Tile], ReadTile]


@pytest.fixture
def tiles(tmp_path: Path) -> Tiles:
    """A raster, its tiles of 32 x 40 px and what reads their files; one holds nothing."""
    classes, confidence = make_pair(90, 110)
    classes[32:64, 40:80], confidence[32:64, 40:80] = NODATA, 0
    for tile in PLAN.tiles():
        part, path = tile.core.within(GRID.window), tmp_path / f"{tile.name}.tif"
        write_class_tile(path, classes[part], confidence[part], grid=GRID, window=tile.core, nodata=NODATA)
    return (classes, confidence), list(PLAN.tiles()), lambda tile: read_class_tile(tmp_path / f"{tile.name}.tif")


def test_stitched_tiles_are_the_raster(tiles: Tiles) -> None:
    (classes, confidence), order, read = tiles
    for band, whole, rest in (("class", classes, NODATA), ("confidence", confidence, 0)):
        found = np.full(whole.shape, rest, np.uint8)
        windows = []
        for window, values in stitch_tiles(order, read, band=band):  # type: ignore[arg-type]
            found[window.within(GRID.window)] = values
            windows.append(window)
        np.testing.assert_array_equal(found, whole)
        assert windows == [tile.core for tile in order if read(tile) is not None]
        assert len(windows) == len(order) - 1


@pytest.mark.parametrize("window", [Window(0, 0, 90, 110), Window(30, 35, 40, 50), Window(-9, -5, 120, 130)])
def test_a_stitched_window_is_the_raster_there(tiles: Tiles, window: Window) -> None:
    (classes, confidence), order, read = tiles
    found = stitch_window(window, order, read, elsewhere=77)
    inside = window.intersect(GRID.window)
    unknown = np.zeros((90, 110), bool)
    unknown[32:64, 40:80] = True
    for values, whole, rest in zip(found, (np.where(unknown, 77, classes), confidence), (77, 0), strict=True):
        expected = np.full(window.shape, rest, np.uint8)
        expected[inside.within(window)] = whole[inside.within(GRID.window)]
        np.testing.assert_array_equal(values, expected)


def test_the_order_of_the_tiles_does_not_show(tiles: Tiles, tmp_path: Path, make_grid: Callable[..., GeoGrid]) -> None:
    (classes, _), given, read = tiles
    written = []
    for seed in range(4):
        order = random.Random(seed).sample(given, len(given)) if seed else given
        path = tmp_path / str(seed) / "classes.tif"
        write_class_raster(path, make_grid(90, 110), stitch_tiles(order, read, band="class"), legend=LAND_COVER)
        written.append(path.read_bytes())
    assert len(set(written)) == 1
    with rasterio.open(tmp_path / "0" / "classes.tif") as raster:
        np.testing.assert_array_equal(raster.read(1), classes)
