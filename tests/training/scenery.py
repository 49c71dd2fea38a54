"""Small labelled rasters and jobs over them."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from geoseg.training.augment import Augmentation
from geoseg.training.job import Network, Normalisation, Schedule, TrainingJob
from geoseg.training.source import Source

CALM = Augmentation(*[0.0] * len(dataclasses.fields(Augmentation)))


def write_raster(
    path: Path, bands: NDArray[np.uint8], *, gsd: float | None = 0.4, shift: float = 0.0, **changes: Any
) -> Path:
    """A GeoTIFF (UTM) where `gsd` is given, otherwise an image without georeference."""
    options: dict[str, Any] = {"driver": "GTiff" if path.suffix == ".tif" else "PNG", "dtype": "uint8"} | changes
    if gsd is not None:
        transform = Affine(gsd, 0, 500_000 + shift, 0, -gsd, 9_330_000)
        options |= {"crs": "EPSG:32737", "transform": transform}
    count, rows, cols = bands.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", count=count, height=rows, width=cols, **options) as raster:
            raster.write(bands)
    return path


def write_scene(folder: Path, stem: str, *, seed: int = 0, size: int = 96, gsd: float = 0.4) -> NDArray[np.uint8]:
    """Squares of four classes, each of one colour: image `stem`.tif, labels `stem`_classes.tif; returns the labels."""
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 4, (size // 16, size // 16)), np.ones((16, 16))).astype(np.uint8)
    colors = np.array([[60, 60, 60], [200, 40, 40], [220, 220, 40], [40, 200, 40]], np.uint8)
    image = colors[labels].transpose(2, 0, 1)
    write_raster(folder / f"{stem}.tif", image, gsd=gsd)
    write_raster(folder / f"{stem}_classes.tif", labels[None], gsd=gsd)
    return labels


def cut_short(path: Path) -> None:
    """Leave a file that opens and cannot be read to its end."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def make_source(**changes: Any) -> Source:
    fields: dict[str, Any] = {
        "name": "scenes",
        "use": "train",
        "images": ("?.tif",),
        "kind": "classes",
        "labels": "{stem}_classes.tif",
    }
    return Source(**(fields | changes))


def make_job(root: Path, *sources: Source, **changes: Any) -> TrainingJob:
    fields: dict[str, Any] = {
        "network": Network(decoder_channels=(16, 16, 8, 8, 8)),
        "normalisation": Normalisation((127.5,) * 3, (127.5,) * 3),
        "schedule": Schedule(steps=4, batch=4),
        "source": sources or (make_source(),),
        "ground_resolution_m": 0.4,
        "crop_px": 32,
        "root": str(root),
        "augmentation": CALM,
    }
    return TrainingJob(**(fields | changes))
