"""Packages are read back as written, and nothing else is accepted."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import ModelError
from geoseg.models import package as package_module
from geoseg.models.manifest import format_manifest, parse_manifest
from geoseg.models.package import ModelPackage, list_packages, load_package, write_package
from geoseg.models.weights import read_weights_header

CopyPackage = Callable[[], ModelPackage]


def test_a_package_is_read_back_as_it_was_written(package: ModelPackage) -> None:
    found = load_package(package.path)
    assert found == package == load_package(str(package.path)) == pickle.loads(pickle.dumps(package))
    assert found.fingerprint == package.fingerprint
    assert {f.name for f in found.files} == {"weights.safetensors", "model.onnx", "README.md"}


def test_the_fingerprint_knows_the_content_not_the_place(copy_package: CopyPackage, package: ModelPackage) -> None:
    copy = copy_package()
    assert copy.path != package.path
    assert copy.fingerprint == package.fingerprint
    other = parse_manifest(format_manifest(package).replace(": 0.4,", ": 0.5,").encode(), package.path)
    assert other.fingerprint != package.fingerprint


def test_describing_a_package_needs_no_deep_learning_library(package: ModelPackage) -> None:
    code = (
        "import sys; from geoseg.models.package import load_package, list_packages, write_package\n"
        f"load_package({str(package.path)!r}); list_packages()\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'safetensors', 'numba', 'segmentation_models_pytorch'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["weights.safetensors", "model.onnx", "README.md"])
def test_an_altered_file_is_refused(copy_package: CopyPackage, name: str) -> None:
    copy = copy_package()
    data = bytearray((copy.path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy.path / name).write_bytes(data)
    with pytest.raises(ModelError, match=rf"{name}: checksum"):
        load_package(copy.path)
    (copy.path / name).write_bytes(data[:-1])
    with pytest.raises(ModelError, match=rf"{name}: \d+ bytes"):
        load_package(copy.path)


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors", "model.onnx", "README.md"])
def test_a_missing_file_or_a_link_out_is_refused(copy_package: CopyPackage, tmp_path: Path, name: str) -> None:
    copy = copy_package()
    shutil.move(copy.path / name, tmp_path / name)
    with pytest.raises(ModelError, match=rf"{name}: missing"):
        load_package(copy.path)
    os.symlink(tmp_path / name, copy.path / name)
    with pytest.raises(ModelError, match=rf"{name}: leads out of the package"):
        load_package(copy.path)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".pkl", ".bin", ".PTH"])
def test_pickles_are_refused_unopened(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ModelError, match="safetensors") as caught:
        load_package(tmp_path / f"model{suffix}")
    assert "pickle" in caught.value.found
    assert "save_file" in caught.value.remedy


def test_unknown_names_bring_what_there_is(
    package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(package.path, tmp_path / "landcover-rgb-1")
    (tmp_path / "notes").mkdir()
    monkeypatch.setattr(package_module, "_find_library", lambda: tmp_path)
    assert list_packages() == ("landcover-rgb-1",)
    assert load_package("landcover-rgb-1").path == tmp_path / "landcover-rgb-1"
    with pytest.raises(ModelError) as caught:
        load_package("landcover-rbg-1")
    assert "landcover-rgb-1" in caught.value.expected
    assert "did you mean 'landcover-rgb-1'" in caught.value.remedy
    with pytest.raises(ModelError, match="a file"):
        load_package(package.path / "README.md")


def test_shipped_packages_load() -> None:
    for name in list_packages():
        assert load_package(name).name == name


@pytest.fixture(scope="module")
def table(package: ModelPackage) -> dict[str, Any]:
    return json.loads(format_manifest(package))


OWN = {
    "format": ["geoseg-model/3", None],
    "version": ["", 1, "a\nb", "x" * 201],
    "network": [[], "Unet"],
    "bands": [[], ["red"], "rgb", [1, 2, 3], ["a"] * 65],
    "normalisation": [{}, [], *({"mean": m, "std": [1, 1, 1]} for m in ([1, 2], [1, 2, "3"], [1, 2, True], None))],
    "legend": [{}, [], {"nodata": 255, "classes": []}, {"nodata": 2, "classes": None}],
    "ground_resolution_m": [0, -1, "0.4", True],
    "patch_px": [0, 33, -32, 128.0, 4096, True],
    "halo_px": [64, 1, -32],
    "seam_error": [-0.1, 1.1, "0"],
    "workspace_bytes_per_px": [0, None],
    "metrics": [[], None],
    "provenance": [3],
    "surprise": [1],
}
WRONG = {
    "id": ["", "../up", "A", "a", 3, "x" * 65, "other-name"],
    "type": ["Collection"],
    "stac_version": ["1.0.0"],
    "stac_extensions": [[]],
    "geometry": [{}],
    "assets": [{}, {"../../etc/passwd": {}}, {"model.onnx": {}}, []],
    "links": [None, {}],
    "properties": [[], {}],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in WRONG.items() for v in values])
def test_wrong_parts_of_the_item_are_refused(table: dict[str, Any], key: str, value: object) -> None:
    with pytest.raises(ModelError) as caught:
        parse_manifest(json.dumps(table | {key: value}).encode(), Path("package"))
    assert caught.value.expected


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in OWN.items() for v in values])
def test_wrong_fields_are_refused(table: dict[str, Any], key: str, value: object) -> None:
    properties = table["properties"] | {f"geoseg:{key}": value}
    with pytest.raises(ModelError) as caught:
        parse_manifest(json.dumps(table | {"properties": properties}).encode(), Path("package"))
    assert caught.value.expected


@pytest.mark.parametrize(
    "changes",
    [
        {"mlm:name": "other"},
        {"mlm:surprise": 1},
        {"mlm:tasks": ["regression"]},
        {"gsd": 0.5},
        {"bands": []},
        {"mlm:memory_size": True},
    ],
)
def test_what_follows_from_the_fields_cannot_say_otherwise(table: dict[str, Any], changes: dict[str, Any]) -> None:
    properties = table["properties"] | changes
    with pytest.raises(ModelError, match=f"/properties/{next(iter(changes))}.* does not fit"):
        parse_manifest(json.dumps(table | {"properties": properties}).encode(), Path("package"))


def test_a_catalogue_may_add_what_is_its_own(table: dict[str, Any], package: ModelPackage) -> None:
    properties = table["properties"] | {"title": "A model", "created": "2026-01-01T00:00:00Z"}
    added = table | {
        "properties": properties,
        "collection": "models",
        "links": [{"rel": "collection", "href": "../collection.json"}],
    }
    assert parse_manifest(json.dumps(added).encode(), package.path) == package


def test_every_field_is_needed(table: dict[str, Any]) -> None:
    for key in table:
        with pytest.raises(ModelError):
            parse_manifest(json.dumps({k: v for k, v in table.items() if k != key}).encode(), Path("package"))
    for key in table["properties"]:
        properties = {k: v for k, v in table["properties"].items() if k != key}
        with pytest.raises(ModelError, match=key.removeprefix("geoseg:")):
            parse_manifest(json.dumps(table | {"properties": properties}).encode(), Path("package"))


@pytest.mark.parametrize(
    "changes", [{"file:size": 1}, {"file:checksum": "1220" + "0" * 63}, {"file:checksum": "0" * 68}]
)
def test_checksums_are_multihashes_of_the_file(
    copy_package: CopyPackage, table: dict[str, Any], changes: dict[str, Any]
) -> None:
    copy = copy_package()
    asset = table["assets"]["model.onnx"]
    assert asset["file:checksum"] == "1220" + hashlib.sha256(copy.graph.read_bytes()).hexdigest()
    (copy.path / "model.json").write_text(
        json.dumps(table | {"assets": table["assets"] | {"model.onnx": asset | changes}})
    )
    with pytest.raises(ModelError):
        load_package(copy.path)


def test_the_older_form_is_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="geoseg-model/1") as caught:
        parse_manifest(b'{"format": "geoseg-model/1", "name": "small"}', tmp_path)
    assert "anew" in caught.value.remedy


def test_weights_that_are_no_numbers_are_refused(copy_package: CopyPackage, package: ModelPackage) -> None:
    copy = copy_package()
    entry = next(iter(read_weights_header(copy.weights).values()))
    data = bytearray(copy.weights.read_bytes())
    size = {"F16": 2, "F32": 4}[entry.dtype]
    data[entry.offset : entry.offset + size] = np.array(np.nan, {2: np.float16, 4: np.float32}[size]).tobytes()
    copy.weights.write_bytes(data)
    with pytest.raises(ModelError, match="not finite"):
        write_package(copy, card="x")


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"\xff", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"[" * 100_000, b'{"a": ' + b"9" * 10_000 + b"}"],
)
def test_what_is_no_strict_json_is_refused(text: bytes) -> None:
    with pytest.raises(ModelError, match=r"model\.json"):
        parse_manifest(text, Path("package"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150)
@given(data=st.data())
def test_any_other_value_gives_a_package_or_a_model_error(table: dict[str, Any], data: st.DataObject) -> None:
    changed = json.loads(json.dumps(table))
    target: Any = changed
    while True:
        key = data.draw(st.sampled_from(sorted(target) if isinstance(target, dict) else range(len(target))))
        if not isinstance(target[key], dict | list) or not target[key] or data.draw(st.booleans()):
            break
        target = target[key]
    target[key] = data.draw(JSON)
    try:
        found = parse_manifest(json.dumps(changed).encode(), Path("package"))
    except ModelError:
        return
    assert parse_manifest(format_manifest(found).encode(), Path("package")) == found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"mean_iou": 0.5', '"mean_iou": 1e999'),
        ('"mean_iou": 0.5', '"mean_iou": -1e999'),
        ("geoseg train", "\\ud800"),
        ("made by code", "\\udfff"),
    ],
)
def test_infinite_numbers_and_half_characters_are_refused(package: ModelPackage, old: str, new: str) -> None:
    text = format_manifest(package)
    changed = text.replace(old, new)
    assert changed != text
    with pytest.raises(ModelError, match=r"model\.json"):
        parse_manifest(changed.encode(), package.path)
