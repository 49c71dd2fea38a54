"""From a torch network to the two files of a package that hold it; weights are stored once."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import torch
from numpy.typing import NDArray
from onnx_ir.passes import common as passes
from onnxscript import optimizer
from safetensors.numpy import save_file
from torch import nn

from geoseg.errors import ModelError
from geoseg.models.graph import point_tensor
from geoseg.models.manifest import BASE_GRAPH, FILE_LIMITS, GRAPH, WEIGHTS
from geoseg.models.refiner import RefinedNetwork
from geoseg.models.torch_engine import NETWORK, Segmenter
from geoseg.models.weights import TensorEntry, read_weights_header

EXAMPLE_SHAPE = (2, 96, 128)
FOLDED_VALUES = 4096


def export_network(network: nn.Module, folder: Path, *, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Write `weights.safetensors` and `model.onnx`, whose weights point into it by offset.

    Of a network with a refiner also `base.onnx`, which leaves the refiner out and points into the same weights.

    A graph takes uint8 images (N, B, H, W) of any N and any H and W that are multiples of 32, and gives float32
    probabilities (N, C, H, W). Tensors of two and more dimensions are stored in float16 and computed with in float32;
    vectors (biases, statistics of batch normalisation), which are under a percent of the bytes, stay float32.
    Batch normalisation stays in the graph: ONNX Runtime folds it into the convolutions when it loads.

    Raises:
        ModelError: a weight is not finite in float16, or the graph is not what was expected.
    """
    weights = round_weights(network.state_dict())
    save_file(weights, folder / WEIGHTS)
    # safetensors writes for the owner's eyes only.
    (folder / WEIGHTS).chmod(0o644)
    entries = read_weights_header(folder / WEIGHTS)
    _write_graph(Segmenter(network.eval(), mean, std), entries, folder / GRAPH)
    if isinstance(network, RefinedNetwork):
        inner = {k.removeprefix(NETWORK): v for k, v in entries.items() if k.startswith(NETWORK)}
        _write_graph(Segmenter(network.network, mean, std), inner, folder / BASE_GRAPH)


def write_graph(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph whose weights lie elsewhere.

    Raises:
        ModelError: it is too large for a package.
    """
    data = model.SerializeToString(deterministic=True)
    if len(data) > FILE_LIMITS[path.name]:
        raise ModelError(
            f"a graph of {len(data)} bytes", expected=f"at most {FILE_LIMITS[path.name]}: weights stay outside"
        )
    path.write_bytes(data)


def round_weights(state: Mapping[str, torch.Tensor]) -> dict[str, NDArray[Any]]:
    """Weights as a package stores them; counters of training batches are left out.

    Raises:
        ModelError: a weight is not finite, or too large for float16.
    """
    weights = {}
    for name, value in state.items():
        if not value.is_floating_point():
            continue
        array = value.detach().cpu().float().contiguous().numpy()
        with np.errstate(over="ignore"):
            weights[name] = array.astype(np.float16) if array.ndim > 1 else array
        if not np.isfinite(weights[name]).all():
            raise ModelError(f"weight {name} is not finite in {weights[name].dtype}", expected="a trained network")
    return weights


def _write_graph(segmenter: Segmenter, entries: Mapping[str, TensorEntry], path: Path) -> None:
    model = _trace_graph(segmenter)
    _point_weights(model.graph, entries)
    write_graph(model, path)


def _trace_graph(segmenter: Segmenter) -> onnx.ModelProto:
    bands = segmenter.mean.shape[1]
    count, rows, cols = EXAMPLE_SHAPE
    free = torch.export.Dim.DYNAMIC
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            segmenter,
            (torch.zeros((count, bands, rows, cols), dtype=torch.uint8),),
            dynamo=True,
            # Its optimiser would fold batch normalisation, and with it change the weights that are stored.
            optimize=False,
            verbose=False,
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_shapes={"images": {0: free, 2: free, 3: free}},
        )
    if program is None:
        raise ModelError("no graph could be traced from the network", expected="a network that torch exports")
    model = program.model
    optimizer.fold_constants(
        model, input_size_limit=FOLDED_VALUES, output_size_limit=FOLDED_VALUES, should_fold=_keep_weights
    )
    passes.CommonSubexpressionEliminationPass()(model)
    passes.RemoveUnusedNodesPass()(model)
    return _strip(onnx_ir.to_proto(model))


def _keep_weights(node: onnx_ir.Node) -> bool | None:
    """Folding is the optimiser's choice, but no weight may vanish in another constant: all are stored outside."""
    return False if any(v is not None and (v.name or "").startswith(NETWORK) for v in node.inputs) else None


def _strip(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take out what only tells where a node came from, paths of this machine among it."""
    model.ClearField("metadata_props")
    for field in ("value_info", "doc_string", "metadata_props"):
        model.graph.ClearField(field)
    for part in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for node in model.graph.node:
        node.ClearField("name")
    return model


def _point_weights(graph: onnx.GraphProto, entries: Mapping[str, TensorEntry]) -> None:
    """Replace the values of the network's weights by their places in the safetensors file."""
    casts = []
    for tensor in graph.initializer:
        entry = entries.get(tensor.name.removeprefix(NETWORK))
        if not tensor.name.startswith(NETWORK) or entry is None:
            continue
        if tuple(tensor.dims) != entry.shape:
            raise ModelError(f"{tensor.name} of shape {tuple(tensor.dims)} in the graph", expected=str(entry.shape))
        point_tensor(tensor, entry)
        if entry.dtype == "F16":
            name = tensor.name
            tensor.name = f"{name}.float16"
            casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    if not casts:
        raise ModelError("a graph without the network's weights", expected="initializers named as in the state dict")
    nodes = [*casts, *graph.node]
    graph.ClearField("node")
    graph.node.extend(nodes)
