"""From a training's checkpoint to a finished model package."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from geoseg.errors import ModelError
from geoseg.legend import ClassLegend, LegendClass
from geoseg.models.engine import PatchGeometry
from geoseg.models.export import export_network
from geoseg.models.finishing import draft_folder, finish_package
from geoseg.models.halo import SEAM_LIMIT, check_sizes
from geoseg.models.networks import NetworkSpec, build_network, load_weights
from geoseg.models.onnx_engine import OnnxEngine
from geoseg.models.package import ModelPackage, write_package
from geoseg.models.refiner import RefinedNetwork
from geoseg.models.torch_engine import Segmenter, TorchEngine, read_spec

RGB = ("red", "green", "blue")
MAX_DIFFERENCE, MIN_SAME_CLASS = 1e-4, 0.9999


@dataclass(frozen=True)
class Agreement:
    """How well the package's graph reproduces the network.

    Args:
        max_difference: largest difference of a probability between ONNX Runtime and torch, of the stored weights.
        same_class: share of pixels, 0 to 1, that both give one class.
        same_class_unrounded: the same against the weights before they were rounded to float16.
    """

    max_difference: float
    same_class: float
    same_class_unrounded: float


def make_package(
    checkpoint: Path,
    output: Path,
    *,
    name: str,
    version: str,
    images: Sequence[NDArray[np.uint8]],
    summary: str,
    licences: Mapping[str, str],
    limits: str = "",
    bands: tuple[str, ...] = RGB,
    patch_px: int = 768,
    pictures: Mapping[Path, str] | None = None,
    seam_limit: float = SEAM_LIMIT,
) -> ModelPackage:
    """Export a checkpoint, check the export, measure halo and memory, and write the package.

    Args:
        checkpoint: folder with `weights.safetensors` and `checkpoint.json`, as training leaves it in `best/`.
        output: the package's folder; one of that name is replaced when all has succeeded.
        name: of the package.
        version: of the package.
        images: uint8 (B, H, W), 0 to 255, at the checkpoint's ground resolution, not trained on, H and W at least
            `patch_px`; the halo is measured on them.
        summary: what the model is for, one paragraph of the model card.
        licences: of the training data and of the starting weights, by source.
        limits: where the model is known to fail, one paragraph of the model card.
        bands: names of the bands.
        patch_px: side of the patches, in model pixels.
        pictures: PNG files for the card, such as failures, and what they show.
        seam_limit: share of pixels, 0 to 1, that may differ from whole-image inference.

    Raises:
        ModelError: the checkpoint is damaged, or the exported graph does not do what the network does.
        OptionError: an image is smaller than a patch.
        OutputError: the folder cannot be written.
    """
    check_sizes(images, patch_px)
    described = _read_checkpoint(checkpoint)
    spec: NetworkSpec = described["network"]
    network = build_network(spec)
    load_weights(network, checkpoint / "weights.safetensors")
    with draft_folder(output) as draft:
        package = ModelPackage(
            path=draft,
            name=name,
            version=version,
            network=asdict(spec),
            bands=bands,
            mean=described["mean"],
            std=described["std"],
            legend=described["legend"],
            ground_resolution_m=described["ground_resolution_m"],
            patch_px=patch_px,
            halo_px=0,
            seam_error=1.0,
            workspace_bytes_per_px=1.0,
            metrics=described["metrics"],
            provenance=described["provenance"] | {"licences": dict(licences)},
        )
        export_network(network.eval(), draft, mean=package.mean, std=package.std)
        package = write_package(package, card=f"# {name}\n")
        image = images[0][:, :patch_px, :patch_px]
        exported = {"export": asdict(check_agreement(package, network, image))}
        if isinstance(network, RefinedNetwork):
            exported["export without refiner"] = asdict(
                check_agreement(replace(package, refine=False), network.network, image)
            )
        package = finish_package(
            replace(package, metrics={**package.metrics, **exported}),
            images,
            summary=summary,
            limits=limits,
            pictures=pictures,
            seam_limit=seam_limit,
        )
    return replace(package, path=output)


def check_agreement(package: ModelPackage, network: nn.Module, image: NDArray[np.uint8]) -> Agreement:
    """Compare the package's graph with torch on one image.

    Args:
        package: the package.
        network: the network with the weights before rounding, in evaluation mode.
        image: uint8 (B, H, W), 0 to 255; H and W multiples of 32.

    Raises:
        ModelError: they differ by more than rounding.
    """
    batch = np.ascontiguousarray(image[None])
    geometry = PatchGeometry(package.patch_px, 0, package.patch_px, package.patch_px)
    found = OnnxEngine(package, geometry).predict_probabilities(batch)
    stored = TorchEngine(package, geometry).predict_probabilities(batch)
    unrounded = Segmenter(network, package.mean, package.std).predict(batch)
    agreement = Agreement(
        float(np.abs(found - stored).max()),
        float((found.argmax(1) == stored.argmax(1)).mean()),
        float((found.argmax(1) == unrounded.argmax(1)).mean()),
    )
    # A difference that is not a number compares as neither larger nor smaller.
    if not (agreement.max_difference <= MAX_DIFFERENCE and agreement.same_class >= MIN_SAME_CLASS):
        raise ModelError(
            f"{package.name}: {agreement}",
            expected=f"probabilities within {MAX_DIFFERENCE} and one class on {MIN_SAME_CLASS:.2%} of the pixels",
        )
    return agreement


def _read_checkpoint(folder: Path) -> dict[str, Any]:
    path = folder / "checkpoint.json"
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        classes = tuple(LegendClass(**{**c, "color": tuple(c["color"])}) for c in table["legend"]["classes"])
        return {
            "network": read_spec(table["network"]),
            "mean": tuple(map(float, table["normalisation"]["mean"])),
            "std": tuple(map(float, table["normalisation"]["std"])),
            "legend": ClassLegend(classes, table["legend"]["nodata"]),
            "ground_resolution_m": float(table["ground_resolution_m"]),
            "metrics": table["metrics"],
            "provenance": {
                "data": table["sources"],
                "attribution": table["attribution"],
                "command": table["command"],
                "seed": table["seed"],
            },
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path}: {type(error).__name__}: {error}",
            expected="what training writes, attributions, command and seed included",
            remedy="name the folder `best` of a training run",
        ) from error
