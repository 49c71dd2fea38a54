"""A model package as a STAC item with the Machine Learning Model extension."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geoseg.legend import ClassLegend
    from geoseg.models.manifest import ModelPackage, PackageFile

STAC_VERSION = "1.1.0"
EXTENSIONS = (
    "https://stac-extensions.github.io/mlm/v1.4.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
)
TASKS = ("semantic-segmentation",)
MULTIHASH_SHA256 = "1220"
"""Code of SHA-256 and its length of 32 bytes, in hex; the digest follows."""

ASSETS = {
    "weights.safetensors": ("Weights", "application/octet-stream; application=safetensors", "mlm:weights"),
    "model.onnx": ("Network, from pixel values to class probabilities", "application/octet-stream", "mlm:model"),
    "base.onnx": ("The same without its refiner", "application/octet-stream", "mlm:model"),
    "README.md": ("Model card", "text/markdown", "metadata"),
}


def make_item(package: ModelPackage) -> dict[str, object]:
    """The STAC item without geoseg's own fields; everything in it follows from them.

    A model is bound to no place and no time, which STAC writes as no geometry and the widest range of dates.

    Source: STAC 1.1, item specification; Machine Learning Model extension 1.4, item properties and assets objects;
    File Info extension 2.1, checksum; Classification extension 2.0, class object.
    """
    size = package.patch_px
    bands = [{"name": name, "data_type": "uint8"} for name in package.bands]
    properties: dict[str, object] = {
        "datetime": None,
        "start_datetime": "1900-01-01T00:00:00Z",
        "end_datetime": "9999-12-31T23:59:59Z",
        "gsd": package.ground_resolution_m,
        "bands": bands,
        "mlm:name": package.name,
        "mlm:architecture": str(package.network.get("architecture", "unknown")),
        "mlm:framework": "PyTorch" if package.network else "ONNX",
        "mlm:tasks": list(TASKS),
        "mlm:memory_size": round(package.workspace_bytes_per_px * size**2),
        "mlm:accelerator": None,
        "mlm:input": [
            {
                "name": "images",
                "description": "Pixel values, 0 to 255; the graph normalises them itself.",
                "bands": list(package.bands),
                "input": {
                    "shape": [-1, len(package.bands), size, size],
                    "dim_order": ["batch", "bands", "height", "width"],
                    "data_type": "uint8",
                },
                "value_scaling": None,
                "resize_type": None,
            }
        ],
        "mlm:output": [
            {
                "name": "probabilities",
                "tasks": list(TASKS),
                "result": {
                    "shape": [-1, len(package.legend), size, size],
                    "dim_order": ["batch", "class", "height", "width"],
                    "data_type": "float32",
                },
                "classification:classes": make_classes(package.legend),
            }
        ],
    }
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": list(EXTENSIONS),
        "id": package.name,
        "geometry": None,
        "properties": properties,
        "links": [],
        "assets": {f.name: _make_asset(f, bands) for f in package.files},
    }


def make_classes(legend: ClassLegend) -> list[dict[str, object]]:
    """The class objects of a legend.

    Source: Classification extension 2.0, class object.
    """
    return [
        {
            "value": one.id,
            "name": re.sub("[^0-9A-Za-z_-]+", "-", one.name),
            "title": one.name,
            "color_hint": bytes(one.color).hex().upper(),
        }
        for one in legend.classes
    ]


def _make_asset(file: PackageFile, bands: list[dict[str, str]]) -> dict[str, object]:
    title, kind, role = ASSETS.get(file.name, ("Picture", "image/png", "overview"))
    asset: dict[str, object] = {
        "href": f"./{file.name}",
        "title": title,
        "type": kind,
        "roles": [role],
        "file:checksum": MULTIHASH_SHA256 + file.sha256,
        "file:size": file.size_bytes,
    }
    # STAC has bands in the properties only beside an asset's own.
    return {**asset, "mlm:artifact_type": "onnx", "bands": bands} if role == "mlm:model" else asset
