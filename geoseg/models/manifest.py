"""A model package's description, and `model.json` read without trusting it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from geoseg.errors import ModelError
from geoseg.legend import ClassLegend, GeometryKind, LegendClass

FORMAT = "geoseg-model/1"
MANIFEST = "model.json"
FILE_LIMITS = {"weights.safetensors": 4 * 2**30, "model.onnx": 16 * 2**20, "README.md": 2**20}
MAX_MANIFEST_BYTES = 2**20
STRIDE_PX = 32
REMEDY = "fetch the model package again, or package the model anew"


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
        name: lower-case letters, digits, dots, dashes, underscores.
        version: free text, such as "1.0".
        network: arguments of `NetworkSpec`.
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

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hex of the description, which holds the checksums of the files."""
        return hashlib.sha256(format_manifest(self).encode()).hexdigest()

    @property
    def weights(self) -> Path:
        """Path of the weights."""
        return self.path / "weights.safetensors"

    @property
    def graph(self) -> Path:
        """Path of the ONNX graph, whose weights lie in `weights`."""
        return self.path / "model.onnx"


def format_manifest(package: ModelPackage) -> str:
    """The text of `model.json`; equal packages give equal texts."""
    table = {
        "format": FORMAT,
        "name": package.name,
        "version": package.version,
        "network": dict(package.network),
        "bands": list(package.bands),
        "mean": list(package.mean),
        "std": list(package.std),
        "legend": {
            "nodata": package.legend.nodata,
            "classes": [
                {"id": c.id, "name": c.name, "color": list(c.color), "kind": c.kind} for c in package.legend.classes
            ],
        },
        "ground_resolution_m": package.ground_resolution_m,
        "patch_px": package.patch_px,
        "halo_px": package.halo_px,
        "seam_error": package.seam_error,
        "workspace_bytes_per_px": package.workspace_bytes_per_px,
        "metrics": dict(package.metrics),
        "provenance": dict(package.provenance),
        "files": {f.name: {"sha256": f.sha256, "size_bytes": f.size_bytes} for f in package.files},
    }
    return json.dumps(table, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def parse_manifest(text: bytes, path: Path) -> ModelPackage:
    """The description in `model.json`; every field must be there, be of its kind and fit the others.

    Args:
        text: the file's content.
        path: the package's directory.

    Raises:
        ModelError: it is no strict JSON, or a field is missing, unknown or wrong.
    """
    fields = _Fields(_parse_json(text, path), str(path / MANIFEST))
    fields.take("format", lambda v: v == FORMAT, repr(FORMAT))
    bands = _take_texts(fields, "bands")
    package = ModelPackage(
        path=path,
        name=fields.take("name", is_package_name, "lower-case letters, digits and ._- (at most 64)"),
        version=fields.take("version", _is_text, "text"),
        network=fields.take("network", _is_table, "a table"),
        bands=bands,
        mean=_take_numbers(fields, "mean", len(bands)),
        std=_take_numbers(fields, "std", len(bands), above=0),
        legend=_take_legend(fields),
        ground_resolution_m=float(fields.take("ground_resolution_m", _between(1e-6, 1e5), "metres above 0")),
        patch_px=fields.take("patch_px", lambda v: _is_aligned(v) and v != 0, f"a multiple of {STRIDE_PX} above 0"),
        halo_px=fields.take("halo_px", _is_aligned, f"0 or a multiple of {STRIDE_PX}"),
        seam_error=float(fields.take("seam_error", _between(0, 1), "a share, 0 to 1")),
        workspace_bytes_per_px=float(fields.take("workspace_bytes_per_px", _between(1, 1e9), "bytes above 0")),
        metrics=fields.take("metrics", _is_table, "a table"),
        provenance=fields.take("provenance", _is_table, "a table"),
        files=_take_files(fields),
    )
    fields.refuse_rest()
    if 2 * package.halo_px >= package.patch_px:
        raise fields.fault("halo_px", package.halo_px, f"below half of patch_px, {package.patch_px}")
    return package


def is_package_name(value: object) -> bool:
    """Whether it may name a package."""
    return isinstance(value, str) and re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", value) is not None


class _Fields:
    """A JSON table whose fields are taken out one by one, so that what is left over was unknown."""

    def __init__(self, table: dict[str, object], where: str) -> None:
        self._table, self._where = dict(table), where

    # Any: the check decides what the value is, which the type system cannot see.
    def take(self, key: str, check: Callable[[object], bool], expected: str):  # type: ignore[no-untyped-def]
        if key not in self._table:
            raise ModelError(f"{self._where}: no field {key!r}", expected=expected, remedy=REMEDY)
        value = self._table.pop(key)
        if not check(value):
            raise self.fault(key, value, expected)
        return value

    def inner(self, key: str, table: object) -> _Fields:
        if not isinstance(table, dict):
            raise self.fault(key, table, "a table")
        return _Fields(table, f"{self._where}: {key}")

    def fault(self, key: str, value: object, expected: str) -> ModelError:
        return ModelError(f"{self._where}: {key} is {_shorten(value)}", expected=expected, remedy=REMEDY)

    def refuse_rest(self) -> None:
        if self._table:
            raise ModelError(
                f"{self._where}: unknown field {min(self._table)[:60]!r}",
                expected=f"the fields of {FORMAT}",
                remedy=REMEDY,
            )


def _parse_json(text: bytes, path: Path) -> dict[str, object]:
    try:
        table = json.loads(text.decode(), object_pairs_hook=_pairs_to_table, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{path / MANIFEST}: no strict JSON ({error})"[:300], expected=f"a description in {FORMAT}", remedy=REMEDY
        ) from error
    if not isinstance(table, dict):
        raise ModelError(f"{path / MANIFEST}: {_shorten(table)}", expected="a table", remedy=REMEDY)
    return table


def _pairs_to_table(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a field occurs twice")
    return table


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _take_texts(fields: _Fields, key: str) -> tuple[str, ...]:
    values = fields.take(
        key, lambda v: isinstance(v, list) and 1 <= len(v) <= 64 and all(map(_is_text, v)), "1 to 64 texts"
    )
    return tuple(values)


def _take_numbers(fields: _Fields, key: str, count: int, *, above: float = -math.inf) -> tuple[float, ...]:
    def check(value: object) -> bool:
        return isinstance(value, list) and len(value) == count and all(_is_number(v) and v > above for v in value)

    return tuple(float(v) for v in fields.take(key, check, f"{count} numbers, one per band, above {above}"))


def _take_legend(fields: _Fields) -> ClassLegend:
    table = fields.inner("legend", fields.take("legend", _is_table, "a table"))
    rows = table.take("classes", lambda v: isinstance(v, list) and 2 <= len(v) <= 254, "2 to 254 classes")
    classes = []
    for index, row in enumerate(rows):
        one = table.inner(f"class {index}", row)
        classes.append(
            LegendClass(
                id=one.take("id", _equals(index), f"{index}, the network's output"),
                name=one.take("name", _is_text, "text"),
                color=tuple(one.take("color", _is_color, "red, green, blue, each 0 to 255")),
                kind=one.take("kind", lambda v: v in get_args(GeometryKind), ", ".join(get_args(GeometryKind))),
            )
        )
        one.refuse_rest()
    nodata = table.take("nodata", lambda v: type(v) is int and len(classes) <= v <= 255, f"{len(classes)} to 255")
    table.refuse_rest()
    return ClassLegend(tuple(classes), nodata)


def _take_files(fields: _Fields) -> tuple[PackageFile, ...]:
    table = fields.take("files", lambda v: isinstance(v, dict) and set(v) == set(FILE_LIMITS), ", ".join(FILE_LIMITS))
    files = []
    for name, limit in FILE_LIMITS.items():
        one = fields.inner(name, table[name])
        digest = one.take(
            "sha256", lambda v: isinstance(v, str) and bool(re.fullmatch("[0-9a-f]{64}", v)), "64 hex digits"
        )
        size = one.take("size_bytes", _is_count_up_to(limit), f"1 to {limit} bytes")
        one.refuse_rest()
        files.append(PackageFile(name, digest, size))
    return tuple(files)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and abs(value) <= 1e30  # type: ignore[arg-type]


def _between(low: float, high: float) -> Callable[[object], bool]:
    return lambda value: _is_number(value) and low <= value <= high  # type: ignore[operator]


def _equals(number: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and value == number


def _is_count_up_to(limit: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and 0 < value <= limit


def _is_aligned(value: object) -> bool:
    return type(value) is int and 0 <= value <= 8192 and value % STRIDE_PX == 0


def _is_color(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(v) is int and 0 <= v <= 255 for v in value)


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
