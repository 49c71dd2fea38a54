"""What the last layers do without is nothing that anyone could see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from geoseg.models.engine import PatchGeometry
from geoseg.models.onnx_engine import OnnxEngine
from geoseg.models.package import ModelPackage, load_package
from geoseg.models.resample import classify_core
from geoseg.models.tail import MARGIN_PX, crop_tail, split_softmax

PATCH_PX, HALO_PX = 256, 64
Layer = tuple[str, list[str], str, dict[str, object]]


def conv(source: str, target: str, weights: str, **options: object) -> Layer:
    return "Conv", [source, weights], target, {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [1, 1]} | options


def resize(source: str, target: str, **options: object) -> Layer:
    repeat = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return "Resize", [source, "", "doubled"], target, repeat | options


DEEP: list[Layer] = [
    conv("images", "a", "first"),
    conv("a", "half", "inner", strides=[2, 2]),
    conv("half", "quarter", "inner", strides=[2, 2]),
    ("GlobalAveragePool", ["quarter"], "mean", {}),
    ("Add", ["quarter", "mean"], "b", {}),
]
UP: list[Layer] = [
    resize("b", "c"),
    ("Concat", ["c", "half"], "d", {"axis": 1}),
    conv("d", "e", "joined"),
    ("Relu", ["e"], "f", {}),
    resize("f", "g"),
    conv("g", "h", "last"),
]
FLAT: list[Layer] = [conv("images", "a", "first"), ("Relu", ["a"], "b", {}), conv("b", "h", "last")]
END: list[Layer] = [("Softmax", ["h"], "probabilities", {"axis": 1})]


def make_model(layers: Sequence[Layer], opset: int = 18) -> onnx.ModelProto:
    rng = np.random.default_rng(4)
    shapes = {"first": (8, 3, 3, 3), "inner": (8, 8, 3, 3), "joined": (8, 16, 3, 3), "last": (4, 8, 3, 3)}
    weights = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    weights["doubled"] = np.array([1, 1, 2, 2], np.float32)
    used = {name for _, inputs, _, _ in layers for name in inputs}
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [target], **options) for kind, inputs, target, options in layers],
        "network",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, PATCH_PX, PATCH_PX])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 4, PATCH_PX, PATCH_PX])],
        [numpy_helper.from_array(value, name) for name, value in weights.items() if name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def run(model: onnx.ModelProto) -> NDArray[np.float32]:
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(1).normal(0, 1, (1, 3, PATCH_PX, PATCH_PX)).astype(np.float32)
    (probabilities,) = session.run(None, {"images": image})
    return probabilities


def check_core(model: onnx.ModelProto, lost_px: int) -> None:
    """The core, and a pixel around it for interpolation, are the same in what is left."""
    whole = run(model)
    assert crop_tail(model, patch_px=PATCH_PX, halo_px=HALO_PX) == lost_px
    left = run(model)
    assert left.shape[2] == PATCH_PX - 2 * lost_px
    margin = HALO_PX - 1
    inner = slice(margin - lost_px, left.shape[2] - margin + lost_px)
    np.testing.assert_array_equal(left[..., inner, inner], whole[..., margin:-margin, margin:-margin])


def test_the_core_stays_as_it_is() -> None:
    model = make_model(DEEP + UP + END)
    check_core(model, HALO_PX - MARGIN_PX)
    # Both that come from far are cut: what is enlarged first, and what is laid beside it.
    assert [n.input[0] for n in model.graph.node if n.op_type == "Slice"] == ["half", "b"]


@pytest.mark.parametrize(
    ("layers", "opset"),
    [
        ([*DEEP, *UP, ("Softmax", ["h"], "probabilities", {"axis": 3})], 18),
        ([*DEEP, *UP, ("GlobalMaxPool", ["h"], "i", {}), ("Sub", ["h", "i"], "probabilities", {})], 18),
        ([*FLAT, *END], 12),
    ],
    ids=["softmax across", "all see all", "old softmax"],
)
def test_what_sees_far_is_left_whole(layers: list[Layer], opset: int) -> None:
    check_core(make_model(layers, opset), 0)


@pytest.mark.parametrize(
    "up",
    [
        [*UP[:4], resize("f", "g", mode="linear"), UP[5]],
        [*UP[:5], conv("g", "h", "last", dilations=[9, 9], pads=[9] * 4)],
        [*UP[:2], conv("d", "e", "joined", dilations=[15, 15], pads=[15] * 4), *UP[3:]],
    ],
    ids=["linear", "wide", "wider"],
)
def test_the_walk_ends_at_what_is_unknown_or_sees_far(up: list[Layer]) -> None:
    check_core(make_model(DEEP + up + END), HALO_PX - MARGIN_PX)


def test_a_halo_of_one_margin_is_kept() -> None:
    model = make_model(DEEP + UP + END)
    assert crop_tail(model, patch_px=PATCH_PX, halo_px=MARGIN_PX) == 0


def test_a_network_that_sees_little_loses_the_halo_at_once() -> None:
    model = make_model(FLAT + END)
    check_core(model, HALO_PX - MARGIN_PX)
    assert model.graph.node[0].op_type == "Slice"


@pytest.mark.parametrize("opset", [13, 18])
def test_a_split_softmax_differs_by_rounding(opset: int) -> None:
    model = make_model(DEEP + UP + END, opset)
    wanted = run(model)
    split_softmax(model)
    assert any(n.op_type == "Softmax" for n in model.graph.node) == (opset < 18)
    np.testing.assert_allclose(run(model), wanted, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["landcover-rgb", "landcover-rgb-fast"])
@pytest.mark.parametrize("core", [(64, 64), (160, 33)])
def test_shipped_models(name: str, core: tuple[int, int], scenery: NDArray[np.uint8]) -> None:
    check_engine(load_package(name), core, scenery)


def test_a_small_package(package: ModelPackage, scenery: NDArray[np.uint8]) -> None:
    check_engine(package, (64, 64), scenery)


def check_engine(package: ModelPackage, core: tuple[int, int], scenery: NDArray[np.uint8]) -> None:
    image = np.tile(scenery, (1, 4, 4))[None, :, :320, :320]
    engine = OnnxEngine(package, PatchGeometry(320, 128, *core))
    probabilities = engine.predict_probabilities(np.ascontiguousarray(image))[0]
    assert engine._lost_px == 128 - MARGIN_PX
    wanted = classify_core(probabilities, engine.geometry.row_taps, engine.geometry.col_taps)
    for found, answer in zip(engine.predict(image), wanted, strict=True):
        np.testing.assert_array_equal(found[0], answer)
