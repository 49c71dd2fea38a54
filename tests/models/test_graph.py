"""Graphs that bring code or reach out of their package are refused before ONNX Runtime sees them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save_file

from geoseg.errors import ModelError
from geoseg.models.graph import check_graph
from geoseg.models.manifest import ModelPackage
from geoseg.models.onnx_engine import open_session
from geoseg.models.package import load_package, write_package
from tests.models.test_package import CopyPackage

Change = Callable[[onnx.ModelProto], None]


def external(model: onnx.ModelProto) -> onnx.TensorProto:
    return next(t for t in model.graph.initializer if t.external_data)


def set_place(tensor: onnx.TensorProto, key: str, value: str) -> None:
    for entry in tensor.external_data:
        if entry.key == key:
            entry.value = value


def read_elsewhere(model: onnx.ModelProto) -> None:
    set_place(external(model), "location", "../../../../etc/passwd")


def read_absolutely(model: onnx.ModelProto) -> None:
    set_place(external(model), "location", "/etc/passwd")


def read_card(model: onnx.ModelProto) -> None:
    set_place(external(model), "location", "README.md")


def read_beyond(model: onnx.ModelProto) -> None:
    set_place(external(model), "offset", str(2**40))


def read_across(model: onnx.ModelProto) -> None:
    place = {e.key: int(e.value) for e in external(model).external_data if e.key != "location"}
    set_place(external(model), "offset", str(place["offset"] + 2))


def twist_shape(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.external_data and len(t.dims) == 4 and t.dims[0] != t.dims[1])
    tensor.dims[0], tensor.dims[1] = tensor.dims[1], tensor.dims[0]


def twist_type(model: onnx.ModelProto) -> None:
    external(model).data_type = TensorProto.INT16


def bring_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Evil", ["images"], ["evil"], domain="com.example"))
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def hide_operator(model: onnx.ModelProto) -> None:
    evil = helper.make_node("Evil", [], ["x"], domain="com.microsoft")
    branch = helper.make_graph([evil], "b", [], [helper.make_tensor_value_info("x", TensorProto.FLOAT, [])])
    model.graph.node.append(helper.make_node("If", ["yes"], ["evil"], then_branch=branch, else_branch=branch))


def bring_function(model: onnx.ModelProto) -> None:
    body = [helper.make_node("Identity", ["x"], ["y"])]
    model.functions.append(helper.make_function("", "Evil", ["x"], ["y"], body, [helper.make_opsetid("", 20)]))


def hide_place(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), "hidden")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    model.graph.node.append(helper.make_node("Constant", [], ["hidden"], value=tensor))


def leave_out(model: onnx.ModelProto) -> None:
    model.graph.initializer.remove(external(model))


CHANGES = [
    read_elsewhere,
    read_absolutely,
    read_card,
    read_beyond,
    read_across,
    twist_shape,
    twist_type,
    bring_operator,
    hide_operator,
    bring_function,
    hide_place,
    leave_out,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.__name__)
def test_hostile_graphs_are_refused(copy_package: CopyPackage, change: Change) -> None:
    copy = copy_package()
    model = onnx.load(copy.graph, load_external_data=False)
    change(model)
    copy.graph.write_bytes(model.SerializeToString())
    # With checksums that fit, as whoever means harm would see to.
    hostile = write_package(copy, card="x")
    with pytest.raises(ModelError, match=r"model\.onnx"):
        open_session(hostile)


@pytest.mark.parametrize("data", [b"", b"\x80\x04.", b"onnx" * 100])
def test_what_is_no_graph_is_refused(copy_package: CopyPackage, data: bytes) -> None:
    copy = copy_package()
    copy.graph.write_bytes(data)
    with pytest.raises(ModelError, match=r"model\.onnx"):
        check_graph(copy)


@pytest.mark.parametrize("fault", ["extra", "missing", "shape"])
def test_weights_that_are_not_the_graphs_are_refused(copy_package: CopyPackage, fault: str) -> None:
    copy = copy_package()
    weights = load_file(copy.weights)
    name = sorted(weights)[3]
    if fault == "extra":
        weights["discriminator.weight"] = np.zeros(4, np.float32)
    elif fault == "missing":
        del weights[name]
    else:
        weights[name] = np.zeros((*weights[name].shape, 2), weights[name].dtype)
    save_file(weights, copy.weights)
    copy.weights.chmod(0o644)
    hostile = write_package(copy, card="x")
    with pytest.raises(ModelError):
        open_session(hostile)


def test_sound_graphs_pass(package: ModelPackage, refined: ModelPackage) -> None:
    for sound in (package, refined, load_package(refined.path, refine=False), load_package("landcover-rgb")):
        assert check_graph(sound).graph.node
