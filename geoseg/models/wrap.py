"""A foreign ONNX graph between geoseg's input and output: pixel values to class probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Layout = Literal["NCHW", "NHWC"]
Activation = Literal["softmax", "sigmoid", "none"]
PREFIX, OWN = "network/", "geoseg/"
IMAGES, PROBABILITIES = "images", "probabilities"
LEAST_SUM = 1e-30


@dataclass(frozen=True)
class Wrapping:
    """What lies between a foreign graph and geoseg's contract.

    Args:
        mean: per band, on the scale 0 to 255; taken off before the graph.
        std: per band, on the scale 0 to 255; divided by before the graph.
        layout: of the graph's input and output.
        activation: what still has to be done to its output to make probabilities.
        outputs: channels of its output.
        classes: of the package; one more than `outputs` where background is what is left.
        is_enlarged: whether the output is smaller than the input.
        side_px: height and width of its input where they are fixed.
    """

    mean: Sequence[float]
    std: Sequence[float]
    layout: Layout
    activation: Activation
    outputs: int
    classes: int
    is_enlarged: bool
    side_px: int | None


def wrap_graph(model: onnx.ModelProto, wrapping: Wrapping) -> onnx.ModelProto:
    """A graph from uint8 images (N, B, H, W) to float32 probabilities (N, C, H, W) with the given one inside.

    Args:
        model: one input, one output, standard operators, opset 11 or newer.
        wrapping: what has to be added.
    """
    inside = onnx.compose.add_prefix(model, PREFIX)
    graph = inside.graph
    chain = _Chain(next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")))
    known = {t.name for t in graph.initializer}
    (source,) = (v for v in graph.input if v.name not in known)
    source_type, result_type = (v.type.tensor_type.elem_type for v in (source, graph.output[0]))

    chain.start(IMAGES)
    chain.add("Cast", to=TensorProto.FLOAT)
    chain.add("Sub", _per_band(wrapping.mean))
    chain.add("Div", _per_band(wrapping.std))
    if wrapping.layout == "NHWC":
        chain.add("Transpose", perm=[0, 2, 3, 1])
    chain.add("Cast", to=source_type, output=source.name)
    before = chain.take_nodes()

    chain.start(graph.output[0].name)
    if result_type != TensorProto.FLOAT:
        chain.add("Cast", to=TensorProto.FLOAT)
    if wrapping.layout == "NHWC":
        chain.add("Transpose", perm=[0, 3, 1, 2])
    if wrapping.is_enlarged:
        chain.enlarge_to(IMAGES)
    if wrapping.activation == "sigmoid":
        chain.add("Sigmoid")
    elif wrapping.activation == "softmax":
        chain.add_softmax()
    if wrapping.classes != wrapping.outputs:
        chain.add_background()
    if wrapping.activation == "sigmoid" or wrapping.classes != wrapping.outputs:
        chain.divide_by_sum()
    chain.add("Identity", output=PROBABILITIES)

    nodes = [*before, *graph.node, *chain.take_nodes()]
    side: list[Any] = [wrapping.side_px or "height", wrapping.side_px or "width"]
    wrapped = helper.make_graph(
        nodes,
        "segmentation",
        [helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, ["batch", len(wrapping.mean), *side])],
        [helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["batch", wrapping.classes, *side])],
        [*graph.initializer, *chain.constants],
    )
    used = {n.domain or "" for n in nodes} | {""}
    opsets = [o for o in model.opset_import if (o.domain if o.domain != "ai.onnx" else "") in used]
    return helper.make_model(wrapped, ir_version=model.ir_version, opset_imports=opsets)


def _per_band(values: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.asarray(values, np.float32).reshape(1, -1, 1, 1)


def _axis(index: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([index], np.int64)


class _Chain:
    """Operators one after the other, each on what the one before gave."""

    def __init__(self, opset: int) -> None:
        self._opset, self._at, self._nodes, self._count = opset, "", list[onnx.NodeProto](), 0
        self.constants: list[onnx.TensorProto] = []

    def start(self, name: str) -> None:
        self._at = name

    def take_nodes(self) -> list[onnx.NodeProto]:
        nodes, self._nodes = self._nodes, []
        return nodes

    def add(self, kind: str, *others: Any, output: str = "", **attributes: Any) -> None:
        self._at = self._make(kind, self._at, *others, output=output, **attributes)

    def add_softmax(self) -> None:
        # Before opset 13 softmax took the given axis and all behind it for one.
        if self._opset >= 13:
            self.add("Softmax", axis=1)
        else:
            self.add("Transpose", perm=[0, 2, 3, 1])
            self.add("Softmax", axis=3)
            self.add("Transpose", perm=[0, 3, 1, 2])

    def divide_by_sum(self) -> None:
        # Far below 0 a sigmoid is 0 in float32.
        total = self._make("Max", self.reduce("ReduceSum"), np.full(1, LEAST_SUM, np.float32))
        self.add("Div", total)

    def add_background(self) -> None:
        rest = self._make("Sub", np.ones(1, np.float32), self.reduce("ReduceMax"))
        self._at = self._make("Concat", rest, self._at, axis=1)

    def enlarge_to(self, like: str) -> None:
        sizes = [
            self._make("Slice", self._make("Shape", name), _axis(start), _axis(start + 2))
            for name, start in ((self._at, 0), (like, 2))
        ]
        empty = np.zeros(0, np.float32)
        self.add("Resize", empty, empty, self._make("Concat", *sizes, axis=0), mode="linear")

    def reduce(self, kind: str) -> str:
        by_input = self._opset >= (13 if kind == "ReduceSum" else 18)
        if by_input:
            return self._make(kind, self._at, _axis(1), keepdims=1)
        return self._make(kind, self._at, axes=[1], keepdims=1)

    def _make(self, kind: str, *inputs: Any, output: str = "", **attributes: Any) -> str:
        names = [i if isinstance(i, str) else self._keep(i) for i in inputs]
        output = output or self._name()
        self._nodes.append(helper.make_node(kind, names, [output], **attributes))
        return output

    def _keep(self, values: np.ndarray[Any, Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values), self._name()))
        return self.constants[-1].name

    def _name(self) -> str:
        self._count += 1
        return f"{OWN}{self._count}"
