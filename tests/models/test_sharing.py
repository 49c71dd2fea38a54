"""Packages for other programs, and packages checked as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from geoseg.errors import ModelError
from geoseg.models.manifest import ModelPackage
from geoseg.models.onnx_engine import OnnxEngine
from geoseg.models.package import load_package, write_package
from geoseg.models.sharing import export_package
from geoseg.models.verify import verify_package
from tests.models.conftest import PATCH_PX
from tests.models.test_engines import SAME
from tests.models.test_package import CopyPackage


def run_as_deepness(path: Path, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Feed tiles, uint8 (N, H, W, C), the way the plugin does, from the file alone."""
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    meta = session.get_modelmeta().custom_metadata_map
    mean, std = (np.array(json.loads(meta[f"standardization_{k}"])) for k in ("mean", "std"))
    assert session.get_inputs()[0].shape[-3:] == [3, PATCH_PX, PATCH_PX]
    scaled = (np.float32(tiles * 1.0 / 255.0) - mean) / std
    image = np.transpose(scaled, (0, 3, 1, 2)).astype(np.float32)
    (answer,) = session.run(None, {session.get_inputs()[0].name: image})
    return answer


@pytest.mark.parametrize("refine", [True, False])
def test_deepness_gets_the_packages_answers_from_one_file(
    refined: ModelPackage, scenery: NDArray[np.uint8], tmp_path: Path, refine: bool
) -> None:
    path = tmp_path / "one.onnx"
    export_package(refined.path, path, onnx=True, refine=refine)
    tiles = np.stack([scenery[:, :PATCH_PX, c : c + PATCH_PX].transpose(1, 2, 0) for c in (0, 64)])
    found = run_as_deepness(path, tiles)
    engine = OnnxEngine(load_package(refined.path, refine=refine), SAME)
    wanted = engine.predict_probabilities(np.ascontiguousarray(tiles.transpose(0, 3, 1, 2)))
    # The engine writes the softmax another way, which rounds otherwise.
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(model)
    assert not any(t.external_data for t in model.graph.initializer)


def test_deepness_finds_what_it_reads(package: ModelPackage, tmp_path: Path) -> None:
    path = tmp_path / "one.onnx"
    export_package(package.path, path, onnx=True)
    values = {p.key: json.loads(p.value) for p in onnx.load(path).metadata_props}
    assert values["model_type"] == "Segmentor"
    assert values["class_names"] == {"0": "background", "1": "building", "2": "road", "3": "vegetation"}
    assert values["resolution"] == pytest.approx(40)
    assert values["tile_size"] == values["tiles_size"] == PATCH_PX
    # The plugin cuts to whole pixels: at least twice the halo must be left.
    assert int(PATCH_PX * values["tiles_overlap"] / 100) >= 2 * package.halo_px
    assert values["seg_thresh"] == 0


def test_sound_packages_pass(refined: ModelPackage, package: ModelPackage, tmp_path: Path) -> None:
    found = verify_package(refined.path)
    assert found.is_sound, found.format()
    assert sum("torch" in text for text in found.passed) == 2
    assert sum("checksum" in text for text in found.passed) == 5
    export_package(package.path, tmp_path / "small.zip")
    assert verify_package(tmp_path / "small.zip").is_sound


def test_every_fault_is_listed(copy_package: CopyPackage) -> None:
    copy = copy_package()
    (copy.path / "README.md").write_text("another card")
    weights = load_file(copy.weights)
    name = sorted(weights)[0]
    weights[name] = np.full_like(weights[name], np.nan)
    save_file(weights, copy.weights)
    found = verify_package(copy.path)
    assert not found.is_sound
    told = "\n".join(found.faults)
    for text in ("README.md", "checksum of weights.safetensors", "not finite"):
        assert text in told
    assert "description" in found.passed
    assert found.format().count("FAULT") == len(found.faults) >= 3


def test_weights_that_the_graph_computes_otherwise_are_found(copy_package: CopyPackage) -> None:
    copy = copy_package()
    # Checksums fit and every weight has its place, but one operator is another.
    model = onnx.load(copy.graph, load_external_data=False)
    relu = next(n for n in model.graph.node if n.op_type == "Relu")
    relu.op_type = "Identity"
    copy.graph.write_bytes(model.SerializeToString())
    altered = write_package(copy, card="x")
    (fault,) = verify_package(altered.path).faults
    assert "differ" in fault


def test_what_is_no_package_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.json"):
        verify_package(tmp_path)


def test_more_than_one_file_holds_is_refused(
    package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geoseg.models.deepness.MAX_BYTES", 1000)
    with pytest.raises(ModelError, match="small-1") as caught:
        export_package(package.path, tmp_path / "one.onnx", onnx=True)
    assert "zip" in caught.value.remedy
    assert not (tmp_path / "one.onnx").exists()
