"""Class raster to GeoDataFrame: geoseg beside `rasterio.features.shapes` in turn, on one thread, and geoseg on two.

usage: python tests/benchmarks/polygonize.py [SIZE_PX] [ROUNDS] [RASTER.tif]

With a raster: the file to FlatGeobuf, geoseg with all its attributes beside `gdal_polygonize.py`, which has none.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import geopandas
import numpy as np
import rasterio.features
import shapely
from affine import Affine
from scipy import ndimage

import geoseg

CRS = "EPSG:32633"
GRID_TRANSFORM = Affine(0.3, 0, 500000, 0, -0.3, 5600000)


def make_classes(size_px: int, *, noise: float) -> np.ndarray:
    """Blobs of four classes, about 150 px across; `noise` is the share of pixels with a random class."""
    rng = np.random.default_rng(1)
    coarse = rng.standard_normal((size_px // 8, size_px // 8)).astype(np.float32)
    field = ndimage.zoom(ndimage.gaussian_filter(coarse, 3), 8, order=1)
    classes = np.digitize(field, np.quantile(field[::16, ::16], [0.4, 0.6, 0.8])).astype(np.uint8)
    scattered = rng.random(classes.shape, dtype=np.float32) < noise
    classes[scattered] = rng.integers(0, 4, int(scattered.sum()), dtype=np.uint8)
    return classes


def run_geoseg(classes: np.ndarray, threads: int = 1) -> geopandas.GeoDataFrame:
    return geoseg.polygonize_array(classes, crs=CRS, transform=GRID_TRANSFORM, threads=threads)


def run_rasterio(classes: np.ndarray) -> geopandas.GeoDataFrame:
    found = list(rasterio.features.shapes(classes, connectivity=4, transform=GRID_TRANSFORM))
    shapes = [shapely.geometry.shape(geometry) for geometry, _ in found]
    return geopandas.GeoDataFrame({"class_id": [value for _, value in found]}, geometry=shapes, crs=CRS)


def time_call(call: Callable[[np.ndarray], geopandas.GeoDataFrame], classes: np.ndarray) -> tuple[float, float, int]:
    """Seconds of wall clock and of processor, and the number of polygons."""
    wall, cpu = time.perf_counter(), sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    frame = call(classes)
    return time.perf_counter() - wall, sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - cpu, len(frame)


def compare_files(raster: str, rounds: int) -> None:
    """Processor seconds from a file to a file; GDAL's program begins anew each time, geoseg has begun before."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder, "ours.fgb"), Path(folder, "theirs.fgb")
        command = ["gdal_polygonize.py", "-q", "-f", "FlatGeobuf", raster, str(theirs)]
        pairs = []
        for _ in range(rounds + 1):
            spent = [sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
            geoseg.polygonize(raster, ours, workers=1, overwrite=True, fresh=True)
            theirs.unlink(missing_ok=True)
            subprocess.run(command, check=True)
            now = [sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
            pairs.append((now[0] - spent[0], now[1] - spent[1]))
    medians = [statistics.median(pair[side] for pair in pairs[1:]) for side in (0, 1)]
    ratio = statistics.median(b / a for a, b in pairs[1:])
    print(f"{raster}: geoseg {medians[0]:.2f} s, GDAL {medians[1]:.2f} s of processor time, {ratio:.1f} x")


def main(size_px: int = 4096, rounds: int = 5) -> None:
    run_geoseg(make_classes(256, noise=0.1))
    for name, noise in (("clean", 0.0), ("1 % noise", 0.01)):
        classes = make_classes(size_px, noise=noise)
        pairs = [(time_call(run_geoseg, classes), time_call(run_rasterio, classes)) for _ in range(rounds)]
        ours, theirs = pairs[0]
        if ours[2] != theirs[2]:
            raise SystemExit(f"{ours[2]} polygons against {theirs[2]}")
        medians = [statistics.median(pair[side][1] for pair in pairs) for side in (0, 1)]
        ratio = statistics.median(b[1] / a[1] for a, b in pairs)
        print(
            f"{size_px} x {size_px} {name}, {ours[2]:,} polygons: geoseg {medians[0]:.2f} s, "
            f"rasterio {medians[1]:.2f} s of processor time, {ratio:.1f} x (median of {rounds} pairs)"
        )
        walls = [
            [time_call(partial(run_geoseg, threads=threads), classes)[0] for threads in (1, 2)] for _ in range(rounds)
        ]
        ratio = statistics.median(one / two for one, two in walls)
        print(f"on two threads {ratio:.2f} x as fast by the clock, which means something on a calm machine only")


if __name__ == "__main__":
    if len(sys.argv) > 3:
        compare_files(sys.argv[3], int(sys.argv[2]))
    else:
        main(*map(int, sys.argv[1:]))
