"""geoseg beside other programs: same raster, same weights, same threads, file to layer, in turn.

usage: python tests/benchmarks/peers/compare.py RASTER [--model NAME] [--threads N] [--rounds N] [--size-px N]
           [--raster-vision PYTHON] [--geoai PYTHON]

PYTHON is the interpreter of an environment that holds the program. A crop of the raster is taken as of the ground
resolution of the model, since the others do not resample. All run in processes of their own, start-up included; by
default the crop
is large enough that it does not decide. `--size-px` sets the crop's side.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import rasterio
import torch
from rasterio.transform import from_origin
from torch import Tensor, nn

from geoseg.models.package import load_package
from geoseg.models.torch_engine import load_network

HERE = Path(__file__).parent


class FromUnit(nn.Module):
    """A network that takes images from 0 to 1, as the others hand them over, and gives logits."""

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images * 255 - self.mean) / self.std)


def crop(raster: Path, path: Path, *, size_px: int, resolution_m: float) -> Path:
    with rasterio.open(raster) as source:
        values = source.read((1, 2, 3), window=((0, size_px), (0, size_px)))
    shape = {"count": 3, "height": values.shape[1], "width": values.shape[2], "dtype": "uint8"}
    place = {"crs": "EPSG:32737", "transform": from_origin(500000, 9300000, resolution_m, resolution_m)}
    with rasterio.open(path, "w", driver="GTiff", tiled=True, **shape, **place) as target:
        target.write(values)
    return path


def time_run(command: list[str], folder: Path, threads: int) -> float:
    folder.mkdir()
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    begun = time.perf_counter()
    subprocess.run(
        command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("raster", type=Path)
    parser.add_argument("--model", default="landcover-rgb")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size-px", type=int, default=4096)
    parser.add_argument("--raster-vision")
    parser.add_argument("--geoai")
    options = parser.parse_args()
    package = load_package(options.model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene = crop(
            options.raster, folder / "scene.tif", size_px=options.size_px, resolution_m=package.ground_resolution_m
        )
        network = FromUnit(load_network(package), package.mean, package.std).eval()
        with torch.inference_mode():
            torch.jit.trace(network, torch.zeros(1, 3, 512, 512)).save(folder / "network.pt")
        common = [str(scene), str(folder / "network.pt"), ".", str(options.threads)]
        common += [c.name for c in package.legend.classes]
        own = [sys.executable, "-m", "geoseg", "segment", str(scene), "-o", "layer.gpkg", "--exact", "--no-roads"]
        own += ["--quiet", "--model", options.model, "--workers", str(options.threads), "--device", "cpu"]
        commands = {"geoseg": own}
        if options.raster_vision:
            commands["Raster Vision"] = [options.raster_vision, str(HERE / "raster_vision_layer.py"), *common]
        if options.geoai:
            commands["geoai"] = [options.geoai, str(HERE / "geoai_layer.py"), *common]
        seconds: dict[str, list[float]] = {who: [] for who in commands}
        for i in range(options.rounds):
            for who, command in commands.items():
                seconds[who].append(time_run(command, folder / f"{who} {i}", options.threads))
    print(f"{options.model}, {options.size_px} px, {options.threads} threads, load {os.getloadavg()[0]:.1f}\n")
    print("| program | seconds | times geoseg's |\n| --- | --- | --- |")
    for who, taken in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(taken, seconds["geoseg"], strict=True))
        print(f"| {who} | {statistics.median(taken):.1f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
