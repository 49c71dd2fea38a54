"""ONNX Runtime on the processor."""

from __future__ import annotations

from functools import cache, cached_property

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from geoseg.errors import ModelError
from geoseg.models.crop import PatchPart, crop_patch
from geoseg.models.engine import PatchGeometry, check_images, takes_any_size
from geoseg.models.graph import check_graph
from geoseg.models.manifest import REMEDY, ModelPackage
from geoseg.models.resample import Taps, classify_core
from geoseg.models.tail import crop_tail, split_softmax


class OnnxEngine:
    """One thread and one image per run, so that neither changes a result; concurrent calls share one session."""

    batch_size = 1

    def __init__(self, package: ModelPackage, geometry: PatchGeometry) -> None:
        self.package, self.geometry, self.bands = package, geometry, len(package.bands)
        self.takes_any_size = takes_any_size(package)
        whole = slice(0, geometry.patch_px)
        self._whole = PatchPart((slice(None), slice(None)), (whole, whole), geometry.row_taps, geometry.col_taps)
        self._shape = 1, self.bands, geometry.patch_px, geometry.patch_px
        model = _fix_shape(check_graph(package), self._shape)
        self._lost_px = crop_tail(model, patch_px=geometry.patch_px, halo_px=geometry.halo_px)
        self._core_session = open_session(package, model)

    @property
    def identity(self) -> str:
        """Model, runtime and arithmetic."""
        return f"{self.package.fingerprint} onnxruntime {onnxruntime.__version__} cpu float32"

    @property
    def workspace_bytes(self) -> int:
        """Measured growth per patch pixel, and the answer, in bytes."""
        geometry = self.geometry
        answer_px = geometry.core_rows_px * geometry.core_cols_px
        return int(self.package.workspace_bytes_per_px * geometry.patch_px**2) + 2 * answer_px

    def predict(
        self, images: NDArray[np.uint8], asked: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """See `Engine.predict`."""
        check_images(images, self.bands, self.geometry)
        shape = (len(images), self.geometry.core_rows_px, self.geometry.core_cols_px)
        classes, confidence = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        for i in range(len(images)):
            part = crop_patch(asked[i], self.geometry) if asked is not None and self.takes_any_size else None
            part = part or self._whole
            image = np.ascontiguousarray(images[i : i + 1, :, *part.patch])
            classes[i, *part.core], confidence[i, *part.core] = self._predict_core(image, part)
        return classes, confidence

    def _predict_core(self, image: NDArray[np.uint8], part: PatchPart) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        session = self._core_session if image.shape == self._shape else self._part_session
        (probabilities,) = session.run(["probabilities"], {"images": image})
        rows, cols = (Taps(taps.starts - self._lost_px, taps.weights) for taps in (part.rows, part.cols))
        return classify_core(probabilities[0], rows, cols)

    def predict_probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Class probabilities of images of any size, a multiple of 32.

        Args:
            images: uint8 (N, bands, H, W), 0 to 255.

        Returns:
            float32 (N, C, H, W), 0 to 1.
        """
        session = self._whole_session if images.shape == self._shape else self._free_session
        (probabilities,) = session.run(["probabilities"], {"images": images})
        return probabilities  # type: ignore[no-any-return]

    @cached_property
    def _part_session(self) -> onnxruntime.InferenceSession:
        model = _fix_shape(check_graph(self.package), self._shape)
        crop_tail(model, patch_px=self.geometry.patch_px, halo_px=self.geometry.halo_px)
        for dim, name in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], ("height", "width"), strict=True):
            dim.dim_param = name
        return open_session(self.package, model)

    @cached_property
    def _whole_session(self) -> onnxruntime.InferenceSession:
        return open_session(self.package, _fix_shape(check_graph(self.package), self._shape))

    @cached_property
    def _free_session(self) -> onnxruntime.InferenceSession:
        return open_session(self.package)


def open_session(package: ModelPackage, model: onnx.ModelProto | None = None) -> onnxruntime.InferenceSession:
    """A single-threaded session of the package's graph.

    Args:
        package: the model.
        model: the package's graph, checked and made ready for one purpose; default: as it is, for images of any size.

    Raises:
        ModelError: the graph is not to be trusted, does not load, or its input and output do not fit the package.
    """
    model = model or check_graph(package)
    split_softmax(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Planning the whole run's memory nearly doubles it: 748 instead of 404 bytes per pixel of a MobileNetV2 U-Net.
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    _share_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(package.path))
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    # ONNX Runtime's exceptions share no base of their own.
    except Exception as error:
        raise ModelError(
            f"{package.graph}: {error}"[:400], expected="a graph that ONNX Runtime loads", remedy=REMEDY
        ) from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    found = [(v.name, v.type, v.shape[1] if len(v.shape) == 4 else v.shape) for v in (*inputs, *outputs)]
    wanted = [
        ("images", "tensor(uint8)", len(package.bands)),
        ("probabilities", "tensor(float)", len(package.legend)),
    ]
    if found != wanted:
        raise ModelError(f"{package.graph}: {found}", expected=f"{wanted} (name, type, channels)", remedy=REMEDY)
    return session


def _fix_shape(model: onnx.ModelProto, shape: tuple[int, ...]) -> onnx.ModelProto:
    """State the size of all images to come: what is known beforehand takes a third less memory."""
    for value in model.graph.input[:1]:
        for dim, size in zip(value.type.tensor_type.shape.dim, shape, strict=False):
            if dim.dim_param:
                dim.dim_value = size
    return model


@cache
def _share_arena() -> None:
    """One arena for all sessions of the process: each would keep for itself what it once took."""
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(memory, None)
