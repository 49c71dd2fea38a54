"""Models trained elsewhere become packages: from ONNX, whatever wrote it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.inliner import inline_local_functions
from safetensors.numpy import save_file

from geoseg.errors import ModelError, OptionError
from geoseg.legend import ClassLegend
from geoseg.models.engine import PatchGeometry
from geoseg.models.export import write_graph
from geoseg.models.finishing import draft_folder, finish_package
from geoseg.models.generated import generate_image
from geoseg.models.graph import check_operators, list_tensors, point_tensor
from geoseg.models.halo import check_sizes
from geoseg.models.manifest import GRAPH, MAX_PATCH_PX, STRIDE_PX, WEIGHTS, ModelPackage
from geoseg.models.onnx_engine import OnnxEngine
from geoseg.models.package import write_package
from geoseg.models.weights import read_weights_header
from geoseg.models.wrap import Activation, Layout, Wrapping, wrap_graph

INLINE_VALUES = 16
"""Tensors up to this many values stay in the graph: sizes, axes and limits that ONNX Runtime wants to see."""
MIN_OPSET = 11
TOLERANCE = 1e-3


def import_onnx(
    path: Path,
    output: Path,
    *,
    name: str,
    bands: tuple[str, ...],
    legend: ClassLegend,
    ground_resolution_m: float,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    input_range: tuple[float, float] = (0.0, 1.0),
    layout: Layout = "NCHW",
    activation: Activation = "softmax",
    patch_px: int = 512,
    images: Sequence[NDArray[np.uint8]] = (),
    version: str = "1.0",
    summary: str = "A model trained elsewhere.",
    licences: Mapping[str, str] | None = None,
) -> ModelPackage:
    """Make a package of an ONNX model with one input and one output.

    Pixel values 0 to 255 are brought to `input_range`, then `mean` is taken off and divided by `std`.

    Args:
        path: the ONNX file; weights in files beside it are read.
        output: the package's folder; one of that name is replaced when all has succeeded.
        name: of the package.
        bands: names, in the order of the model's input.
        legend: its classes, in the order of the model's output; one more than it has outputs, background first, where
            background is what no output claims.
        ground_resolution_m: size on the ground of a pixel that the model was trained on, in metres.
        mean: per band, within `input_range`; default: 0.
        std: per band, within `input_range`; default: 1.
        input_range: what 0 and 255 become.
        layout: "NCHW", or "NHWC" as TensorFlow has it.
        activation: what is still to be done to the output: "softmax", "sigmoid" or "none".
        patch_px: side of the patches, in model pixels; of a model with a fixed input size that size is taken.
        images: uint8 (B, H, W), 0 to 255, at `ground_resolution_m`, H and W at least a patch, for the halo; default:
            one made by code, which the package says.
        version: of the package.
        summary: what the model is for, one paragraph of the model card.
        licences: of the model and its training data, by source.

    Raises:
        ModelError: the file is no such model, or does not give probabilities.
        OptionError: options do not fit the model or each other.
        OutputError: the folder cannot be written.
    """
    low, span = input_range[0], input_range[1] - input_range[0]
    mean, std = tuple(mean) or (0.0,) * len(bands), tuple(std) or (1.0,) * len(bands)
    if span <= 0 or not len(mean) == len(std) == len(bands) or min(std) <= 0:
        raise OptionError(
            f"mean {mean}, std {std}, input range {input_range}",
            expected=f"{len(bands)} numbers each, std above 0, a range from low to high",
        )
    model = _read_foreign(path)
    side_px = _find_fixed_side(path, model, bands=len(bands), layout=layout)
    patch_px = side_px or patch_px
    if patch_px % STRIDE_PX or not 0 < patch_px <= MAX_PATCH_PX:
        raise OptionError(
            f"a patch of {patch_px} px",
            expected=f"a multiple of {STRIDE_PX}, at most {MAX_PATCH_PX}",
            remedy="export the model with another or a free input size",
        )
    chosen = list(images) or [generate_image(len(bands), patch_px + patch_px // 2)]
    check_sizes(chosen, patch_px)
    outputs, is_enlarged = _probe(path, layout=layout, shape=(len(bands), patch_px, patch_px))
    if outputs not in (len(legend), len(legend) - 1):
        raise OptionError(
            f"a legend of {len(legend)} classes for {outputs} outputs",
            expected=f"{outputs} classes, or {outputs + 1} with background first",
        )
    wrapping = Wrapping(
        mean=[255 * (m - low) / span for m in mean],
        std=[255 * s / span for s in std],
        layout=layout,
        activation=activation,
        outputs=outputs,
        classes=len(legend),
        is_enlarged=is_enlarged,
        side_px=side_px,
    )
    wrapped = wrap_graph(model, wrapping)
    with draft_folder(output) as draft:
        _store_weights(wrapped.graph, draft, path)
        write_graph(wrapped, draft / GRAPH)
        package = ModelPackage(
            path=draft,
            name=name,
            version=version,
            network={},
            bands=bands,
            mean=tuple(wrapping.mean),
            std=tuple(wrapping.std),
            legend=legend,
            ground_resolution_m=ground_resolution_m,
            patch_px=patch_px,
            halo_px=0,
            seam_error=1.0,
            workspace_bytes_per_px=1.0,
            metrics={},
            provenance={
                "imported from": _hash_files(path),
                "producer": f"{model.producer_name} {model.producer_version}".strip() or "unknown",
                "layout": layout,
                "activation": activation,
                "halo measured on": f"{len(images)} images" if images else "an image made by code",
                "licences": dict(licences or {"model": "unknown"}),
            },
        )
        package = write_package(package, card=f"# {name}\n")
        _check_probabilities(package, chosen[0][None, :, :patch_px, :patch_px])
        package = finish_package(package, chosen, summary=summary)
    return replace(package, path=output)


def _read_foreign(path: Path) -> onnx.ModelProto:
    try:
        model: onnx.ModelProto = inline_local_functions(onnx.load(path))
    # Of what onnx raises, decoding, checking and reading share no base.
    except Exception as error:
        raise ModelError(f"{path}: no ONNX model that can be read ({error})"[:300], expected="an ONNX file") from error
    used = {"", "ai.onnx", *(n.domain for n in model.graph.node)}
    opsets = [o for o in model.opset_import if o.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    check_operators(model, path)
    version = next((o.version for o in opsets if o.domain in ("", "ai.onnx")), 0)
    if version < MIN_OPSET:
        raise ModelError(
            f"{path}: opset {version}", expected=f"opset {MIN_OPSET} or newer", remedy="export it with a newer opset"
        )
    return model


def _hash_files(path: Path) -> dict[str, str]:
    """SHA-256 in hex of the ONNX file and of those its weights lie in, by name."""
    tensors = list_tensors(onnx.load(path, load_external_data=False).graph)
    outside = {e.value for t in tensors for e in t.external_data if e.key == "location"}
    hashes = {}
    for name in (path.name, *sorted(outside)):
        with (path.parent / name).open("rb") as file:
            hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def _find_fixed_side(path: Path, model: onnx.ModelProto, *, bands: int, layout: Layout) -> int | None:
    known = {t.name for t in model.graph.initializer}
    inputs = [v for v in model.graph.input if v.name not in known]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise ModelError(
            f"{path}: {len(inputs)} inputs and {len(model.graph.output)} outputs",
            expected="one each",
            remedy="export the segmentation head alone",
        )
    dims = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim]
    if len(dims) != 4:
        raise ModelError(f"{path}: an input of {len(dims)} axes", expected=f"4 axes, {layout}")
    batch, channels, rows, cols = (dims[layout.index(axis)] for axis in "NCHW")
    # An axis of any size is 0 here, or below.
    if batch > 1 or rows != cols or (channels > 0 and channels != bands):
        raise ModelError(
            f"{path}: an input of {dims} in {layout}",
            expected=f"one image at a time, {bands} bands, square",
            remedy="check layout and bands, or export with free axes",
        )
    return rows if rows > 0 else None


def _probe(path: Path, *, layout: Layout, shape: tuple[int, int, int]) -> tuple[int, bool]:
    """Channels of the model's output, and whether it is smaller than the input."""
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        source = session.get_inputs()[0]
        kind = {"tensor(float16)": np.float16, "tensor(double)": np.float64, "tensor(uint8)": np.uint8}
        image = np.zeros((1, *shape), kind.get(source.type, np.float32))
        if layout == "NHWC":
            image = image.transpose(0, 2, 3, 1)
        found = session.run(None, {source.name: image})[0].shape
    # ONNX Runtime's exceptions share no base of their own.
    except Exception as error:
        raise ModelError(f"{path}: {error}"[:400], expected=f"a model that takes {layout} images of {shape}") from error
    if len(found) != 4:
        raise ModelError(f"{path}: an output of {found}", expected=f"scores by class and pixel, {layout}")
    channels, rows, cols = (found[layout.index(axis)] for axis in "CHW")
    return channels, (rows, cols) != shape[1:]


def _store_weights(graph: onnx.GraphProto, folder: Path, path: Path) -> None:
    """Move the graph's larger tensors of float16 and float32 into the weights' file."""
    _hoist_constants(graph)
    tensors = [t for t in graph.initializer if _is_weight(t)]
    if not tensors:
        raise ModelError(f"{path}: no weights in the graph", expected="weights in float32 or float16")
    arrays: dict[str, NDArray[Any]] = {t.name: np.ascontiguousarray(numpy_helper.to_array(t)) for t in tensors}
    save_file(arrays, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)
    entries = read_weights_header(folder / WEIGHTS)
    for tensor in tensors:
        point_tensor(tensor, entries[tensor.name])


def _hoist_constants(graph: onnx.GraphProto) -> None:
    nodes = []
    for node in graph.node:
        value = next((a.t for a in node.attribute if node.op_type == "Constant" and a.name == "value"), None)
        if value is None or not _is_weight(value):
            nodes.append(node)
            continue
        value.name = node.output[0]
        graph.initializer.append(value)
    del graph.node[:]
    graph.node.extend(nodes)


def _is_weight(tensor: onnx.TensorProto) -> bool:
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    return tensor.data_type in kinds and int(np.prod(tensor.dims)) > INLINE_VALUES


def _check_probabilities(package: ModelPackage, images: NDArray[np.uint8]) -> None:
    side = package.patch_px
    engine = OnnxEngine(package, PatchGeometry(side, 0, side, side))
    found = engine.predict_probabilities(np.ascontiguousarray(images))
    total = found.sum(axis=1)
    if not (np.isfinite(found).all() and found.min() >= -TOLERANCE and np.abs(total - 1).max() <= TOLERANCE):
        raise OptionError(
            f"outputs from {found.min():.3g} to {found.max():.3g} that sum to {total.min():.3g} to {total.max():.3g}",
            expected="probabilities, which sum to 1",
            remedy="tell what the output still needs: activation softmax or sigmoid",
        )
