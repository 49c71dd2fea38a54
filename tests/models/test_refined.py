"""One package, two networks: with a refiner and without."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from geoseg.errors import ModelError
from geoseg.models.manifest import ModelPackage, format_manifest, parse_manifest
from geoseg.models.onnx_engine import OnnxEngine
from geoseg.models.package import load_package
from geoseg.models.sharing import export_package
from geoseg.models.torch_engine import Segmenter, TorchEngine, load_network, read_spec
from tests.models.test_engines import SAME


@pytest.fixture(scope="module")
def base(refined: ModelPackage) -> ModelPackage:
    return load_package(refined.path, refine=False)


def test_both_graphs_point_into_one_file_of_weights(refined: ModelPackage) -> None:
    assert {f.name for f in refined.files} == {
        "weights.safetensors",
        "model.onnx",
        "base.onnx",
        "README.md",
        "failure-1.png",
    }
    used = {}
    for name in ("model.onnx", "base.onnx"):
        model = onnx.load(refined.path / name, load_external_data=False)
        places = [{e.key: e.value for e in t.external_data} for t in model.graph.initializer if t.external_data]
        assert {p["location"] for p in places} == {"weights.safetensors"}
        used[name] = {p["offset"] for p in places}
    assert used["base.onnx"] < used["model.onnx"]


def test_prediction_takes_either(refined: ModelPackage, base: ModelPackage, scenery: NDArray[np.uint8]) -> None:
    images = scenery[None, :, :128, :128].copy()
    answers = [OnnxEngine(p, SAME).predict_probabilities(images) for p in (refined, base)]
    assert np.abs(answers[0] - answers[1]).max() > 0.01
    for package, answer in zip((refined, base), answers, strict=True):
        np.testing.assert_allclose(TorchEngine(package, SAME).predict_probabilities(images), answer, atol=1e-4)
    # The base is the refined network's own inner one.
    inner = load_network(refined).get_submodule("network")
    np.testing.assert_allclose(Segmenter(inner, base.mean, base.std).predict(images), answers[1], atol=1e-4)
    assert not any(name.startswith("refiner") for name in load_network(base).state_dict())


def test_the_two_are_told_apart_and_share_their_geometry(refined: ModelPackage, base: ModelPackage) -> None:
    assert base.fingerprint != refined.fingerprint
    assert load_package(refined.path, refine=False).fingerprint == base.fingerprint
    assert (base.halo_px, base.patch_px) == (refined.halo_px, refined.patch_px)
    assert format_manifest(base) == format_manifest(refined)


def test_without_a_refiner_there_is_nothing_to_leave_out(package: ModelPackage) -> None:
    same = load_package(package.path, refine=False)
    assert (same.fingerprint, same.graph) == (package.fingerprint, package.graph)


def test_a_zip_carries_both(refined: ModelPackage, base: ModelPackage, tmp_path: Path) -> None:
    export_package(refined.path, tmp_path / "refined.zip")
    assert load_package(tmp_path / "refined.zip").fingerprint == refined.fingerprint
    assert load_package(tmp_path / "refined.zip", refine=False).fingerprint == base.fingerprint


def test_the_base_graph_belongs_to_refined_packages_only(refined: ModelPackage, package: ModelPackage) -> None:
    table = json.loads(format_manifest(refined))
    del table["assets"]["base.onnx"]
    with pytest.raises(ModelError, match="assets"):
        parse_manifest(json.dumps(table).encode(), refined.path)
    table = json.loads(format_manifest(package))
    table["assets"]["base.onnx"] = table["assets"]["model.onnx"]
    with pytest.raises(ModelError, match="assets"):
        parse_manifest(json.dumps(table).encode(), package.path)


def test_the_card_shows_failures(refined: ModelPackage) -> None:
    card = (refined.path / "README.md").read_text()
    assert "![A shadow taken for a road.](./failure-1.png)" in card
    assert "- Refiner: 4 channels wide" in card
    assert refined.metrics["export without refiner"]["same_class"] > 0.999


@pytest.mark.parametrize(
    "changes", [{"decoder_channels": [10**9]}, {"refiner_width": -1}, {"encoder": 3.5}, {"bands": 10**6}, {"more": 1}]
)
def test_networks_of_no_sense_are_refused_unbuilt(refined: ModelPackage, changes: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="a network"):
        read_spec({**refined.network, **changes})


def test_packages_of_before_a_choice_existed_are_read(package: ModelPackage) -> None:
    older = {k: v for k, v in package.network.items() if k != "refiner_width"}
    assert read_spec(older) == read_spec(package.network)
