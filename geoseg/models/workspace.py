"""How much memory inference takes, measured in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]

from geoseg.errors import ModelError
from geoseg.models.engine import PatchGeometry
from geoseg.models.onnx_engine import OnnxEngine
from geoseg.models.package import load_package


def measure_workspace(folder: Path, patch_px: int) -> float:
    """Bytes per patch pixel that inference on the processor adds to a process.

    A fresh process predicts twice. ONNX Runtime keeps the memory of its largest run, so that what
    the process has grown by afterwards is the peak.

    Args:
        folder: a model package.
        patch_px: side of the patch, in pixels.

    Raises:
        ModelError: the package cannot be run.
    """
    code = f"from geoseg.models.workspace import report_growth; report_growth({str(folder)!r}, {patch_px})"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if child.returncode != 0:
        raise ModelError(f"{folder}: inference failed: {child.stderr[-300:]}", expected="a package that can be run")
    return int(child.stdout) / patch_px**2


def report_growth(folder: str, patch_px: int) -> None:
    """Write to standard output by how many bytes this process grows while it predicts one patch twice."""
    package = load_package(Path(folder))
    engine = OnnxEngine(package, PatchGeometry(patch_px, 0, patch_px, patch_px))
    small = np.zeros((1, engine.bands, 32, 32), np.uint8)
    engine.predict_probabilities(small)
    image = np.zeros((1, engine.bands, patch_px, patch_px), np.uint8)
    before = psutil.Process().memory_info().rss
    for _ in range(2):
        engine.predict(image)
    sys.stdout.write(str(psutil.Process().memory_info().rss - before))
