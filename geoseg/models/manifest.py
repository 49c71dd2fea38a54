"""A model package's description, and `model.json` read without trusting it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from geoseg.errors import ModelError
from geoseg.legend import ClassLegend, GeometryKind, LegendClass
from geoseg.models.fields import (
    REMEDY,
    Fields,
    between,
    find_difference,
    is_color,
    is_number,
    is_table,
    is_text,
    matching,
    parse_json,
    whole_between,
)
from geoseg.models.mlm import MULTIHASH_SHA256, make_item

__all__ = ["REMEDY", "ModelPackage", "PackageFile", "format_manifest", "parse_manifest"]

FORMAT, OLD_FORMAT = "geoseg-model/2", "geoseg-model/1"
MANIFEST, WEIGHTS, GRAPH, BASE_GRAPH, CARD = (
    "model.json",
    "weights.safetensors",
    "model.onnx",
    "base.onnx",
    "README.md",
)
FILE_LIMITS = {WEIGHTS: 4 * 2**30, GRAPH: 16 * 2**20, BASE_GRAPH: 16 * 2**20, CARD: 2**20}
PICTURE = r"[a-z0-9][a-z0-9_-]{0,59}\.png"
MAX_PICTURE_BYTES, MAX_PICTURES = 2**20, 32
MAX_MANIFEST_BYTES = 2**20
STRIDE_PX = 32
MAX_PATCH_PX = 2048
PREFIX = "geoseg:"
OWN_PREFIXES = (PREFIX, "mlm:", "file:")


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A file of a package: name, SHA-256 in hex and size in bytes."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class ModelPackage:
    """A trained model on disk; describing it needs neither weights in memory nor a deep learning library.

    Args:
        path: the package's directory; not part of the description.
        name: 3 to 64 lower-case letters, digits, dots, dashes, underscores, a letter first.
        version: free text, such as "1.0".
        network: arguments of `NetworkSpec`; empty where only the graph is known.
        bands: names in the order of the network's input.
        mean: per band, on the scale 0 to 255.
        std: per band, on the scale 0 to 255, above 0.
        legend: class i of the network's output is `legend.classes[i]`.
        ground_resolution_m: size of a model pixel on the ground, in metres.
        patch_px: the patch's side that the halo was measured at, in model pixels, a multiple of 32.
        halo_px: measured halo in model pixels, a multiple of 32, below half of the patch.
        seam_error: measured share, 0 to 1, of pixels whose class differs from whole-image inference at that halo.
        workspace_bytes_per_px: measured growth of memory during inference on the processor, per patch pixel.
        metrics: what evaluation gave.
        provenance: data, licences, command, seed.
        files: everything else in the package.
        refine: whether its refiner, where it has one, is used; not part of the description.
    """

    path: Path
    name: str
    version: str
    network: Mapping[str, object]
    bands: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    legend: ClassLegend
    ground_resolution_m: float
    patch_px: int
    halo_px: int
    seam_error: float
    workspace_bytes_per_px: float
    metrics: Mapping[str, object]
    provenance: Mapping[str, object]
    files: tuple[PackageFile, ...] = ()
    refine: bool = True

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hex of the description, which holds the checksums of the files, and of the graph's choice."""
        text = format_manifest(self) if self.graph.name == GRAPH else f"{format_manifest(self)}{self.graph.name}"
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def weights(self) -> Path:
        """Path of the weights."""
        return self.path / WEIGHTS

    @property
    def graph(self) -> Path:
        """Path of the ONNX graph to run, whose weights lie in `weights`."""
        return self.path / (BASE_GRAPH if self.has_refiner and not self.refine else GRAPH)

    @property
    def has_refiner(self) -> bool:
        """Whether it holds two graphs, with and without a refiner."""
        return bool(self.network.get("refiner_width"))


def format_manifest(package: ModelPackage) -> str:
    """The text of `model.json`; equal packages give equal texts."""
    own = {
        "format": FORMAT,
        "version": package.version,
        "network": dict(package.network),
        "bands": list(package.bands),
        "normalisation": {"mean": list(package.mean), "std": list(package.std)},
        "ground_resolution_m": package.ground_resolution_m,
        "legend": {
            "nodata": package.legend.nodata,
            "classes": [
                {"id": c.id, "name": c.name, "color": list(c.color), "kind": c.kind} for c in package.legend.classes
            ],
        },
        "patch_px": package.patch_px,
        "halo_px": package.halo_px,
        "seam_error": package.seam_error,
        "workspace_bytes_per_px": package.workspace_bytes_per_px,
        "metrics": dict(package.metrics),
        "provenance": dict(package.provenance),
    }
    item = make_item(package)
    properties = {**item["properties"], **{PREFIX + k: v for k, v in own.items()}}  # type: ignore[dict-item]
    return json.dumps({**item, "properties": properties}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def parse_manifest(text: bytes, path: Path) -> ModelPackage:
    """The description in `model.json`; every field must be there, be of its kind and fit the others.

    geoseg's own fields are read; all others must be what follows from them. A catalogue may have added what belongs to
    neither geoseg nor the extensions for models and files.

    Args:
        text: the file's content.
        path: the package's directory.

    Raises:
        ModelError: it is no strict JSON, of an older form, or a field is missing, unknown or wrong.
    """
    where = str(path / MANIFEST)
    item = parse_json(text, where)
    if item.get("format") == OLD_FORMAT:
        raise ModelError(
            f"{where}: a description in {OLD_FORMAT}",
            expected=f"a STAC item that holds {FORMAT}",
            remedy="package the checkpoint anew with this geoseg, or fetch the package's current version",
        )
    top = Fields(item, where)
    name = top.take("id", is_package_name, "3 to 64 lower-case letters, digits and ._-, a letter first")
    properties = top.take("properties", is_table, "a table")
    own = {k.removeprefix(PREFIX): v for k, v in properties.items() if k.startswith(PREFIX)}
    fields = Fields(own, f"{where}: {PREFIX}")
    fields.take("format", lambda v: v == FORMAT, repr(FORMAT))
    network = fields.take("network", is_table, "a table")
    bands = _take_texts(fields, "bands")
    scale = fields.inner("normalisation", fields.take("normalisation", is_table, "a table"))
    side = f"a multiple of {STRIDE_PX}, at most {MAX_PATCH_PX}"
    package = ModelPackage(
        path=path,
        name=name,
        version=fields.take("version", is_text, "text"),
        network=network,
        bands=bands,
        mean=_take_numbers(scale, "mean", len(bands)),
        std=_take_numbers(scale, "std", len(bands), above=0),
        legend=_take_legend(fields),
        ground_resolution_m=float(fields.take("ground_resolution_m", between(1e-6, 1e5), "metres above 0")),
        patch_px=fields.take("patch_px", lambda v: _is_aligned(v) and v != 0, f"{side}, above 0"),
        halo_px=fields.take("halo_px", _is_aligned, side),
        seam_error=float(fields.take("seam_error", between(0, 1), "a share, 0 to 1")),
        workspace_bytes_per_px=float(fields.take("workspace_bytes_per_px", between(1, 1e9), "bytes above 0")),
        metrics=fields.take("metrics", is_table, "a table"),
        provenance=fields.take("provenance", is_table, "a table"),
        files=_take_files(top, name_files(network)),
    )
    scale.refuse_rest("mean and std")
    fields.refuse_rest(f"the fields of {FORMAT}")
    if 2 * package.halo_px >= package.patch_px:
        raise fields.fault("halo_px", package.halo_px, f"below half of patch_px, {package.patch_px}")
    try:
        wanted = json.loads(format_manifest(package).encode())
        difference = find_difference({**wanted, "links": item.get("links")}, item, OWN_PREFIXES)
    except RecursionError as error:
        raise ModelError(f"{where}: too many tables in each other", expected="a description", remedy=REMEDY) from error
    except ValueError as error:
        # 1e999 is read as infinite, and half a surrogate pair as text.
        raise ModelError(f"{where}: {error}"[:300], expected="finite numbers and Unicode", remedy=REMEDY) from error
    if difference:
        raise ModelError(f"{where}: {difference} does not fit", expected=f"what follows from {PREFIX}*", remedy=REMEDY)
    if not isinstance(item.get("links"), list):
        raise ModelError(f"{where}: no list of links", expected="a STAC item", remedy=REMEDY)
    return package


def is_package_name(value: object) -> bool:
    """Whether it may name a package."""
    return matching(r"[a-z][a-z0-9._-]{1,62}[a-z0-9]")(value)


def name_files(network: Mapping[str, object]) -> tuple[str, ...]:
    """The files, beside `model.json` and pictures, of a package with that network."""
    return tuple(n for n in FILE_LIMITS if n != BASE_GRAPH or network.get("refiner_width"))


def limit_file(name: str) -> int:
    """How many bytes a package's file of that name may have; 0 where a package has no such file."""
    if name == MANIFEST:
        return MAX_MANIFEST_BYTES
    return FILE_LIMITS.get(name, MAX_PICTURE_BYTES if re.fullmatch(PICTURE, name) else 0)


def _take_texts(fields: Fields, key: str) -> tuple[str, ...]:
    values = fields.take(
        key, lambda v: isinstance(v, list) and 1 <= len(v) <= 64 and all(map(is_text, v)), "1 to 64 texts"
    )
    return tuple(values)


def _take_numbers(fields: Fields, key: str, count: int, *, above: float = -math.inf) -> tuple[float, ...]:
    def check(value: object) -> bool:
        return isinstance(value, list) and len(value) == count and all(is_number(v) and v > above for v in value)

    return tuple(float(v) for v in fields.take(key, check, f"{count} numbers, one per band, above {above}"))


def _take_legend(fields: Fields) -> ClassLegend:
    table = fields.inner("legend", fields.take("legend", is_table, "a table"))
    rows = table.take("classes", lambda v: isinstance(v, list) and 2 <= len(v) <= 254, "2 to 254 classes")
    classes = []
    for index, row in enumerate(rows):
        one = table.inner(f"class {index}", row)
        classes.append(
            LegendClass(
                id=one.take("id", whole_between(index, index), f"{index}, the network's output"),
                name=one.take("name", is_text, "text"),
                color=tuple(one.take("color", is_color, "red, green, blue, each 0 to 255")),
                kind=one.take("kind", lambda v: v in get_args(GeometryKind), ", ".join(get_args(GeometryKind))),
            )
        )
        one.refuse_rest("id, name, color and kind")
    nodata = table.take("nodata", whole_between(len(classes), 255), f"{len(classes)} to 255")
    table.refuse_rest("classes and nodata")
    return ClassLegend(tuple(classes), nodata)


def _take_files(fields: Fields, needed: tuple[str, ...]) -> tuple[PackageFile, ...]:
    def check(value: object) -> bool:
        if not isinstance(value, dict):
            return False
        pictures = value.keys() - set(needed)
        return set(needed) <= value.keys() and len(pictures) <= MAX_PICTURES and all(map(_is_picture, pictures))

    table = fields.take("assets", check, f"{', '.join(needed)}, and at most {MAX_PICTURES} pictures")
    files = []
    for name in (*needed, *sorted(table.keys() - set(needed))):
        one = fields.inner(name, table[name])
        digest = one.take("file:checksum", matching(f"{MULTIHASH_SHA256}[0-9a-f]{{64}}"), "a SHA-256 multihash in hex")
        size = one.take("file:size", whole_between(1, limit_file(name)), f"1 to {limit_file(name)} bytes")
        files.append(PackageFile(name, digest.removeprefix(MULTIHASH_SHA256), size))
    return tuple(files)


def _is_picture(name: str) -> bool:
    return re.fullmatch(PICTURE, name) is not None


def _is_aligned(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_PATCH_PX and value % STRIDE_PX == 0
