"""How much the shipped models' patches differ from the whole image predicted at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.models.engine import PatchGeometry, open_engine
from geoseg.models.package import ModelPackage, load_package
from geoseg.probabilities.predict import predict_block
from geoseg.raster.source import RasterSource, open_raster
from geoseg.run.segment import DEFAULT_MODEL
from geoseg.tiles.patches import LATTICE_PX, MAX_PATCH_PX, PatchLattice

SIDE_PX = 2048
BLOCK = Window(1024, 3072, SIDE_PX, SIDE_PX)
MARGIN_PX = 256
"""Around the block in the whole image: more than a halo, so that its border plays no part."""
LIMIT = 1e-4

Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def scene(data_dir: Path) -> RasterSource:
    """Its pixels are taken as the model's, so that there are seams in the block: 2048 px are 1.2 to 3.2 cores."""
    return open_raster(data_dir / "oam" / "zanzibar_z21_c0.tif")


def predict_patches(scene: RasterSource, package: ModelPackage, patch_px: int) -> NDArray[np.uint8]:
    lattice = PatchLattice(patch_px, package.halo_px, (LATTICE_PX, LATTICE_PX))
    engine = open_engine(package, PatchGeometry(patch_px, package.halo_px, *lattice.core_px), device="cpu")
    return predict_block(scene, engine, lattice, BLOCK, nodata=255)[0]


def read_whole(scene: RasterSource) -> NDArray[np.uint8]:
    # The whole image meets the strides of the network in the phase that the patches meet them.
    assert BLOCK.row % LATTICE_PX == BLOCK.col % LATTICE_PX == 0
    return scene.read(BLOCK.pad(MARGIN_PX, MARGIN_PX))[0][None]


@pytest.fixture(scope="module")
def whole(scene: RasterSource) -> NDArray[np.uint8]:
    geometry = PatchGeometry(SIDE_PX + 2 * MARGIN_PX, MARGIN_PX, SIDE_PX, SIDE_PX)
    return open_engine(load_package(DEFAULT_MODEL), geometry, device="cpu").predict(read_whole(scene))[0][0]


@pytest.mark.data
@pytest.mark.parametrize("patch_px", [1024, pytest.param(1536, marks=pytest.mark.slow), MAX_PATCH_PX])
def test_seam_error_on_a_real_crop(
    scene: RasterSource, whole: NDArray[np.uint8], patch_px: int, record_property: Record
) -> None:
    classes = predict_patches(scene, load_package(DEFAULT_MODEL), patch_px)
    error = float(np.mean(classes != whole))
    record_property("seam_error", error)
    assert len(np.unique(classes)) == 4
    assert error < LIMIT


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("model", [DEFAULT_MODEL, "landcover-rgb-fast"])
def test_plain_torch_on_the_whole_image_gives_the_same_classes(
    scene: RasterSource, model: str, record_property: Record
) -> None:
    import torch  # noqa: PLC0415 (seconds that the default run need not wait)

    from geoseg.models.torch_engine import load_network  # noqa: PLC0415

    package = load_package(model)
    network, inner = load_network(package), slice(MARGIN_PX, -MARGIN_PX)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (package.mean, package.std))
    with torch.inference_mode():
        logits = network((torch.from_numpy(read_whole(scene)).float() - mean) / std)
    whole = logits.argmax(dim=1)[0, inner, inner].numpy()
    for patch_px in (package.patch_px, MAX_PATCH_PX):
        error = float(np.mean(predict_patches(scene, package, patch_px) != whole))
        record_property(f"differing_{patch_px}", error)
        assert error < LIMIT
