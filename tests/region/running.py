"""Scenes to make regions of, region runs in processes of their own, and what their directories must hold."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from scipy import ndimage

SIDE_PX, STEP_PX = 150, 100
LIGHT = [sys.executable, "-m", "tests.region.light"]
ROOT = Path(__file__).resolve().parents[2]
MODEL = "landcover-rgb-fast"


def write_scene(path: Path, number: int, *, side_px: int = SIDE_PX, **tags: str) -> Path:
    """A scene of smooth blobs, 0.5 m, that overlaps the one before by a third."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(number).random((side_px, side_px)), 6)
    image = ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)
    transform = Affine(0.5, 0, 530_000 + number * STEP_PX / 2, 0, -0.5, 9_330_000)
    place = {"crs": "EPSG:32737", "transform": transform, "height": side_px, "width": side_px}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # GDAL opens what it replaces
    with rasterio.open(path, "w", driver="GTiff", count=3, dtype="uint8", **place) as raster:
        raster.write(np.stack([image] * 3))
        raster.update_tags(**tags)
    return path


def write_bad(path: Path, scene: Path) -> Path:
    """A scene that was cut off."""
    path.write_bytes(scene.read_bytes()[:500])
    return path


def batch_words(sources: Path, directory: Path, *options: object) -> list[str]:
    return [
        str(word)
        for word in ("batch", sources, "-o", directory, "--model", MODEL, "--format", ".fgb", "--roads", *options)
    ]


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def read_outputs(directory: Path) -> dict[str, bytes]:
    """What a region run gives away: all but the times of its reports and what is of use to itself only."""
    own = {"lock", "batch.json", "report.json", "report.html", "state.json"}
    files = [path for path in directory.rglob("*") if path.is_file() and ".geoseg" not in path.parts]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files if path.name not in own}
