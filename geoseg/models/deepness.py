"""A model as one ONNX file that QGIS's plugin Deepness reads."""

from __future__ import annotations

import json
import math
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from geoseg.errors import ModelError
from geoseg.files import replace_file
from geoseg.models.graph import check_graph, list_tensors
from geoseg.models.manifest import ModelPackage

MAX_BYTES = 2**31 - 2**16
"""A protocol buffer holds less than 2 GiB; some is left for what is added."""
INPUT, OUTPUT, PIXELS = "image", "probabilities", "images"


def export_deepness(package: ModelPackage, output: Path) -> None:
    """Write one ONNX file, weights inside: float32 (N, B, patch, patch), 0 to 1 -> probabilities (N, C, patch, patch).

    The input is brought back to the pixel values that it was scaled from, so that the answer is exactly the package's.

    Raises:
        ModelError: the package's graph is not to be trusted, or the weights are too large for one file.
        OutputError: the file cannot be written.

    Source: Deepness, documentation for model creators, "Adding metadata to ONNX model".
    """
    size = sum(path.stat().st_size for path in (package.graph, package.weights))
    if size > MAX_BYTES:
        raise ModelError(
            f"{package.name}: {size} bytes",
            expected=f"at most {MAX_BYTES}, all that one ONNX file holds",
            remedy="export a zip",
        )
    model = check_graph(package)
    for tensor in list_tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            onnx.external_data_helper.load_external_data_for_tensor(tensor, str(package.path))
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]
    graph, side = model.graph, package.patch_px
    helper.set_model_props(model, {k: json.dumps(v) for k, v in describe_for_deepness(package).items()})
    nodes = [
        helper.make_node("Mul", [INPUT, "geoseg.255"], ["geoseg.scaled"]),
        helper.make_node("Round", ["geoseg.scaled"], ["geoseg.rounded"]),
        helper.make_node("Clip", ["geoseg.rounded", "geoseg.0", "geoseg.255"], ["geoseg.clipped"]),
        helper.make_node("Cast", ["geoseg.clipped"], [PIXELS], to=TensorProto.UINT8),
        *graph.node,
    ]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    for value in (0.0, 255.0):
        graph.initializer.append(helper.make_tensor(f"geoseg.{value:g}", TensorProto.FLOAT, [], [value]))
    for values, name, count in ((graph.input, INPUT, len(package.bands)), (graph.output, OUTPUT, len(package.legend))):
        values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", count, side, side]))
    with replace_file(output) as draft:
        draft.write_bytes(model.SerializeToString(deterministic=True))


def describe_for_deepness(package: ModelPackage) -> dict[str, object]:
    """What the plugin reads of a model; it encodes each value in JSON.

    The tile's size goes by two names: by one in its documentation, by the other in its code.
    """
    bands = len(package.bands)
    return {
        "model_type": "Segmentor",
        "class_names": {str(c.id): c.name for c in package.legend.classes},
        "resolution": 100 * package.ground_resolution_m,
        "tile_size": package.patch_px,
        "tiles_size": package.patch_px,
        "tiles_overlap": math.ceil(200 * package.halo_px / package.patch_px),
        "standardization_mean": [0.0] * bands,
        "standardization_std": [1.0] * bands,
        "seg_thresh": 0.0,
        "seg_small_segment": 0,
    }
