"""How much memory inference takes, measured in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]

from geoseg.errors import ModelError
from geoseg.models.engine import PatchGeometry, takes_any_size
from geoseg.models.manifest import MAX_PATCH_PX, STRIDE_PX
from geoseg.models.onnx_engine import OnnxEngine
from geoseg.models.package import load_package
from geoseg.models.resample import classify_core

SAMPLING_S = 0.001


def measure_workspace(folder: Path, patch_px: int, halo_px: int) -> float:
    """Bytes per patch pixel that inference on the processor adds to a process at its peak.

    The most of two sizes, where the model takes two: how well ONNX Runtime packs its arrays depends on the size.
    At least the image and its probabilities: the growth for small patches hides in memory that the process has already.

    Args:
        folder: a model package.
        patch_px: side of the patch, in pixels.
        halo_px: what is dropped on each side, in pixels: the last layers do without most of it.

    Raises:
        ModelError: the package cannot be run.
    """
    package = load_package(folder)
    larger_px = min(MAX_PATCH_PX, patch_px * 3 // 2 // STRIDE_PX * STRIDE_PX)
    sides = {patch_px, max(patch_px, larger_px)} if takes_any_size(package) else {patch_px}
    growth = max(_measure_growth(folder, side, halo_px) / side**2 for side in sides)
    return max(growth, float(len(package.bands) + 4 * len(package.legend)))


def _measure_growth(folder: Path, patch_px: int, halo_px: int) -> int:
    code = f"from geoseg.models.workspace import report_growth; report_growth({str(folder)!r}, {patch_px}, {halo_px})"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if child.returncode != 0:
        raise ModelError(f"{folder}: inference failed: {child.stderr[-300:]}", expected="a package that can be run")
    return int(child.stdout)


def report_growth(folder: str, patch_px: int, halo_px: int) -> None:
    """Write to standard output by how many bytes this process grows at most while it predicts one patch twice."""
    # What compiled code and libraries take once is the process's, not the patch's.
    taps = PatchGeometry(32, 0, 32, 32).row_taps
    classify_core(np.zeros((1, 32, 32), np.float32), taps, taps)
    core_px = patch_px - 2 * halo_px
    engine = OnnxEngine(load_package(Path(folder)), PatchGeometry(patch_px, halo_px, core_px, core_px))
    if engine.takes_any_size:
        engine.predict_probabilities(np.zeros((1, engine.bands, 32, 32), np.uint8))
    images = np.zeros((2, engine.bands, patch_px, patch_px), np.uint8)
    process = psutil.Process()
    before = peak = process.memory_info().rss
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(engine.predict, images)
        while not running.done():
            time.sleep(SAMPLING_S)
            peak = max(peak, process.memory_info().rss)
        running.result()
    sys.stdout.write(str(peak - before))
