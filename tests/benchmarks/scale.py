"""Time and memory against the raster's size, and one dask worker against two.

usage: python tests/benchmarks/scale.py [exact|map|segment|workers] [SIZE_PX,...] [ROUNDS]

A scene of 2048 x 2048 px with a dark frame is repeated by a VRT: no polygon is larger than the scene. Each run is a
process of its own. `exact` and `map` polygonize a class raster, `map` with minimum mapping unit, generalisation and
roads; `segment` predicts with an engine that costs next to nothing; `workers` is `segment` on a dask cluster.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.invariance.clusters import open_cluster
from tests.invariance.test_memory import MOTIF_PX, repeat_motif

RUN = """
import json, resource, sys, time
sys.path.insert(0, {root!r})
import geoseg
from tests.invariance.light_engine import install
install()
class Stages:
    tiles_s, began = 0.0, 0.0
    def start(self, stage, total):
        now = time.perf_counter()
        self.tiles_s += now - self.began if self.began else 0.0
        self.began = 0.0 if stage.startswith("write") else now
    def advance(self, steps=1): pass
    def note(self, text): pass
stages = Stages()
result = geoseg.{function}({image!r}, {layer!r}, overwrite=True, fresh=True, progress=stages, **{options!r})
usage = resource.getrusage(resource.RUSAGE_SELF)
polygons = sum(result.polygons.values())
facts = [result.seconds, usage.ru_utime + usage.ru_stime, result.peak_bytes, polygons, stages.tiles_s]
print(json.dumps(facts))
"""
PAINT = """
from pathlib import Path
import rasterio
from geoseg.grid import GeoGrid
from geoseg.legend import LAND_COVER
from geoseg.raster.cog import write_class_raster
from geoseg.run.demo import make_demo_scene

scene = make_demo_scene(Path({folder!r}), size_px={size})
with rasterio.open(scene.image) as image, rasterio.open(scene.truth) as truth:
    colors, classes, profile = image.read(), truth.read(1), image.profile
    grid = GeoGrid(truth.crs.to_wkt(), truth.transform, *classes.shape)
for values in (*colors, classes):
    values[:8] = values[-8:] = values[:, :8] = values[:, -8:] = 0
with rasterio.open(Path({folder!r}, "image.tif"), "w", **profile) as image:
    image.write(colors)
write_class_raster(Path({folder!r}, "classes.tif"), grid, [(grid.window, classes)], legend=LAND_COVER)
"""
MAP = {"min_unit_m2": "auto", "simplify_m": "auto", "regularize": True, "smooth": True, "roads": True}
ENGINE = "tests.invariance.light_engine"
KINDS: dict[str, tuple[str, dict[str, object]]] = {
    "exact": ("polygonize", {}),
    "map": ("polygonize", MAP),
    "segment": ("segment", {"device": "cpu"}),
}


def measure(kind: str, image: Path, **options: object) -> list[float]:
    """Wall-clock and processor seconds, peak bytes, polygons, and seconds of work on tiles, of one run."""
    function, wanted = KINDS[kind]
    layer = str(image.with_name("map.gpkg"))
    root = str(Path(__file__).parents[2])
    code = RUN.format(root=root, function=function, image=str(image), layer=layer, options=wanted | options)
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return [float(fact) for fact in json.loads(done.stdout)]


def show_sizes(kind: str, find: Callable[[int], Path], sizes: list[int], rounds: int) -> None:
    """One row a size; ratios are to the first."""
    print(f"| {kind} px | polygons | Mpx/s | processor s / Gpx | time / px | peak MiB | peak |")
    first: tuple[float, float] | None = None
    measure(kind, find(MOTIF_PX), workers=2)  # compiles what is not yet compiled
    for size in sizes:
        runs = [measure(kind, find(size), workers=2) for _ in range(rounds)]
        wall, cpu, peak, polygons, _ = (statistics.median(column) for column in zip(*runs, strict=True))
        first = first or (cpu / size**2, peak)
        ratios = f"{cpu / size**2 / first[0]:.2f} | {peak / 2**20:.0f} | {peak / first[1]:.2f}"
        speeds = f"{size**2 / 1e6 / wall:.2f} | {cpu / size**2 * 1e9:.0f}"
        print(f"| {size} | {polygons:,.0f} | {speeds} | {ratios} |", flush=True)
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)


def show_workers(image: Path, folder: Path, rounds: int) -> None:
    """Pairs of runs on one and on two workers, in turn: what their tiles take, without the run's own join."""
    ratios = []
    for _ in range(rounds):
        seconds = []
        for workers in (1, 2):
            with open_cluster(folder, workers=workers, preload=ENGINE) as cluster:
                cluster.await_workers()
                runs = [measure("segment", image, scheduler=cluster.address) for _ in range(2)]
                seconds.append(runs[1][-1])  # the first run loads the workers' kernels
        ratios.append(seconds[0] / seconds[1])
        print(f"1 worker {seconds[0]:.1f} s, 2 workers {seconds[1]:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    print(f"{statistics.median(ratios):.2f} x with a second worker (median of {rounds} pairs)")


def main(kind: str = "exact", sizes: str = "8192,16384", rounds: int = 1) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # A child's peak starts at its parent's: the scene is painted by another child.
        subprocess.run([sys.executable, "-c", PAINT.format(folder=folder, size=MOTIF_PX)], check=True)
        motif = Path(folder, "image.tif" if kind in ("segment", "workers") else "classes.tif")
        numbers = [int(size) for size in sizes.split(",")]
        if kind == "workers":
            show_workers(repeat_motif(motif, numbers[0]), Path(folder), rounds)
        else:
            show_sizes(kind, lambda size: repeat_motif(motif, size, nodata=0), numbers, rounds)


if __name__ == "__main__":
    if set(sys.argv[1:2]) <= {*KINDS, "workers"}:
        main(*sys.argv[1:3], *map(int, sys.argv[3:]))
    else:
        print(__doc__)
