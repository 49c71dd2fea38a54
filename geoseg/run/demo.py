"""A scene to try geoseg on where no imagery is at hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from geoseg.errors import OptionError
from geoseg.evaluation.evaluate import evaluate
from geoseg.evaluation.result import EvaluationResult
from geoseg.files import replace_file
from geoseg.grid import GeoGrid
from geoseg.layers.overlay import render_overlay
from geoseg.legend import LAND_COVER
from geoseg.progress import Progress, Silence
from geoseg.raster.cog import write_class_raster
from geoseg.run.execute import SegmentResult
from geoseg.run.scene.canvas import GROUND_M
from geoseg.run.scene.painting import paint_scene
from geoseg.run.segment import segment

CRS = rasterio.CRS.from_epsg(32737)
UPPER_LEFT = 530_000.0, 9_330_000.0


@dataclass(frozen=True, slots=True)
class DemoScene:
    """A made-up image and what it shows.

    Attributes:
        image: RGB GeoTIFF, uint8, UTM 37 South, 0.3 m.
        truth: class raster on the same grid, with the legend `LAND_COVER`.
    """

    image: Path
    truth: Path


def make_demo_scene(directory: Path, *, size_px: int = 2048, seed: int = 7) -> DemoScene:
    """Write a synthetic settlement: houses, streets, trees and fields from above, and the class of every pixel.

    The same size and seed give the same pixels. Existing files of these names are replaced.

    Args:
        directory: where `demo_scene.tif` and `demo_truth.tif` go.
        size_px: height and width in pixels of 0.3 m, at least 128.
        seed: of the random numbers.

    Raises:
        OptionError: the size is too small.
        OutputError: a file cannot be written.
    """
    if size_px < 128:
        raise OptionError(f"a demo scene of {size_px} pixels", expected="at least 128", remedy="give a larger size")
    image, classes = paint_scene(size_px, seed)
    transform = Affine(GROUND_M, 0, UPPER_LEFT[0], 0, -GROUND_M, UPPER_LEFT[1])
    grid = GeoGrid(CRS.to_wkt(), transform, size_px, size_px)
    scene = DemoScene(directory / "demo_scene.tif", directory / "demo_truth.tif")
    _write_image(scene.image, image, grid)
    write_class_raster(scene.truth, grid, [(grid.window, classes)], legend=LAND_COVER, overwrite=True)
    return scene


def _write_image(path: Path, image: NDArray[np.uint8], grid: GeoGrid) -> None:
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": grid.cols,
        "height": grid.rows,
        "count": len(image),
        "dtype": "uint8",
        "crs": grid.crs,
        "transform": grid.transform,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "jpeg",
        "photometric": "ycbcr",
        "jpeg_quality": 90,
        "interleave": "pixel",
    }
    with replace_file(path) as part, rasterio.open(part, "w", **profile) as raster:
        raster.write(image)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo made: the scene, the run on it, its picture, and how near it came to the truth."""

    scene: DemoScene
    segmented: SegmentResult
    picture: Path
    evaluation: EvaluationResult


def run_demo(directory: Path, *, size_px: int = 2048, progress: Progress | None = None) -> DemoResult:
    """Make a scene, segment it with the shipped model, draw it, and compare it with its truth.

    Args:
        directory: where the files go; those of an earlier demo are replaced.
        size_px: height and width of the scene in pixels of 0.3 m, at least 128.
        progress: told of stages and steps.

    Raises:
        GeosegError: a file cannot be written, or the size is too small.
    """
    progress = progress or Silence()
    progress.start("make the scene", None)
    scene = make_demo_scene(directory, size_px=size_px)
    segmented = segment(
        scene.image,
        directory / "demo.geojson",
        classes_raster=directory / "demo_classes.tif",
        overwrite=True,
        progress=progress,
    )
    progress.start("draw and compare", None)
    picture = render_overlay(scene.image, segmented.output, directory / "demo.png", legend=LAND_COVER)
    return DemoResult(scene, segmented, picture, evaluate(directory / "demo_classes.tif", scene.truth))
