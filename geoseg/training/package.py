"""From the best weights of a job to a model package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import OptionError
from geoseg.grid import Window
from geoseg.models.package import ModelPackage
from geoseg.models.packaging import make_package
from geoseg.raster.resample import resample_patch
from geoseg.raster.source import open_raster
from geoseg.tiles.patches import LATTICE_PX, fit_patches
from geoseg.training.job import Packaging, TrainingJob

PATCHES_ACROSS = 1.5
"""Side of an image for the halo in patches: seams in its middle, and small enough to predict whole."""


def package_weights(job: TrainingJob, packaging: Packaging, checkpoint: Path, output: Path) -> ModelPackage:
    """Package the weights in `checkpoint`, with the halo measured on the job's own images.

    Raises:
        OptionError: no image for the halo is found.
        InputError: one of them is no georeferenced raster.
        ModelError: the exported network differs from the trained one.
        OutputError: the package cannot be written.
    """
    images = list(_read_halo_images(job, packaging))
    if not images:
        raise OptionError(
            f"package.halo_images = {list(packaging.halo_images)} matches no file",
            expected="georeferenced rasters below the root",
        )
    return make_package(
        checkpoint,
        output,
        name=packaging.name,
        version=packaging.version,
        images=images,
        summary=packaging.summary,
        licences=packaging.licences,
        limits=packaging.limits,
        patch_px=packaging.patch_px,
    )


def _read_halo_images(job: TrainingJob, packaging: Packaging) -> Iterator[NDArray[np.uint8]]:
    side_px = round(PATCHES_ACROSS * packaging.patch_px / LATTICE_PX) * LATTICE_PX
    for pattern in packaging.halo_images:
        for path in sorted(Path(job.root).glob(pattern)):
            source = open_raster(path, bands=len(job.normalisation.mean))
            lattice = fit_patches(source.grid, job.ground_resolution_m, patch_px=side_px, halo_px=0)
            image, _ = source.read(Window(0, 0, *lattice.core_px))
            yield resample_patch(image, side_px)
