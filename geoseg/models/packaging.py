"""From a training's checkpoint to a finished model package."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from geoseg.errors import ModelError, OutputError
from geoseg.legend import ClassLegend, LegendClass
from geoseg.models.card import write_card
from geoseg.models.engine import PatchGeometry
from geoseg.models.export import export_network
from geoseg.models.halo import SEAM_LIMIT, HaloMeasurement, check_sizes, measure_halo
from geoseg.models.networks import NetworkSpec, build_network, load_weights
from geoseg.models.onnx_engine import OnnxEngine
from geoseg.models.package import ModelPackage, write_package
from geoseg.models.torch_engine import Segmenter, TorchEngine, read_spec
from geoseg.models.workspace import measure_workspace

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
    draft = output.with_name(f".{output.name}.new")
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
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        export_network(network.eval(), draft, mean=package.mean, std=package.std)
        package = write_package(package, card=f"# {name}\n")
        agreement = check_agreement(package, network, images[0][:, :patch_px, :patch_px])
        engine = OnnxEngine(package, PatchGeometry(patch_px, 0, patch_px, patch_px))
        halo = measure_halo(engine.predict_probabilities, images, patch_px=patch_px, limit=seam_limit)
        package = replace(
            package,
            halo_px=halo.halo_px,
            seam_error=halo.seam_error,
            workspace_bytes_per_px=measure_workspace(draft, patch_px),
            metrics={**package.metrics, "export": asdict(agreement), "halo": _tell_halo(halo)},
        )
        package = write_package(package, card=write_card(package, summary=summary, limits=limits))
        shutil.rmtree(output, ignore_errors=True)
        draft.replace(output)
    except OSError as error:
        raise OutputError(f"{output}: {error}", expected="a folder that can be written") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
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
    if agreement.max_difference > MAX_DIFFERENCE or agreement.same_class < MIN_SAME_CLASS:
        raise ModelError(
            f"{package.name}: {agreement}",
            expected=f"probabilities within {MAX_DIFFERENCE} and one class on {MIN_SAME_CLASS:.2%} of the pixels",
        )
    return agreement


def _tell_halo(halo: HaloMeasurement) -> dict[str, Any]:
    return {"patch_px": halo.patch_px, "seam_error_by_halo_px": {str(h): e for h, e in halo.errors.items()}}


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
