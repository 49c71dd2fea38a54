"""Time and memory against the raster's size, and one dask worker against two.

usage: python tests/benchmarks/scale.py [exact|map|segment|workers] [SIZE_PX,...] [ROUNDS]

A scene of 2048 x 2048 px is repeated by a VRT. Each run is a process of its own. `exact` and `map` polygonize a class
raster, `map` with minimum mapping unit, generalisation and roads; `segment` predicts with an engine
that costs next to nothing.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.invariance.clusters import open_cluster
from tests.invariance.test_memory import MOTIF_PX, repeat_motif

RUN = """
import json, resource, sys
sys.path.insert(0, {root!r})
import geoseg
from tests.invariance.light_engine import install
install()
class Stages:
    def start(self, stage, total):
        print(stage, flush=True, file=sys.stderr)
    def advance(self, steps=1): pass
    def note(self, text): print(text, flush=True, file=sys.stderr)
result = geoseg.{function}({image!r}, {layer!r}, overwrite=True, fresh=True, progress=Stages(), **{options!r})
usage = resource.getrusage(resource.RUSAGE_SELF)
facts = [result.seconds, usage.ru_utime + usage.ru_stime, result.peak_bytes, sum(result.polygons.values())]
print(json.dumps(facts))
"""
MAP = {"min_unit_m2": "auto", "simplify_m": "auto", "regularize": True, "smooth": True, "roads": True}
ENGINE = "tests.invariance.light_engine"
KINDS: dict[str, tuple[str, dict[str, object]]] = {
    "exact": ("polygonize", {}),
    "map": ("polygonize", MAP),
    "segment": ("segment", {"device": "cpu"}),
}


def measure(kind: str, image: Path, **options: object) -> list[float]:
    """Wall-clock and processor seconds, peak bytes and polygons of one run."""
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
    for size in sizes:
        runs = [measure(kind, find(size), workers=2) for _ in range(rounds)]
        wall, cpu, peak, polygons = (statistics.median(column) for column in zip(*runs, strict=True))
        first = first or (cpu / size**2, peak)
        ratios = f"{cpu / size**2 / first[0]:.2f} | {peak / 2**20:.0f} | {peak / first[1]:.2f}"
        speeds = f"{size**2 / 1e6 / wall:.2f} | {cpu / size**2 * 1e9:.0f}"
        print(f"| {size} | {polygons:,.0f} | {speeds} | {ratios} |", flush=True)
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)


def show_workers(image: Path, folder: Path, rounds: int) -> None:
    """Pairs of runs on one and on two workers, in turn."""
    ratios = []
    for _ in range(rounds):
        seconds = []
        for workers in (1, 2):
            with open_cluster(folder, workers=workers, preload=ENGINE) as cluster:
                began = time.perf_counter()
                measure("segment", image, scheduler=cluster.address)
                seconds.append(time.perf_counter() - began)
        ratios.append(seconds[0] / seconds[1])
        print(f"1 worker {seconds[0]:.1f} s, 2 workers {seconds[1]:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    print(f"{statistics.median(ratios):.2f} x with a second worker (median of {rounds} pairs)")


def main(kind: str = "exact", sizes: str = "8192,16384", rounds: int = 1) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # A child's peak starts at its parent's: the scene is painted by another child.
        make = f"from geoseg.run.demo import make_demo_scene as m, Path as p; m(p({folder!r}), size_px={MOTIF_PX})"
        subprocess.run([sys.executable, "-c", make], check=True)
        motif = Path(folder, "demo_scene.tif" if kind in ("segment", "workers") else "demo_truth.tif")
        numbers = [int(size) for size in sizes.split(",")]
        if kind == "workers":
            show_workers(repeat_motif(motif, numbers[0]), Path(folder), rounds)
        else:
            show_sizes(kind, lambda size: repeat_motif(motif, size), numbers, rounds)


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
