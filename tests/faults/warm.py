"""Imported by the process that `prepared` forks: all kernels loaded, a model that costs next to nothing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from geoseg.region.batch import batch
from geoseg.run.polygonize import polygonize
from geoseg.run.segment import segment
from tests.invariance.light_engine import install
from tests.region.running import MODEL, write_scene


def _warm_up() -> None:
    install()
    # Nobody cuts the power, and waiting for the disk is most of the time.
    os.fsync = lambda file: None
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        scene = write_scene(folder / "scenes/scene.tif", 1, side_px=120)
        segment(scene, folder / "map.gpkg", classes_raster=folder / "classes.tif", workers=1, tile_px=1, patch_px=416)
        polygonize(folder / "classes.tif", folder / "classes.fgb", workers=1)
        batch([folder / "scenes"], folder / "out", model=MODEL, format=".fgb", roads=True, workers=1)


_warm_up()
