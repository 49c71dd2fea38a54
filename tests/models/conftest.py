"""One small package, made the way shipped ones are, for all tests of models."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from geoseg.legend import LAND_COVER
from geoseg.models.networks import NetworkSpec, build_network
from geoseg.models.package import ModelPackage, load_package
from geoseg.models.packaging import make_package

SPEC = NetworkSpec("Unet", "mobilenet_v2", 3, 4, (16, 16, 16, 8, 8))
PATCH_PX = 128


# The matrices are small: more threads only wait for each other.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What training leaves behind, untrained but with statistics of batch normalisation that matter."""
    folder = tmp_path_factory.mktemp("best")
    torch.manual_seed(3)
    network = build_network(SPEC).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(4, 3, 64, 64) + 0.3)
        network.segmentation_head[0].weight.mul_(8)
    save_file(network.state_dict(), folder / "weights.safetensors")
    described = {
        "network": dataclasses.asdict(SPEC),
        "normalisation": {"mean": [120.0, 110.5, 100.0], "std": [50.0, 60.0, 70.0]},
        "legend": dataclasses.asdict(LAND_COVER),
        "ground_resolution_m": 0.4,
        "metrics": {"mean_iou": 0.5},
        "sources": {"train": {"scenes": ["a.tif"]}},
        "attribution": ["made by code"],
        "seed": 3,
        "command": "geoseg train job.toml",
    }
    (folder / "checkpoint.json").write_text(json.dumps(described))
    return folder


@pytest.fixture(scope="session")
def package(checkpoint: Path, scenery: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """A finished package; not to be changed."""
    return make_package(
        checkpoint,
        tmp_path_factory.mktemp("library") / "small-1",
        name="small-1",
        version="1",
        images=[scenery],
        summary="A model for tests.",
        licences={"scenes": "CC0-1.0"},
        patch_px=PATCH_PX,
    )


@pytest.fixture(scope="session")
def scenery() -> NDArray[np.uint8]:
    """A smooth random image, uint8 (3, 160, 192)."""
    coarse = torch.from_numpy(np.random.default_rng(5).uniform(0, 255, (1, 3, 20, 24)))
    fine = torch.nn.functional.interpolate(coarse, size=(160, 192), mode="bilinear")
    return fine[0].numpy().astype(np.uint8)


@pytest.fixture
def copy_package(package: ModelPackage, tmp_path: Path) -> Callable[[], ModelPackage]:
    """Factory of copies that a test may damage."""

    def copy() -> ModelPackage:
        return load_package(shutil.copytree(package.path, tmp_path / "copy"))

    return copy
