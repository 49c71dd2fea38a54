"""The command line as a process, and what its files must be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

GEOSEG = [sys.executable, "-m", "geoseg"]


def run_geoseg(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*GEOSEG, *map(str, arguments)], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == code, done.stderr
    return done


def segment_to(folder: Path, scene: Path, *options: object, layer: str = "layer.fgb") -> None:
    run_geoseg(*segment_arguments(folder, scene, layer=layer), *options)


def segment_arguments(folder: Path, scene: Path, *, layer: str = "layer.fgb") -> list[object]:
    rasters = ["--classes-raster", folder / "classes.tif", "--confidence-raster", folder / "confidence.tif"]
    return ["segment", scene, "-o", folder / layer, *rasters, "--tile-px", 1, "--patch-px", 1024, "--roads", "--quiet"]


def assert_same_bytes(folder: Path, reference: Path) -> None:
    for name in ("layer.fgb", "layer_roads.fgb", "classes.tif", "confidence.tif"):
        assert (folder / name).read_bytes() == (reference / name).read_bytes(), name
