"""The description is a STAC item that other programs read."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from geoseg.legend import ClassLegend
from geoseg.models.manifest import ModelPackage, format_manifest, parse_manifest
from geoseg.models.package import load_package

SHIPPED = "landcover-rgb"


@pytest.fixture(params=["shipped", "refined"])
def item(request: pytest.FixtureRequest) -> dict[str, Any]:
    package = load_package(SHIPPED) if request.param == "shipped" else request.getfixturevalue("refined")
    return json.loads((package.path / "model.json").read_text())


def test_stac_accepts_it(item: dict[str, Any]) -> None:
    pystac = pytest.importorskip("pystac", reason="pystac is not installed")
    validation = pytest.importorskip("pystac.validation.stac_validator", reason="jsonschema is not installed")
    validation.JsonSchemaSTACValidator().validate_core(item, pystac.STACObjectType.ITEM, item["stac_version"])


def test_pystac_reads_model_and_files(item: dict[str, Any]) -> None:
    pystac = pytest.importorskip("pystac", reason="pystac is not installed")
    files, models = (pytest.importorskip(f"pystac.extensions.{name}") for name in ("file", "mlm"))
    found = pystac.Item.from_dict(item)
    model = models.MLMExtension.ext(found)
    assert model.mlm_name == item["id"]
    assert model.tasks == ["semantic-segmentation"]
    assert model.input[0].bands == item["properties"]["geoseg:bands"]
    assert model.input[0].input.shape[1] == len(item["properties"]["bands"])
    assert model.output[0].result.shape[1] == len(model.output[0].classes)
    for name, asset in found.assets.items():
        assert files.FileExtension.ext(asset).checksum == item["assets"][name]["file:checksum"]


def test_the_extension_finds_what_it_requires(item: dict[str, Any]) -> None:
    """Source: Machine Learning Model extension 1.4, its tables of required fields."""
    properties, assets = item["properties"], item["assets"]
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", properties["mlm:name"])
    assert {"mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output"} <= properties.keys()
    for one, shape in ((properties["mlm:input"][0], "input"), (properties["mlm:output"][0], "result")):
        assert one["name"]
        assert len(one[shape]["shape"]) == len(one[shape]["dim_order"]) == 4
        assert one[shape]["data_type"] in ("uint8", "float32")
        # Bands are named exactly where there is an axis of them.
        assert bool(one.get("bands")) == ("bands" in one[shape]["dim_order"])
    models = [a for a in assets.values() if "mlm:model" in a["roles"]]
    assert models
    for asset in assets.values():
        assert ("mlm:artifact_type" in asset) == (asset in models)
        assert re.fullmatch("1220[0-9a-f]{64}", asset["file:checksum"])
    # What no extension defines is geoseg's, and says so.
    known = {"datetime", "start_datetime", "end_datetime", "gsd", "bands"}
    assert {k for k in properties if not k.startswith(("mlm:", "geoseg:"))} == known


@pytest.mark.parametrize("name", ["not vegetation", "Gebäude", "道路", "a/b:c"])
def test_any_class_name_becomes_one_that_stac_takes(package: ModelPackage, name: str) -> None:
    first, *others = package.legend.classes
    renamed = replace(package, legend=ClassLegend((replace(first, name=name), *others)))
    text = format_manifest(renamed)
    (output,) = json.loads(text)["properties"]["mlm:output"]
    written = output["classification:classes"][0]
    assert re.fullmatch("[0-9A-Za-z_-]+", written["name"])
    assert written["title"] == name
    assert parse_manifest(text.encode(), Path("package")).legend == renamed.legend
