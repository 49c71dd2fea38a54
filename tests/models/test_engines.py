"""What every engine keeps to."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from geoseg.errors import BudgetError, OptionError
from geoseg.models.engine import Engine, PatchGeometry, open_engine
from geoseg.models.onnx_engine import OnnxEngine, open_session
from geoseg.models.package import ModelPackage
from geoseg.models.resample import classify_core
from geoseg.models.torch_engine import TorchEngine
from tests.fakes import FakeEngine
from tests.models.conftest import PATCH_PX

OpenEngine = Callable[[PatchGeometry], Engine]
SAME = PatchGeometry(PATCH_PX, 32, 64, 64)
FINER = PatchGeometry(PATCH_PX, 32, 160, 201)
COARSER = PatchGeometry(PATCH_PX, 32, 40, 17)
GEOMETRIES = [SAME, FINER, COARSER]


@pytest.fixture(params=["onnx", "torch", "fake", pytest.param("cuda", marks=pytest.mark.gpu)])
def open_one(request: pytest.FixtureRequest, package: ModelPackage) -> OpenEngine:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return {
        "onnx": lambda geometry: OnnxEngine(package, geometry),
        "torch": lambda geometry: TorchEngine(package, geometry),
        "cuda": lambda geometry: TorchEngine(package, geometry, device="cuda"),
        "fake": FakeEngine,
    }[request.param]


@pytest.fixture(scope="module")
def patches(scenery: NDArray[np.uint8]) -> NDArray[np.uint8]:
    corners = [(0, 0), (32, 64), (7, 13)]
    return np.stack([scenery[:, r : r + PATCH_PX, c : c + PATCH_PX] for r, c in corners])


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_shapes_and_dtypes(open_one: OpenEngine, patches: NDArray[np.uint8], geometry: PatchGeometry) -> None:
    classes, confidence = open_one(geometry).predict(patches)
    assert classes.shape == confidence.shape == (3, geometry.core_rows_px, geometry.core_cols_px)
    assert classes.dtype == confidence.dtype == np.uint8
    assert classes.max() < 4
    # The largest of four probabilities is at least a quarter.
    assert confidence.min() >= 63


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_no_patch_depends_on_its_batch(
    open_one: OpenEngine, patches: NDArray[np.uint8], geometry: PatchGeometry
) -> None:
    engine = open_one(geometry)
    together = engine.predict(patches)
    alone = [engine.predict(patches[i : i + 1]) for i in range(len(patches))]
    for k in range(2):
        np.testing.assert_array_equal(together[k], np.concatenate([answer[k] for answer in alone]))


def test_no_patch_gives_nothing(open_one: OpenEngine, patches: NDArray[np.uint8]) -> None:
    assert open_one(SAME).predict(patches[:0])[0].shape == (0, 64, 64)


def test_threads_do_not_disturb_each_other(open_one: OpenEngine, patches: NDArray[np.uint8]) -> None:
    engine = open_one(FINER)
    expected = [engine.predict(patches[i : i + 1])[1] for i in range(3)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: engine.predict(patches[i % 3 : i % 3 + 1])[1], range(12)))
    for i, confidence in enumerate(found):
        np.testing.assert_array_equal(confidence, expected[i % 3])


@pytest.mark.parametrize("value", [0, 255])
def test_a_constant_image_is_nothing_special(open_one: OpenEngine, value: int) -> None:
    classes, confidence = open_one(FINER).predict(np.full((1, 3, PATCH_PX, PATCH_PX), value, np.uint8))
    assert classes.max() < 4
    assert confidence.min() >= 63


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 3, 64, 64), np.uint8),
        np.zeros((1, 4, PATCH_PX, PATCH_PX), np.uint8),
        np.zeros((3, PATCH_PX, PATCH_PX), np.uint8),
        np.zeros((1, 3, PATCH_PX, PATCH_PX), np.float32),
    ],
)
def test_other_images_are_refused(open_one: OpenEngine, images: NDArray[np.uint8]) -> None:
    with pytest.raises(OptionError, match="expected: uint8"):
        open_one(SAME).predict(images)


def test_identity_and_workspace(open_one: OpenEngine) -> None:
    engine = open_one(SAME)
    assert engine.identity == open_one(FINER).identity
    assert engine.geometry == SAME
    assert engine.workspace_bytes >= 0
    assert engine.batch_size >= 1


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_onnx_runtime_agrees_with_torch(
    package: ModelPackage, patches: NDArray[np.uint8], geometry: PatchGeometry
) -> None:
    classes, confidence = OnnxEngine(package, geometry).predict(patches)
    wanted, wanted_confidence = TorchEngine(package, geometry).predict(patches)
    assert (classes == wanted).mean() > 0.9999
    assert np.abs(confidence.astype(int) - wanted_confidence).max() <= 1


def test_bfloat16_agrees_with_float32(package: ModelPackage, patches: NDArray[np.uint8]) -> None:
    classes, confidence = TorchEngine(package, FINER, dtype=torch.bfloat16).predict(patches)
    wanted, wanted_confidence = TorchEngine(package, FINER).predict(patches)
    assert (classes == wanted).mean() > 0.98
    assert np.abs(confidence.astype(float) - wanted_confidence).mean() < 2


@pytest.mark.gpu
def test_cuda_agrees_with_the_processor(package: ModelPackage, patches: NDArray[np.uint8]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    classes, _ = TorchEngine(package, FINER, device="cuda").predict(patches)
    wanted, _ = OnnxEngine(package, FINER).predict(patches)
    # bfloat16 keeps 8 bits.
    assert (classes == wanted).mean() > 0.98


def test_engines_answer_for_the_core_only(package: ModelPackage, patches: NDArray[np.uint8]) -> None:
    engine = OnnxEngine(package, SAME)
    probabilities = engine.predict_probabilities(patches[:1])[0, :, 32:-32, 32:-32]
    classes, confidence = engine.predict(patches[:1])
    np.testing.assert_array_equal(classes[0], probabilities.argmax(axis=0))
    np.testing.assert_array_equal(confidence[0], np.rint(np.float32(255) * probabilities.max(axis=0)))


def test_torch_halves_the_batch_when_memory_runs_out(
    package: ModelPackage,
    patches: NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = TorchEngine(package, SAME)
    expected = engine.predict(patches)
    predict_batch = engine._predict_batch

    def fail_above_two(images: NDArray[np.uint8], size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        if size > 2:
            raise torch.OutOfMemoryError("too much")
        return predict_batch(images, size)

    engine.batch_size = 8
    monkeypatch.setattr(engine, "_predict_batch", fail_above_two)
    found = engine.predict(patches)
    assert engine.batch_size == 2
    assert "out of memory" in caplog.text
    np.testing.assert_array_equal(found[0], expected[0])


def test_threads_that_run_out_of_memory_together_go_on_together(
    package: ModelPackage, patches: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = TorchEngine(package, SAME, batch_size=8)
    expected, classify = TorchEngine(package, SAME).predict(patches), engine._classify

    def fail_above_two(images: torch.Tensor) -> torch.Tensor:
        if len(images) > 2:
            raise torch.OutOfMemoryError("too much")
        return classify(images)

    monkeypatch.setattr(engine, "_classify", fail_above_two)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: engine.predict(patches)[0], range(8)))
    assert engine.batch_size == 2
    assert "out of memory" in caplog.text
    for classes in found:
        np.testing.assert_array_equal(classes, expected[0])


def test_a_device_that_cannot_hold_a_single_patch(
    package: ModelPackage, patches: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TorchEngine(package, SAME, batch_size=2)

    def fail(_images: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("too much")

    monkeypatch.setattr(engine, "_classify", fail)
    with pytest.raises(BudgetError, match="does not fit"):
        engine.predict(patches)


def test_a_size_known_beforehand_changes_no_bit(package: ModelPackage, patches: NDArray[np.uint8]) -> None:
    session = open_session(package)
    (free,) = session.run(["probabilities"], {"images": patches[:1]})
    np.testing.assert_array_equal(OnnxEngine(package, SAME).predict_probabilities(patches[:1]), free)


def test_open_engine_takes_the_processor_when_told(package: ModelPackage) -> None:
    assert isinstance(open_engine(package, SAME, device="cpu"), OnnxEngine)
    with pytest.raises(OptionError, match="tpu"):
        open_engine(package, SAME, device="tpu")  # type: ignore[arg-type]


@pytest.mark.parametrize("sizes", [(100, 32, 36, 36), (128, 64, 1, 1), (128, 20, 88, 88), (128, 32, 0, 5)])
def test_geometries_that_cannot_be_are_refused(sizes: tuple[int, int, int, int]) -> None:
    with pytest.raises(OptionError, match="patch"):
        PatchGeometry(*sizes)


def test_of_equal_probabilities_the_lowest_id_wins() -> None:
    probabilities = np.full((4, PATCH_PX, PATCH_PX), 0.25, np.float32)
    probabilities[:, :, :64] = np.array([0.1, 0.4, 0.1, 0.4], np.float32)[:, None, None]
    classes, _ = classify_core(probabilities, SAME.row_taps, SAME.col_taps)
    assert (classes[:, :32] == 1).all()
    assert (classes[:, 32:] == 0).all()
