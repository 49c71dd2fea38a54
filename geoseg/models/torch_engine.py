"""torch: bfloat16 on CUDA, and float32 on the processor as the reference."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geoseg.errors import BudgetError, ModelError
from geoseg.models.engine import PatchGeometry, check_images
from geoseg.models.fields import REMEDY, is_text, matching
from geoseg.models.lanes import Lanes
from geoseg.models.manifest import ModelPackage
from geoseg.models.networks import NetworkSpec, build_network, read_weights
from geoseg.models.resample import Taps

LOG = logging.getLogger(__name__)
CUDA_BATCH_PX = 2**20
"""Pixels of a batch that keep a GPU busy; a batch that tiles cannot fill would be work for nothing."""
MAX_CHANNELS = 4096
NETWORK = "network."
"""What the names of a network's weights begin with where a refiner follows it."""


class TorchEngine:
    """One batch size for every run, short batches filled up, so that no result depends on how patches come in."""

    def __init__(
        self,
        package: ModelPackage,
        geometry: PatchGeometry,
        *,
        device: Literal["cpu", "cuda"] = "cpu",
        dtype: torch.dtype | None = None,
        batch_size: int | None = None,
    ) -> None:
        self.package, self.geometry, self.bands = package, geometry, len(package.bands)
        self.batch_size = batch_size or (max(1, CUDA_BATCH_PX // geometry.patch_px**2) if device == "cuda" else 1)
        self._device = torch.device(device)
        self._dtype = dtype or (torch.bfloat16 if device == "cuda" else torch.float32)
        network = load_network(package)
        # Statistics of 8 bits would cost more than they save: torch takes them in float32 beside any other type.
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.to(self._dtype)
        if device == "cuda":
            network = network.to(memory_format=torch.channels_last)
        self._segmenter = Segmenter(network, package.mean, package.std).to(self._device)
        self._rows, self._cols = (DeviceTaps.of(t, self._device) for t in (geometry.row_taps, geometry.col_taps))
        self._lanes: Lanes | None = None
        self._lanes_lock = threading.Lock()

    @property
    def identity(self) -> str:
        """Model, runtime and arithmetic."""
        name = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "cpu"
        return f"{self.package.fingerprint} torch {torch.__version__} {name} {self._dtype} batch {self.batch_size}"

    @property
    def workspace_bytes(self) -> int:
        """Images and answers; on the processor activations, about three times those of ONNX Runtime; in bytes."""
        geometry = self.geometry
        answer_px = geometry.core_rows_px * geometry.core_cols_px
        patch_px = geometry.patch_px**2
        if self._device.type == "cuda":
            return self.batch_size * (self.bands * patch_px + 2 * answer_px)
        return int(3 * self.package.workspace_bytes_per_px * patch_px) + 8 * len(self.package.legend) * answer_px

    def predict(
        self, images: NDArray[np.uint8], asked: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """See `Engine.predict`; a device without memory for a batch gets half of it from then on.

        Patches are computed whole, whatever is asked of them: one shape is what the device is fast at.

        Raises:
            BudgetError: the device cannot hold a single patch.
        """
        check_images(images, self.bands, self.geometry)
        shape = (len(images), self.geometry.core_rows_px, self.geometry.core_cols_px)
        classes, confidence = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
        done = 0
        while done < len(images):
            size = self.batch_size
            batch = images[done : done + size]
            try:
                answer = self._predict_batch(batch, size)
            except torch.OutOfMemoryError as error:
                self._shrink_batch(size, error)
                continue
            classes[done : done + size], confidence[done : done + size] = answer
            done += size
        return classes, confidence

    def predict_probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Segmenter.predict`."""
        return self._segmenter.predict(images)

    def _predict_batch(self, images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        return self._open_lanes(size).send(images)

    def _open_lanes(self, size: int) -> Lanes:
        with self._lanes_lock:
            if self._lanes is None or self._lanes.batch_size != size:
                # First let go of the larger ones.
                self._lanes = None
                geometry = self.geometry
                self._lanes = Lanes(
                    self._classify,
                    images=(size, self.bands, geometry.patch_px, geometry.patch_px),
                    answer=(2, size, geometry.core_rows_px, geometry.core_cols_px),
                    device=self._device,
                )
            return self._lanes

    def _classify(self, images: Tensor) -> Tensor:
        """Class and confidence, uint8 (2, N, rows, cols), of images, uint8 (N, B, P, P), all on the device."""
        probabilities = self._rows.resample(self._cols.resample(self._segmenter(images), dim=3), dim=2)
        best, classes = probabilities.max(dim=1)
        return torch.stack([classes.to(torch.uint8), (255 * best).round_().clamp_(max=255).to(torch.uint8)])

    def _shrink_batch(self, size: int, error: Exception) -> None:
        if size == 1:
            raise BudgetError(
                f"a patch of {self.geometry.patch_px} px does not fit the memory of {self._device}",
                remedy="use smaller patches, or the processor",
            ) from error
        # Another thread may have halved it already.
        self.batch_size = min(self.batch_size, size // 2)
        torch.cuda.empty_cache()
        LOG.warning("%s is out of memory with %d patches; going on with %d", self._device, size, self.batch_size)


@dataclass(frozen=True, slots=True)
class DeviceTaps:
    """`Taps` on a device: starts int64 (n,) and weights float32 (n, taps)."""

    starts: Tensor
    weights: Tensor

    @staticmethod
    def of(taps: Taps, device: torch.device) -> DeviceTaps:
        """Copied there."""
        return DeviceTaps(*(torch.from_numpy(part).to(device) for part in (taps.starts, taps.weights)))

    def resample(self, values: Tensor, *, dim: int) -> Tensor:
        """Values float32 (N, C, H, W) with dimension 2 or 3 resampled to n pixels."""
        parts = (
            values.index_select(dim, self.starts + k) * (weights[:, None] if dim == 2 else weights)
            for k, weights in enumerate(self.weights.T)
        )
        total: Tensor = functools.reduce(Tensor.add_, parts)
        return total


class Segmenter(nn.Module):
    """A network between pixel values and probabilities: uint8 (N, B, H, W) -> float32 (N, C, H, W)."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Normalise in float32, run the network in its own type, softmax in float32."""
        normalised = (images.float() - self.mean) / self.std
        dtype = next(self.network.parameters()).dtype
        if dtype != torch.float32:
            normalised = normalised.to(dtype, memory_format=torch.channels_last)
        return torch.softmax(self.network(normalised).float(), dim=1)

    @torch.inference_mode()
    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Class probabilities of images of any size, a multiple of 32.

        Args:
            images: uint8 (N, B, H, W), 0 to 255.

        Returns:
            float32 (N, C, H, W), 0 to 1.
        """
        probabilities: Tensor = self(torch.from_numpy(images).to(self.mean.device))
        return probabilities.cpu().numpy()


def read_spec(table: Mapping[str, object]) -> NetworkSpec:
    """The network that a description names.

    Raises:
        ModelError: a field is missing, unknown or out of any network's range.
    """
    names = {f.name for f in fields(NetworkSpec)}
    needed = {f.name for f in fields(NetworkSpec) if f.default is MISSING}
    if not needed <= set(table) <= names:
        raise ModelError(
            f"a network of {', '.join(sorted(table)) or 'nothing'}", expected=", ".join(sorted(names)), remedy=REMEDY
        )
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    for key, value in values.items():
        # A network is built before its weights are compared: no description may ask for one that fills the memory.
        parts = value if isinstance(value, tuple) else (value,)
        if not all(is_text(v) or (type(v) in (int, bool) and 0 <= v <= MAX_CHANNELS) for v in parts) or len(parts) > 16:
            raise ModelError(
                f"a network whose {key} is {value!r:.60}",
                expected=f"texts, and numbers from 0 to {MAX_CHANNELS}",
                remedy=REMEDY,
            )
    for key in ("architecture", "encoder"):
        # A name with a colon or a slash could be looked up on a hub or in a folder.
        if not matching(r"[A-Za-z0-9._-]+")(values[key]):
            raise ModelError(
                f"a network whose {key} is {values[key]!r:.60}", expected="letters, digits and ._-", remedy=REMEDY
            )
    return NetworkSpec(**values)  # type: ignore[arg-type]


def load_network(package: ModelPackage) -> nn.Module:
    """The network of a package with its weights, float32, on the processor, in evaluation mode.

    Raises:
        ModelError: network, bands, legend and weights do not fit each other, or only the graph of it is known.
    """
    if not package.network:
        raise ModelError(
            f"{package.path}: a model of which only the ONNX graph is known",
            expected="a package that geoseg trained, for torch",
            remedy="run it on the processor: device cpu",
        )
    spec = read_spec(package.network)
    if (spec.bands, spec.classes) != (len(package.bands), len(package.legend)):
        raise ModelError(
            f"{package.path}: a network of {spec.bands} bands and {spec.classes} classes",
            expected=f"{len(package.bands)} bands and {len(package.legend)} classes, as the package says",
            remedy=REMEDY,
        )
    weights = {k: v.float() for k, v in read_weights(package.weights).items()}
    if package.has_refiner and not package.refine:
        spec = replace(spec, refiner_width=0)
        weights = {k.removeprefix(NETWORK): v for k, v in weights.items() if k.startswith(NETWORK)}
    network = build_network(spec)
    wanted = {k: v for k, v in network.state_dict().items() if v.is_floating_point()}
    if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in wanted.items()}:
        faults = sorted(k for k in weights.keys() | wanted.keys() if k not in weights or k not in wanted)
        raise ModelError(
            f"{package.weights}: {len(weights)} tensors, of which {len(faults)} have another name",
            expected=f"the {len(wanted)} tensors of {spec.architecture} {spec.encoder}, by name and shape",
            remedy=REMEDY,
        )
    # Counters of training batches are the only integers; inference has no use for them.
    network.load_state_dict(weights, strict=False)
    return network.eval()
