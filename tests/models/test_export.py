"""The exported graph computes what the network computes, from weights that are stored once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from geoseg.errors import ModelError
from geoseg.models.export import round_weights
from geoseg.models.manifest import ModelPackage
from geoseg.models.onnx_engine import OnnxEngine, open_session
from geoseg.models.package import write_package
from geoseg.models.torch_engine import TorchEngine, load_network, read_spec
from tests.models.conftest import SPEC
from tests.models.test_engines import SAME
from tests.models.test_package import CopyPackage


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 64, 96), (1, 160, 192)])
def test_any_number_and_size_of_images(package: ModelPackage, shape: tuple[int, int, int]) -> None:
    count, rows, cols = shape
    images = np.random.default_rng(0).integers(0, 256, (count, 3, rows, cols), np.uint8)
    found = OnnxEngine(package, SAME).predict_probabilities(images)
    wanted = TorchEngine(package, SAME).predict_probabilities(images)
    assert found.shape == (count, 4, rows, cols)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert found.std() > 0.05


def test_weights_are_stored_once(package: ModelPackage) -> None:
    assert package.graph.stat().st_size < 300_000
    model = onnx.load(package.graph, load_external_data=False)
    onnx.checker.check_model(str(package.graph))
    places = [{e.key: e.value for e in t.external_data} for t in model.graph.initializer if t.external_data]
    assert {p["location"] for p in places} == {"weights.safetensors"}
    assert sum(int(p["length"]) for p in places) > 0.98 * package.weights.stat().st_size - 40_000
    assert str(Path.cwd()).encode() not in package.graph.read_bytes()


def test_onnx_runtime_folds_normalisation_and_casts(package: ModelPackage, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(package.graph, options, providers=["CPUExecutionProvider"])
    kinds = [n.op_type for n in onnx.load(tmp_path / "optimised.onnx", load_external_data=False).graph.node]
    assert "BatchNormalization" not in kinds
    assert kinds.count("Cast") <= 1


def test_the_network_comes_back(package: ModelPackage, checkpoint: Path) -> None:
    assert read_spec(package.network) == SPEC
    network = load_network(package)
    rounded = round_weights(network.state_dict())
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            np.testing.assert_array_equal(rounded[name], value.numpy())


def test_weights_that_float16_cannot_hold_are_refused() -> None:
    for value in (float("nan"), 1e6):
        with pytest.raises(ModelError, match="weight w is not finite"):
            round_weights({"w": torch.full((2, 2), value)})


def test_a_graph_that_reads_other_files_is_refused(copy_package: CopyPackage, tmp_path: Path) -> None:
    copy = copy_package()
    (tmp_path / "secret").write_bytes(copy.weights.read_bytes())
    for place in ("../secret", str(tmp_path / "secret")):
        model = onnx.load(copy.graph, load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = place
        copy.graph.write_bytes(model.SerializeToString())
        with pytest.raises(ModelError, match=r"model\.onnx"):
            open_session(copy)


def test_a_graph_that_does_not_fit_the_description_is_refused(copy_package: CopyPackage) -> None:
    copy = copy_package()
    (copy.path / "kept.onnx").write_bytes(copy.graph.read_bytes())
    copy.graph.write_bytes(b"no graph")
    with pytest.raises(ModelError, match=r"model\.onnx"):
        open_session(copy)
    value = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1, 3, 8, 8])
    answer = onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, [1, 3, 8, 8])
    model = onnx.load(copy.path / "kept.onnx", load_external_data=False)
    nodes = [onnx.helper.make_node("Relu", ["images"], ["probabilities"])]
    # The weights stay in the graph, unused by its operators: only input and output are wrong.
    graph = onnx.helper.make_graph(nodes, "g", [value], [answer], model.graph.initializer)
    opset = [onnx.helper.make_opsetid("", 20)]
    copy.graph.write_bytes(onnx.helper.make_model(graph, ir_version=10, opset_imports=opset).SerializeToString())
    with pytest.raises(ModelError, match="tensor\\(uint8\\)"):
        open_session(copy)


def test_weights_of_another_network_are_refused(copy_package: CopyPackage) -> None:
    copy = copy_package()
    object.__setattr__(copy, "network", {**copy.network, "encoder": "resnet18"})
    with pytest.raises(ModelError, match="another name"):
        load_network(write_package(copy, card="x"))
    object.__setattr__(copy, "network", {**copy.network, "classes": 5})
    with pytest.raises(ModelError, match="5 classes"):
        load_network(copy)
    object.__setattr__(copy, "network", {"encoder": "resnet18"})
    with pytest.raises(ModelError, match="a network of encoder"):
        load_network(copy)


def test_probabilities_sum_to_one(package: ModelPackage, scenery: NDArray[np.uint8]) -> None:
    probabilities = OnnxEngine(package, SAME).predict_probabilities(scenery[None])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("key", ["architecture", "encoder"])
@pytest.mark.parametrize(
    "name", ["tu-hf-hub:someone/net", "local-dir:/tmp/net", "tu-hf_hub:a/b", "a/b", "a b", "..\\b", 3]
)
def test_names_that_reach_out_are_refused(key: str, name: object) -> None:
    with pytest.raises(ModelError, match=key):
        read_spec({**dataclasses.asdict(SPEC), key: name})
