"""What turns patches into classes: the contract, and the choice between engines."""

from __future__ import annotations

import ctypes
import logging
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import OptionError
from geoseg.models.manifest import STRIDE_PX, ModelPackage
from geoseg.models.resample import Taps, compute_taps

LOG = logging.getLogger(__name__)

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class PatchGeometry:
    """A square patch in model pixels, and the source pixels that its core covers.

    Args:
        patch_px: side of the patch, in model pixels, a multiple of 32.
        halo_px: what is dropped on each side, in model pixels, a multiple of 32.
        core_rows_px: height of the core, in source pixels.
        core_cols_px: width of the core, in source pixels.

    Raises:
        OptionError: the halo leaves no core, or a size is none.
    """

    patch_px: int
    halo_px: int
    core_rows_px: int
    core_cols_px: int

    def __post_init__(self) -> None:
        aligned = self.patch_px % STRIDE_PX == 0 and self.halo_px % STRIDE_PX == 0
        if not aligned or self.halo_px < 0 or self.core_px <= 0 or min(self.core_rows_px, self.core_cols_px) <= 0:
            raise OptionError(
                f"patch {self.patch_px} px, halo {self.halo_px} px, core {self.core_rows_px} x {self.core_cols_px} px",
                expected=f"multiples of {STRIDE_PX}, a halo below half of the patch, a core of at least one pixel",
                remedy="choose a larger patch or a smaller halo",
            )

    @property
    def core_px(self) -> int:
        """Side of the core in model pixels."""
        return self.patch_px - 2 * self.halo_px

    @property
    def row_taps(self) -> Taps:
        """From the patch's rows to the core's source rows."""
        return compute_taps(self.core_rows_px, patch_px=self.patch_px, halo_px=self.halo_px)

    @property
    def col_taps(self) -> Taps:
        """From the patch's columns to the core's source columns."""
        return compute_taps(self.core_cols_px, patch_px=self.patch_px, halo_px=self.halo_px)


class Engine(Protocol):
    """Runs one model at one patch geometry; `predict` may be called from several threads at once."""

    @property
    def geometry(self) -> PatchGeometry:
        """The patch it was opened for."""

    @property
    def bands(self) -> int:
        """Bands of an image."""

    @property
    def identity(self) -> str:
        """Model, runtime and arithmetic; part of a run's fingerprint."""

    @property
    def batch_size(self) -> int:
        """How many patches a call should bring to keep the device busy; no result depends on it."""

    @property
    def workspace_bytes(self) -> int:
        """What one `predict` call of one patch adds to the process's memory at its peak, estimated, in bytes."""

    def predict(
        self, images: NDArray[np.uint8], asked: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Class and confidence of the patches' cores, on the source's pixels.

        Args:
            images: uint8 (N, bands, patch_px, patch_px), 0 to 255.
            asked: bool (N, core_rows_px, core_cols_px), at least one true in each; elsewhere the answer means nothing,
                and an engine may leave out what only that would need; default: all.

        Returns:
            Class ids, uint8 (N, core_rows_px, core_cols_px), and rint(255 * largest probability), alike.

        Raises:
            OptionError: the images have another shape or dtype.
        """


def open_engine(package: ModelPackage, geometry: PatchGeometry, *, device: Device = "auto") -> Engine:
    """The engine for a device: torch on CUDA, ONNX Runtime on the processor; "auto" takes CUDA where there is one.

    A model made elsewhere, of which torch knows no network, runs on the processor always.

    Raises:
        OptionError: the device is unknown or not there.
        ModelError: the package's graph or weights cannot be run.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise OptionError(f"device {device!r}", expected="auto, cpu or cuda")
    if device != "cpu" and has_cuda():
        if package.network:
            from geoseg.models.torch_engine import TorchEngine  # noqa: PLC0415 (torch takes seconds and 200 MB)

            return TorchEngine(package, geometry, device="cuda")
        LOG.warning("%s has a graph but no network for torch: it runs on the processor", package.name)
    elif device == "cuda":
        raise OptionError(
            "no CUDA device that torch can use", expected="an NVIDIA GPU and its driver", remedy="use cpu"
        )
    from geoseg.models.onnx_engine import OnnxEngine  # noqa: PLC0415 (not needed beside CUDA)

    return OnnxEngine(package, geometry)


def takes_any_size(package: ModelPackage) -> bool:
    """Whether the model runs on images of any size, not on patches of `package.patch_px` alone.

    Raises:
        ModelError: there is no graph to ask.
    """
    if package.network:
        return True
    from geoseg.models.graph import read_graph  # noqa: PLC0415 (only models made elsewhere need to be looked into)

    inputs = read_graph(package.graph).graph.input
    return not (inputs and inputs[0].type.tensor_type.shape.dim[2].dim_value)


def has_cuda() -> bool:
    """Whether torch can use a CUDA device; torch is imported only where an NVIDIA driver is installed."""
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        import torch  # noqa: PLC0415 (torch takes seconds and 200 MB)

        return torch.cuda.is_available()
    return False


def check_images(images: NDArray[np.uint8], bands: int, geometry: PatchGeometry) -> None:
    """Refuse images that are not uint8 (N, bands, patch_px, patch_px).

    Raises:
        OptionError: they are not.
    """
    wanted = (bands, geometry.patch_px, geometry.patch_px)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != wanted:
        raise OptionError(
            f"images of {images.dtype} {images.shape}", expected=f"uint8 (N, {', '.join(map(str, wanted))})"
        )
