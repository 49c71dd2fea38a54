"""File to layer beside the bare forward pass of the same patches, in turn, with equal threads; and what patches cost.

usage: python tests/benchmarks/inference.py RASTER [--model NAME] [--device cpu|cuda] [--threads N] [--rounds N]
           [--ground-resolution M] [--sizes | --sparse]

By default: end to end against the bare forward pass, as a ratio of wall-clock and of processor time. `--sizes`: kept
pixels a second and memory for several patch sizes. `--sparse`: a raster of which 90 % is nodata against a full one.
With `--ground-resolution` the raster's pixels are taken as of that size, through a VRT.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin
from rasterio.windows import Window as DatasetWindow

import geoseg
from geoseg.grid import Window
from geoseg.models.engine import PatchGeometry
from geoseg.models.graph import read_graph
from geoseg.models.onnx_engine import OnnxEngine
from geoseg.models.package import load_package
from geoseg.raster.source import open_raster
from geoseg.run import graph

SIZES_PX = (1024, 1536, 2048, 2880)
SPARSE_PX, FILLED = 16384, 0.1


def main() -> None:
    options = parse_options()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    print(f"Python {platform.python_version()}, ONNX Runtime {onnxruntime.__version__}, geoseg {geoseg.__version__}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raster = place(Path(options.raster), folder, options.ground_resolution)
        if options.sizes:
            compare_sizes(raster, options)
        elif options.sparse:
            compare_sparse(raster, folder, options)
        else:
            compare_bare(raster, folder, options)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("raster")
    parser.add_argument("--model", default="landcover-rgb")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ground-resolution", type=float)
    parser.add_argument("--sizes", action="store_true")
    parser.add_argument("--sparse", action="store_true")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        time_size(options)
        sys.exit()
    return options


def place(raster: Path, folder: Path, resolution_m: float | None) -> Path:
    """The raster, or a VRT of it with other ground resolution, in a UTM zone."""
    if resolution_m is None:
        return raster
    with rasterio.open(raster) as source:
        cols, rows = source.width, source.height
    side = f'xOff="0" yOff="0" xSize="{cols}" ySize="{rows}"'
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename>{raster.resolve()}'
        f"</SourceFilename><SourceBand>{band}</SourceBand><SrcRect {side}/><DstRect {side}/></SimpleSource>"
        "</VRTRasterBand>"
        for band in (1, 2, 3)
    )
    vrt = folder / "placed.vrt"
    vrt.write_text(
        f'<VRTDataset rasterXSize="{cols}" rasterYSize="{rows}"><SRS>EPSG:32737</SRS><GeoTransform>500000, '
        f"{resolution_m}, 0, 9300000, 0, -{resolution_m}</GeoTransform>{bands}</VRTDataset>"
    )
    return vrt


def segment(raster: Path, folder: Path, options: argparse.Namespace) -> None:
    geoseg.segment(
        raster,
        folder / "layer.fgb",
        model=options.model,
        device=options.device,
        workers=options.threads,
        exact=True,
        overwrite=True,
        fresh=True,
    )


def measure(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and of processor time."""
    begun, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun, time.process_time() - used


def compare_bare(raster: Path, folder: Path, options: argparse.Namespace) -> None:
    forward, batches = record_batches(raster, folder, options)
    pixels = sum(batch.shape[0] * batch.shape[2] * batch.shape[3] for batch in batches) / 1e6

    def run_bare() -> None:
        with ThreadPoolExecutor(options.threads if options.device == "cpu" else 1) as pool:
            list(pool.map(forward, batches))

    rounds = []
    busy = GpuWatch() if options.device == "cuda" else None
    for _ in range(options.rounds):
        bare = measure(run_bare)
        with busy or threading.Lock():
            whole = measure(lambda: segment(raster, folder, options))
        rounds.append((*bare, *whole))
    ratios = [statistics.median(r[k] / r[k + 2] for r in rounds) for k in range(2)]
    bare_s, whole_s = (statistics.median(r[k] for r in rounds) for k in (0, 2))
    with rasterio.open(raster) as source:
        raster_mpx = source.width * source.height / 1e6
    print("| model | threads | raster Mpx | predicted Mpx | bare s | end to end s | ratio | ratio, processor time |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    print(
        f"| {options.model}, {options.device} | {options.threads} | {raster_mpx:.1f} | {pixels:.1f} | {bare_s:.2f} | "
        f"{whole_s:.2f} | {ratios[0]:.2f} | {ratios[1]:.2f} |"
    )
    if busy:
        print(f"\nGPU busy: {busy.share():.0%}")


def record_batches(
    raster: Path, folder: Path, options: argparse.Namespace
) -> tuple[Callable[[NDArray[np.uint8]], object], list[NDArray[np.uint8]]]:
    """What a run hands to the network, and the function that takes it without copies or classes; also the warm-up."""
    batches: list[NDArray[np.uint8]] = []
    if options.device == "cuda":
        import torch  # noqa: PLC0415

        from geoseg.models.torch_engine import TorchEngine  # noqa: PLC0415

        send = TorchEngine._predict_batch
        TorchEngine._predict_batch = lambda self, images, size: batches.append(images) or send(self, images, size)  # type: ignore
        segment(raster, folder, options)
        TorchEngine._predict_batch = send  # type: ignore[method-assign]
        engine = next(iter(graph._engines.values()))
        assert isinstance(engine, TorchEngine)

        @torch.inference_mode()
        def forward(images: NDArray[np.uint8]) -> None:
            engine._segmenter(torch.from_numpy(images).to("cuda"))
            torch.cuda.synchronize()

        return forward, batches
    predict_core = OnnxEngine._predict_core
    OnnxEngine._predict_core = lambda self, image, part: batches.append(image) or predict_core(self, image, part)  # type: ignore
    segment(raster, folder, options)
    OnnxEngine._predict_core = predict_core  # type: ignore[method-assign]
    sessions = {shape: open_bare(load_package(options.model).graph, shape) for shape in {b.shape for b in batches}}
    return lambda image: sessions[image.shape].run(None, {"images": image}), batches


def open_bare(graph: Path, shape: tuple[int, ...]) -> onnxruntime.InferenceSession:
    """The network as the package has it, for images of one shape, one thread a run."""
    bare = onnxruntime.SessionOptions()
    bare.intra_op_num_threads, bare.enable_mem_pattern = 1, False
    bare.add_session_config_entry("session.use_env_allocators", "1")
    for dim, size in zip(read_graph(graph).graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        if dim.dim_param:
            bare.add_free_dimension_override_by_name(dim.dim_param, size)
    return onnxruntime.InferenceSession(graph, bare, providers=["CPUExecutionProvider"])


class GpuWatch:
    """Asks the driver now and then how busy the GPU is, while it is entered."""

    def __init__(self) -> None:
        self.samples: list[float] = []

    def __enter__(self) -> None:
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()

    def _watch(self) -> None:
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._left.wait(0.2):
            self.samples.append(float(subprocess.check_output(query, text=True).split()[0]) / 100)

    def share(self) -> float:
        return statistics.mean(self.samples) if self.samples else float("nan")


def compare_sizes(raster: Path, options: argparse.Namespace) -> None:
    """Each size in a process of its own, in turn."""
    found: dict[int, list[list[float]]] = {side: [] for side in SIZES_PX}
    arguments = ["--model", options.model, "--threads", str(options.threads)]
    for _ in range(options.rounds):
        for side in SIZES_PX:
            command = [sys.executable, __file__, str(raster), *arguments, "--child", str(side)]
            found[side].append([float(v) for v in subprocess.check_output(command, text=True).split()])
    halo_px = load_package(options.model).halo_px
    print("| model | threads | patch px | overhead | kept Mpx/s | kept Mpx a processor second | peak MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for side, rows in found.items():
        wall, processor, peak = (statistics.median(column) for column in zip(*rows, strict=True))
        overhead = (side / (side - 2 * halo_px)) ** 2
        print(
            f"| {options.model} | {options.threads} | {side} | {overhead:.2f} | {wall / overhead:.2f} | "
            f"{processor / overhead:.2f} | {peak:.0f} |"
        )


def time_size(options: argparse.Namespace) -> None:
    """Predicted Mpx a second by the clock and by processor time, and peak MiB."""
    package, side = load_package(options.model), options.child
    core_px = side - 2 * package.halo_px
    engine = OnnxEngine(package, PatchGeometry(side, package.halo_px, core_px, core_px))
    image = open_raster(options.raster, bands=len(package.bands)).read(Window(0, 0, side, side))[0][None]
    with ThreadPoolExecutor(options.threads) as pool:
        list(pool.map(engine.predict, [image] * options.threads))
        count = options.threads * max(1, round(4e6 / side**2))
        wall, processor = measure(lambda: list(pool.map(engine.predict, [image] * count)))
    mpx = count * side**2 / 1e6
    print(mpx / wall, mpx / processor, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def compare_sparse(raster: Path, folder: Path, options: argparse.Namespace) -> None:
    """Seconds a raster pixel of the full raster against one of SPARSE_PX squared with a filled square in it."""
    with rasterio.open(raster) as source:
        values, pixel_m = np.maximum(source.read((1, 2, 3)), 1), source.transform.a
    side = round(SPARSE_PX * FILLED**0.5)
    tiled = np.tile(values, (1, -(-side // values.shape[1]), -(-side // values.shape[2])))[:, :side, :side]
    sparse, full = folder / "sparse.tif", folder / "full.tif"
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "nodata": 0, "crs": "EPSG:32737", "tiled": True}
    profile |= {"blockxsize": 512, "blockysize": 512, "compress": "deflate", "sparse_ok": True, "interleave": "pixel"}
    for path, size, at in ((sparse, SPARSE_PX, (3000, 2000)), (full, side, (0, 0))):
        transform = from_origin(500000, 9300000, pixel_m, pixel_m)
        with rasterio.open(path, "w", width=size, height=size, transform=transform, **profile) as target:
            target.write(tiled, window=DatasetWindow(at[1], at[0], side, side))
    rounds = []
    for _ in range(options.rounds):
        times = [measure(lambda path=path: segment(path, folder, options)) for path in (full, sparse)]  # type: ignore
        share = (SPARSE_PX / side) ** 2
        rounds.append([full_s / sparse_s * share for full_s, sparse_s in zip(*times, strict=True)])
    ratios = [statistics.median(column) for column in zip(*rounds, strict=True)]
    print("| model | filled | faster a raster pixel | by processor time |\n| --- | --- | --- | --- |")
    print(f"| {options.model} | {FILLED:.0%} | {ratios[0]:.1f} | {ratios[1]:.1f} |")


if __name__ == "__main__":
    main()
