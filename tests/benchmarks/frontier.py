"""Accuracy against speed of model packages on the processor: a table, and a picture of the frontier.

usage: python tests/benchmarks/frontier.py PICTURE.png PACKAGE...

Speed is ground that is kept, in km2 an hour on one thread, so that halo and ground resolution count; accuracy is
the mean IoU of the held-out places that training noted. The packages are timed in turn, ROUNDS times.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from geoseg.models.engine import PatchGeometry
from geoseg.models.onnx_engine import OnnxEngine
from geoseg.models.package import ModelPackage, load_package

ROUNDS = 5


def open_engine(package: ModelPackage) -> OnnxEngine:
    core_px = package.patch_px - 2 * package.halo_px
    return OnnxEngine(package, PatchGeometry(package.patch_px, package.halo_px, core_px, core_px))


def time_patches(packages: list[ModelPackage]) -> list[float]:
    """Median seconds a patch of each package."""
    rng = np.random.default_rng(0)
    engines = [open_engine(package) for package in packages]
    images = [rng.integers(0, 256, (1, e.bands, e.geometry.patch_px, e.geometry.patch_px), np.uint8) for e in engines]
    seconds: list[list[float]] = [[] for _ in engines]
    for _ in range(ROUNDS + 1):
        for engine, image, taken in zip(engines, images, seconds, strict=True):
            begun = time.perf_counter()
            engine.predict(image)
            taken.append(time.perf_counter() - begun)
    return [statistics.median(taken[1:]) for taken in seconds]


def draw(path: Path, packages: list[ModelPackage], km2_per_h: list[float]) -> None:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="km² an hour, one thread", ylabel="mean IoU, held-out places")
    for package, speed in zip(packages, km2_per_h, strict=True):
        axes.plot(speed, package.metrics["mean_iou"], "o")
        axes.annotate(f" {package.name}", (speed, package.metrics["mean_iou"]))
    axes.margins(x=0.25)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def main(picture: str, *names: str) -> None:
    packages = [load_package(name) for name in names]
    seconds = time_patches(packages)
    speeds = []
    print("| model | m | halo px | overhead | Mpx/s | km²/h | mean IoU |\n| --- | --- | --- | --- | --- | --- | --- |")
    for package, taken in zip(packages, seconds, strict=True):
        core_px, gsd = package.patch_px - 2 * package.halo_px, package.ground_resolution_m
        speeds.append((core_px * gsd) ** 2 / 1e6 / taken * 3600)
        print(
            f"| {package.name} | {gsd:g} | {package.halo_px} | {(package.patch_px / core_px) ** 2:.2f} | "
            f"{package.patch_px**2 / 1e6 / taken:.2f} | {speeds[-1]:.1f} | {package.metrics['mean_iou']:.3f} |"
        )
    draw(Path(picture), packages, speeds)


if __name__ == "__main__":
    main(*sys.argv[1:])
