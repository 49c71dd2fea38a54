"""Generalised coverages of many polygons: generated ones and those of real scenes; and the memory that they take."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.polygons.arcs import SUBPIXELS
from geoseg.polygons.marks import strip_marks
from geoseg.polygons.rings import PolygonBatch, pack_keys

from .test_generalise import TO_PIXELS, generalise, turn_rings
from .tracing import Raster, same

LABELS = Path(__file__).parents[3] / "shared" / "data" / "oam" / "labels"


def make_scene(size: int, seed: int = 1, noise: float = 0.01) -> Raster:
    """Vegetation (3) of smoothed noise, winding roads (2), rotated buildings (1), and pixels of any class."""
    rng = np.random.default_rng(seed)
    relief = sum(
        ndimage.zoom(ndimage.gaussian_filter(rng.standard_normal((size // s, size // s)), 1.5), s, order=1) * s**0.5
        for s in (4, 16, 32)
    )
    classes = np.where(relief > np.quantile(relief, 0.75), 3, 0).astype(np.uint8)
    row, col = np.mgrid[:size, :size].astype(np.float32)
    for _ in range(size * size // 8000):
        middle, angle = rng.uniform(40, size - 40, 2), rng.uniform(0, np.pi)
        half = rng.uniform(6, 24, 2)
        top, left = (middle - 40).astype(int)
        part = np.s_[top : top + 80, left : left + 80]
        y, x = row[part] - middle[0], col[part] - middle[1]
        along, across = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
        classes[part][(np.abs(along) < half[0]) & (np.abs(across) < half[1])] = 1
    for k in range(size // 400):
        line = (k + 0.5) * 400 + 60 * np.sin(np.arange(size) / rng.uniform(100, 500))
        classes[np.abs(row - line[None, :]) < 8] = 2
        classes[np.abs(col - line[:, None]) < 6] = 2
    rough = rng.random(classes.shape) < noise
    classes[rough] = rng.integers(0, 4, int(rough.sum()))
    return classes


def check_edges(found: PolygonBatch, shape: tuple[int, int]) -> None:
    """Every edge runs once in either direction, but for those around the raster: nothing overlaps, nothing is open.

    The boundaries of all polygons then add up to that of the raster, and the winding numbers about any point to one.
    """
    after = np.roll(found.coords, -1, axis=0)
    after[found.ring_offsets[1:] - 1] = found.coords[found.ring_offsets[:-1]]
    here, there = pack_keys(found.coords), pack_keys(after)
    edges, turned = (np.sort(np.rec.fromarrays(ends)) for ends in ((here, there), (there, here)))
    assert (edges[1:] != edges[:-1]).all()
    single = ~np.isin(edges, turned)
    ends = np.stack([edges.f0[single], edges.f1[single]])
    rows, cols = ends >> 32, ends & 0xFFFFFFFF
    height, width = shape[0] * SUBPIXELS, shape[1] * SUBPIXELS
    on_border = [
        (rows == 0).all(axis=0),
        (rows == height).all(axis=0),
        (cols == 0).all(axis=0),
        (cols == width).all(axis=0),
    ]
    assert np.any(on_border, axis=0).all()
    assert np.abs(rows[0] - rows[1]).sum() + np.abs(cols[0] - cols[1]).sum() == 2 * (height + width)


def check_large(classes: Raster, tolerance_m: float, *, smooth: tuple[int, ...] = ()) -> NDArray[np.object_]:
    marked, found = generalise(classes, tolerance_m, smooth=smooth)
    assert (found.polygon_offsets == marked.polygon_offsets).all()
    assert len(found.coords) < len(marked.coords)
    shapes = found.geometries(TO_PIXELS)
    assert shapely.is_valid(shapes).all()
    assert (shapely.area(shapes) > 0).all()
    plain = replace(marked, coords=strip_marks(marked.coords))
    assert (turn_rings(found) == turn_rings(plain)).all()
    assert shapely.area(shapes).sum() == pytest.approx(classes.size, rel=1e-12)
    check_edges(found, classes.shape)
    before, after = shapely.get_rings(plain.geometries(Affine.identity())), shapely.get_rings(shapes)
    small = shapely.get_num_coordinates(before) < 500
    assert small.mean() > 0.9
    assert (shapely.hausdorff_distance(before[small], after[small]) <= tolerance_m + 1e-9).all()
    return shapes


@pytest.mark.slow
@pytest.mark.parametrize("smooth", [(), (0, 2, 3)])
def test_more_than_a_hundred_thousand_polygons_of_a_scene(smooth: tuple[int, ...]) -> None:
    assert len(check_large(make_scene(4096), 1.0, smooth=smooth)) > 100_000


@pytest.mark.slow
def test_more_than_a_hundred_thousand_patches_are_a_coverage_to_geos() -> None:
    rough = ndimage.gaussian_filter(np.random.default_rng(3).standard_normal((2000, 2000)), 0.7)
    shapes = check_large(np.digitize(rough, np.quantile(rough, [0.2, 0.4, 0.6, 0.8])).astype(np.uint8), 1.5)
    assert len(shapes) > 100_000
    assert shapely.coverage_is_valid(shapes)


@pytest.mark.slow
@pytest.mark.data
def test_more_than_a_hundred_thousand_patches_of_real_ground() -> None:
    """Light and dark of a photograph: boundaries as the world draws them, at more polygons than labels have."""
    path = LABELS.parent / "zanzibar_z21_c0.tif"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    with rasterio.open(path) as raster:
        light = raster.read(2, window=((0, 4096), (0, 6144))).astype(np.float32)
    light = ndimage.gaussian_filter(light, 1.0)
    classes = np.digitize(light, np.quantile(light, [0.2, 0.4, 0.6, 0.8])).astype(np.uint8)
    shapes = check_large(classes, 1.0)
    assert len(shapes) > 100_000
    assert shapely.coverage_is_valid(shapes)
    assert shapely.area(shapely.coverage_union_all(shapes)) == pytest.approx(classes.size, rel=1e-12)


@pytest.mark.slow
def test_large_scenes_do_not_depend_on_tiles_and_cells() -> None:
    classes = make_scene(2048)
    _, whole = generalise(classes, 1.3, smooth=(0, 3))
    _, parts = generalise(classes, 1.3, (700, 512), smooth=(0, 3), cell_buckets=37, batch_polygons=511)
    assert same(whole, parts)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", ["zanzibar_z20_c0", "catanduanes_ph_z20_c1", "banepa2_train_z19x2"])
def test_real_scenes_stay_coverages(name: str) -> None:
    path = LABELS / f"{name}_classes.tif"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    with rasterio.open(path) as raster:
        classes = raster.read(1)
    check_large(classes, 1.0, smooth=(0, 3))


MEASURE = """
import sys, tempfile
from pathlib import Path
import numpy as np
from geoseg.grid import Window
from geoseg.polygons.generalise import generalise_coverage
from geoseg.polygons.join import join_tiles
from geoseg.polygons.order import sort_spilled
from geoseg.polygons.trace import trace_tile
from tests.peak import peak_kib
side, bands = 1024, int(sys.argv[1])
tile = np.random.default_rng(0).integers(0, 40, (side, side)) // 37
tile = tile.astype(np.uint8)
def traces(bands):
    for band in range(bands):
        window = Window(band * side, 0, side, side)
        yield trace_tile(tile, window=window, grid_shape=(bands * side, side), skip=(0,), marked=True)
def run(bands):
    with tempfile.TemporaryDirectory() as folder:
        ordered = sort_spilled(join_tiles(traces(bands)), Path(folder))
        return sum(len(b) for b in generalise_coverage(ordered, Path(folder), tolerance_m=1.2, pixel_m=(1, 1)))
run(3)
before = peak_kib()
polygons = run(bands)
print(polygons, before, peak_kib())
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_raster() -> None:
    """Specks alone: their background is a single polygon, and such is held whole."""
    done = subprocess.run([sys.executable, "-c", MEASURE, "24"], capture_output=True, text=True, check=True)
    polygons, before_kb, after_kb = map(int, done.stdout.split())
    assert polygons > 1_000_000
    assert after_kb - before_kb < 30_000
