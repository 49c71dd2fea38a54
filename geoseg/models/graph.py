"""An ONNX graph looked through before it is run: standard operators only, weights only from the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from geoseg.errors import ModelError
from geoseg.models.fields import REMEDY
from geoseg.models.manifest import WEIGHTS, ModelPackage
from geoseg.models.weights import TensorEntry, read_weights_header

ONNX_TYPES: dict[str, int] = {"F16": onnx.TensorProto.FLOAT16, "F32": onnx.TensorProto.FLOAT}
DOMAINS = ("", "ai.onnx")
REFINER = "refiner."


def check_graph(package: ModelPackage) -> onnx.ModelProto:
    """The package's graph, which uses all weights it is there for, each by its place, type and shape, and no others.

    Raises:
        ModelError: it is no graph, brings operators or functions of its own, or reads what is not in the package.
    """
    path = package.graph
    model = read_graph(path)
    entries = read_weights_header(package.weights)
    if package.has_refiner and not package.refine:
        entries = {k: v for k, v in entries.items() if not k.startswith(REFINER)}
    places = {(e.dtype, e.shape, e.offset, e.length): name for name, e in entries.items()}
    used = set()
    for tensor in list_tensors(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL and not tensor.external_data:
            continue
        place = _read_place(tensor)
        if place not in places:
            raise _fault(path, f"tensor {tensor.name[:60]!r} outside of the weights", f"a tensor of {WEIGHTS}")
        used.add(places[place])
    if used != set(places.values()):
        unused = sorted(set(places.values()) - used)
        raise _fault(path, f"{len(unused)} tensors that no graph uses, first {unused[0][:60]!r}", "each used")
    return model


def read_graph(path: Path) -> onnx.ModelProto:
    """An ONNX model of standard operators; files that it points to are not opened.

    Raises:
        ModelError: it is no ONNX model, or brings operators or functions of its own.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise _fault(path, f"no ONNX model ({error})"[:200], "an ONNX model") from error
    check_operators(model, path)
    return model


def check_operators(model: onnx.ModelProto, path: Path) -> None:
    """Refuse what is not ONNX's own: other operators, functions, training.

    Raises:
        ModelError: the model at `path` holds such.
    """
    graphs = [model.graph, *(g for n in list_nodes(model.graph) for g in _list_graphs(n))]
    domains = {n.domain for n in list_nodes(model.graph)} | {o.domain for o in model.opset_import}
    if foreign := sorted(domains - set(DOMAINS)):
        raise _fault(path, f"operators of {foreign[0][:60]!r}", "ONNX's own operators")
    if model.functions or model.training_info or any(g.sparse_initializer for g in graphs):
        raise _fault(path, "functions, training or sparse weights in the graph", "plain operators and weights")
    if not model.graph.node:
        raise _fault(path, "a graph without operators", "an ONNX model")


def list_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of branches and loops as well."""
    for node in graph.node:
        yield node
        for inner in _list_graphs(node):
            yield from list_nodes(inner)


def list_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All constant tensors, those in attributes, branches and loops as well."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
        for inner in _list_graphs(node):
            yield from list_tensors(inner)


def point_tensor(tensor: onnx.TensorProto, entry: TensorEntry) -> None:
    """Replace a tensor's values by their place in the package's weights."""
    for field in ("raw_data", "float_data", "int32_data"):
        tensor.ClearField(field)
    tensor.data_type = ONNX_TYPES[entry.dtype]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("location", WEIGHTS), ("offset", entry.offset), ("length", entry.length)):
        tensor.external_data.add(key=key, value=str(value))


def _list_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _read_place(tensor: onnx.TensorProto) -> tuple[str, tuple[int, ...], int, int] | None:
    place = {e.key: e.value for e in tensor.external_data}
    dtype = {v: k for k, v in ONNX_TYPES.items()}.get(tensor.data_type)
    if place.get("location") != WEIGHTS or dtype is None or len(place) != len(tensor.external_data):
        return None
    try:
        return dtype, tuple(tensor.dims), int(place["offset"]), int(place["length"])
    except (KeyError, ValueError):
        return None


def _fault(path: Path, found: str, expected: str) -> ModelError:
    return ModelError(f"{path}: {found}", expected=expected, remedy=REMEDY)
