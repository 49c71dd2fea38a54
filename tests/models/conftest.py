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
from PIL import Image
from safetensors.torch import save_file

from geoseg.legend import LAND_COVER
from geoseg.models.networks import NetworkSpec, build_network
from geoseg.models.package import ModelPackage, load_package
from geoseg.models.packaging import make_package

SPEC = NetworkSpec("Unet", "mobilenet_v2", 3, 4, (16, 8, 8), 3)
PATCH_PX = 128


# The matrices are small: more threads only wait for each other.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What training leaves behind, untrained but with statistics of batch normalisation that matter."""
    return write_checkpoint(tmp_path_factory.mktemp("best"), SPEC)


def write_checkpoint(folder: Path, spec: NetworkSpec) -> Path:
    torch.manual_seed(3)
    network = build_network(spec).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(4, 3, 64, 64) + 0.3)
        inner = network.network if spec.refiner_width else network
        inner.segmentation_head[0].weight.mul_(8)
        if spec.refiner_width:
            network.refiner.head.weight.normal_(0, 0.5)
    save_file(network.state_dict(), folder / "weights.safetensors")
    described = {
        "network": dataclasses.asdict(spec),
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
def refined(scenery: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """A finished package whose network a refiner follows, with a picture; not to be changed."""
    folder = tmp_path_factory.mktemp("refined")
    picture = folder / "failure-1.png"
    Image.new("RGB", (8, 8)).save(picture)
    return make_package(
        write_checkpoint(folder, dataclasses.replace(SPEC, refiner_width=4)),
        folder / "library" / "refined-1",
        name="refined-1",
        version="1",
        images=[scenery],
        summary="A model for tests.",
        licences={"scenes": "CC0-1.0"},
        patch_px=PATCH_PX,
        pictures={picture: "A shadow taken for a road."},
    )


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of unpacked packages, a test's own."""
    monkeypatch.setenv("GEOSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


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
