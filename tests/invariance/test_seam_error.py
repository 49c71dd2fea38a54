"""How much the shipped model's patches differ from the whole image predicted at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from geoseg.grid import Window
from geoseg.models.engine import PatchGeometry, open_engine
from geoseg.models.package import load_package
from geoseg.probabilities.predict import predict_block
from geoseg.raster.resample import resample_patch
from geoseg.raster.source import open_raster
from geoseg.run.segment import DEFAULT_MODEL
from geoseg.tiles.patches import LATTICE_PX, PatchLattice

SIDE_PX = 2048
LIMIT = 1e-4


@pytest.mark.data
def test_seam_error_on_a_real_crop(data_dir: Path, record_property: Callable[[str, object], None]) -> None:
    """The crop's pixels are taken as the model's, so that there are seams in it: 2048 px are 3.2 patch cores."""
    package = load_package(DEFAULT_MODEL)
    source = open_raster(data_dir / "oam" / "zanzibar_z21_c0.tif")
    lattice = PatchLattice(package.patch_px, package.halo_px, (LATTICE_PX, LATTICE_PX))
    block = Window(1024, 3072, SIDE_PX, SIDE_PX)

    patches = open_engine(package, PatchGeometry(lattice.patch_px, lattice.halo_px, *lattice.core_px), device="cpu")
    classes, _ = predict_block(source, patches, lattice, block, nodata=255)

    halo_px = lattice.halo_px
    # The whole image meets the strides of the network in the phase that the patches meet them.
    assert block.row % LATTICE_PX == block.col % LATTICE_PX == 0
    side_px = SIDE_PX + 2 * halo_px
    whole = open_engine(package, PatchGeometry(side_px, halo_px, SIDE_PX, SIDE_PX), device="cpu")
    image, _ = source.read(block.pad(halo_px, halo_px))
    expected, _ = whole.predict(resample_patch(image, side_px)[None])

    error = float(np.mean(classes != expected[0]))
    record_property("seam_error", error)
    assert len(np.unique(classes)) == 4
    assert error < LIMIT
