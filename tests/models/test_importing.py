"""Models made elsewhere give the same classes once they are packages."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from geoseg.errors import ModelError, OptionError, OutputError
from geoseg.legend import LAND_COVER, ClassLegend, LegendClass
from geoseg.models.engine import PatchGeometry, open_engine
from geoseg.models.generated import generate_image
from geoseg.models.importing import import_onnx
from geoseg.models.onnx_engine import OnnxEngine
from geoseg.models.package import load_package
from geoseg.models.torch_engine import load_network
from geoseg.models.verify import verify_package
from geoseg.models.wrap import Wrapping, wrap_graph

RGB = ("red", "green", "blue")
SIDE_PX = 128
GEOMETRY = PatchGeometry(SIDE_PX, 0, SIDE_PX, SIDE_PX)
TWO = ClassLegend((LegendClass(0, "rest", (0, 0, 0), "background"), LegendClass(1, "roof", (255, 0, 0), "building")))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    return generate_image(3, SIDE_PX, seed=4)


def write_keras_like(path: Path, *, outputs: int, stride: int = 1, fixed: bool = False, opset: int = 13) -> Path:
    """A network as tf2onnx writes it: NHWC outside, transposes, a bias by an addition, constants in nodes."""
    random = np.random.default_rng(7)
    kernels = random.normal(0, 0.4, (8, 3, 5, 5)).astype(np.float32)
    head = random.normal(0, 1, (outputs, 8, 1, 1)).astype(np.float32)
    bias = random.normal(0, 0.5, (1, 8, 1, 1)).astype(np.float32)
    # 8 x 1 numbers more than the limit below which constants stay in the graph.
    extra = numpy_helper.from_array(np.tile(bias, (1, 1, 4, 4)), "ignored")
    nodes = [
        helper.make_node("Transpose", ["input_1:0"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "kernels"], ["c"], pads=[2, 2, 2, 2], strides=[stride, stride]),
        helper.make_node("Constant", [], ["bias"], value=numpy_helper.from_array(bias)),
        helper.make_node("Constant", [], ["large"], value=extra),
        helper.make_node("ReduceMean", ["large"], ["mean_bias"], axes=[2, 3], keepdims=1),
        helper.make_node("Add", ["c", "mean_bias"], ["b"]),
        helper.make_node("Relu", ["b"], ["r"]),
        helper.make_node("Conv", ["r", "head"], ["s"]),
        helper.make_node("Transpose", ["s"], ["Identity:0"], perm=[0, 2, 3, 1]),
    ]
    rows = SIDE_PX if fixed else "h"
    cols = SIDE_PX if fixed else "w"
    graph = helper.make_graph(
        nodes,
        "keras",
        [helper.make_tensor_value_info("input_1:0", TensorProto.FLOAT, ["n", rows, cols, 3])],
        [helper.make_tensor_value_info("Identity:0", TensorProto.FLOAT, ["n", None, None, outputs])],
        [numpy_helper.from_array(kernels, "kernels"), numpy_helper.from_array(head, "head")],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 2)]
    onnx.save(helper.make_model(graph, ir_version=7, opset_imports=opsets, producer_name="tf2onnx"), path)
    return path


def run_original(path: Path, image: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def test_a_torch_export_gives_the_same_classes(tmp_path: Path, image: NDArray[np.uint8]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1)).eval()
    free = torch.export.Dim.DYNAMIC
    torch.onnx.export(
        network,
        (torch.zeros(2, 3, 64, 96),),
        tmp_path / "net.onnx",
        dynamo=True,
        verbose=False,
        # Weights in a file beside it, as torch writes large ones.
        external_data=True,
        dynamic_shapes=({0: free, 2: free, 3: free},),
    )
    package = import_onnx(
        tmp_path / "net.onnx",
        tmp_path / "net",
        name="from-torch",
        bands=RGB,
        legend=LAND_COVER,
        ground_resolution_m=0.3,
        mean=MEAN,
        std=STD,
        patch_px=SIDE_PX,
    )
    scaled = (torch.from_numpy(image)[None] / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.inference_mode():
        wanted = torch.softmax(network(scaled), dim=1).numpy()
    engine = OnnxEngine(package, GEOMETRY)
    found = engine.predict_probabilities(image[None])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert engine.takes_any_size
    # Five pixels see nothing beyond them: one row of halo hides every seam.
    assert (package.halo_px, package.seam_error) == (32, 0)
    assert package.provenance["halo measured on"] == "an image made by code"
    hashes = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in tmp_path.glob("net.onnx*")}
    assert len(hashes) == 2
    assert package.provenance["imported from"] == hashes
    assert load_package(package.path) == package
    assert verify_package(package.path).is_sound


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is not measured, which takes a process of its own."""
    monkeypatch.setattr("geoseg.models.finishing.measure_workspace", lambda *_: 1000.0)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("opset", [11, 13])
def test_a_keras_export_gives_the_same_classes(tmp_path: Path, image: NDArray[np.uint8], opset: int) -> None:
    path = write_keras_like(tmp_path / "keras.onnx", outputs=4, opset=opset)
    package = import_onnx(
        path,
        tmp_path / "keras",
        name="from-keras",
        bands=RGB,
        legend=LAND_COVER,
        ground_resolution_m=0.5,
        layout="NHWC",
        input_range=(-1, 1),
        patch_px=SIDE_PX,
        images=[generate_image(3, SIDE_PX + 32)],
        licences={"model": "MIT"},
    )
    scores = run_original(path, (image / 127.5 - 1).astype(np.float32).transpose(1, 2, 0)[None])
    found = OnnxEngine(package, GEOMETRY).predict_probabilities(image[None])
    assert (found.argmax(axis=1) == scores.argmax(axis=3)).mean() > 0.9999
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert package.provenance["producer"] == "tf2onnx"
    assert package.provenance["licences"] == {"model": "MIT"}
    assert package.provenance["halo measured on"] == "1 images"


@pytest.mark.usefixtures("unmeasured")
def test_a_fixed_size_a_stride_and_a_sigmoid(tmp_path: Path, image: NDArray[np.uint8]) -> None:
    path = write_keras_like(tmp_path / "keras.onnx", outputs=1, stride=2, fixed=True)
    package = import_onnx(
        path,
        tmp_path / "keras",
        name="roofs",
        bands=RGB,
        legend=TWO,
        ground_resolution_m=0.5,
        layout="NHWC",
        activation="sigmoid",
    )
    assert package.patch_px == SIDE_PX
    assert package.metrics["halo"]["against"] != "whole image"
    engine = open_engine(package, PatchGeometry(SIDE_PX, package.halo_px, 8, 8), device="auto")
    assert isinstance(engine, OnnxEngine)
    assert not engine.takes_any_size
    score = run_original(path, (image / 255).astype(np.float32).transpose(1, 2, 0)[None])[0, :, :, 0]
    enlarged = torch.nn.functional.interpolate(torch.from_numpy(score)[None, None], scale_factor=2, mode="bilinear")
    found = engine.predict_probabilities(image[None])
    np.testing.assert_allclose(found[0, 1], torch.sigmoid(enlarged)[0, 0].numpy(), atol=1e-4)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


@pytest.mark.usefixtures("unmeasured")
def test_torch_says_that_it_does_not_know_the_network(tmp_path: Path) -> None:
    path = write_keras_like(tmp_path / "keras.onnx", outputs=2)
    package = import_onnx(
        path,
        tmp_path / "k",
        name="roofs",
        bands=RGB,
        legend=TWO,
        ground_resolution_m=0.5,
        layout="NHWC",
        patch_px=SIDE_PX,
    )
    with pytest.raises(ModelError, match="only the ONNX graph"):
        load_network(package)
    item = json.loads((package.path / "model.json").read_text())
    assert item["properties"]["mlm:framework"] == "ONNX"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bands": ("red",)}, "bands"),
        ({"layout": "NCHW"}, "NCHW"),
        ({"legend": TWO}, "4 outputs"),
        ({"activation": "none"}, "sum to"),
        ({"patch_px": 100}, "multiple of 32"),
        ({"mean": (1.0,)}, "numbers each"),
        ({"input_range": (1.0, 0.0)}, "range"),
        ({"name": "No Name"}, "id"),
        ({"images": [np.zeros((3, 64, 64), np.uint8)]}, "images of"),
    ],
)
def test_options_that_do_not_fit_the_model_are_refused(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    path = write_keras_like(tmp_path / "keras.onnx", outputs=4)
    options = {
        "name": "from-keras",
        "bands": RGB,
        "legend": LAND_COVER,
        "ground_resolution_m": 0.5,
        "layout": "NHWC",
        "patch_px": SIDE_PX,
    }
    with pytest.raises((ModelError, OptionError), match=said):
        import_onnx(path, tmp_path / "out", **{**options, **changes})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["pickle", "operator", "opset", "outputs", "weightless"])
def test_files_that_are_no_such_model_are_refused(tmp_path: Path, kind: str) -> None:
    path = write_keras_like(tmp_path / "keras.onnx", outputs=4)
    model = onnx.load(path)
    if kind == "operator":
        model.graph.node[6].domain = "com.example"
    elif kind == "opset":
        model.opset_import[0].version = 9
    elif kind == "outputs":
        model.graph.output.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, None))
    elif kind == "weightless":
        del model.graph.node[1:], model.graph.initializer[:]
        model.graph.node.append(helper.make_node("Transpose", ["nchw"], ["Identity:0"], perm=[0, 2, 3, 1]))
        model.graph.output[0].type.tensor_type.shape.dim[3].dim_value = 3
    data = pickle.dumps({"weights": [1]}) if kind == "pickle" else model.SerializeToString()
    path.write_bytes(data)
    legend = ClassLegend(LAND_COVER.classes[:3]) if kind == "weightless" else LAND_COVER
    with pytest.raises(ModelError, match=r"keras\.onnx"):
        import_onnx(
            path,
            tmp_path / "out",
            name="from-keras",
            bands=RGB,
            legend=legend,
            ground_resolution_m=0.5,
            layout="NHWC",
            patch_px=SIDE_PX,
        )
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_package_is_left_alone(tmp_path: Path) -> None:
    path = write_keras_like(tmp_path / "keras.onnx", outputs=4)
    output = tmp_path / "photos"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    given = {"name": "from-keras", "bands": RGB, "legend": LAND_COVER, "ground_resolution_m": 0.5}
    with pytest.raises(OutputError, match="no model package"):
        import_onnx(path, output, layout="NHWC", patch_px=SIDE_PX, **given)
    assert [(p.name, p.read_text()) for p in output.iterdir()] == [("notes.txt", "mine")]
    assert {p.name for p in tmp_path.iterdir()} - {"cache"} == {"keras.onnx", "photos"}


def test_no_class_at_all_gives_no_division_by_zero() -> None:
    score = np.full((1, 3, 2, 2), -200.0, np.float32)
    score[0, 1, 0, 0] = 200
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "score"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, 2, 2])],
        [numpy_helper.from_array(score, "score")],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    wrapping = Wrapping([0.0] * 3, [1.0] * 3, "NCHW", "sigmoid", 3, 3, False, 2)
    session = onnxruntime.InferenceSession(wrap_graph(model, wrapping).SerializeToString())
    (found,) = session.run(None, {"images": np.zeros((1, 3, 2, 2), np.uint8)})
    assert np.isfinite(found).all()
    assert found[0, :, 0, 0].tolist() == [0, 1, 0]
    assert not found[0, :, 1, 1].any()
