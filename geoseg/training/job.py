"""A training job: which imagery, which labels, which network, how long; read from TOML."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from geoseg.errors import OptionError
from geoseg.settings import read_settings
from geoseg.training.source import Source, list_faults


@dataclass(frozen=True, slots=True)
class Network:
    """The network to train; `encoder_weights` (safetensors, relative to the root) is the start of its encoder."""

    architecture: str = "Unet"
    encoder: str = "mobilenet_v2"
    decoder_channels: tuple[int, ...] = ()
    encoder_weights: str = ""
    encoder_depth: int = 5


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Per band: (value - mean) / std, values on the image's own scale of 0 to 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to learn.

    The learning rates rise linearly over `warmup` of the way and fall to zero along a cosine. The way is `steps`
    or, where `minutes` is not 0, whatever of the two is used up first; with minutes = 0 a run can be repeated.
    """

    steps: int
    batch: int = 8
    minutes: float = 0.0
    encoder_rate: float = 3e-4
    decoder_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.03
    clip_norm: float = 1.0
    average_decay: float = 0.998
    validate_steps: int = 500
    checkpoint_steps: int = 250
    precision: Literal["float32", "bfloat16"] = "float32"
    threads: int = 0


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How much a crop is changed: each number is the largest change, 0 for none.

    Args:
        rotate: share of crops turned by any angle, beyond the eight symmetries of the square that every crop gets.
        brightness: offset as a share of 255.
        contrast: relative change around the crop's mean.
        gamma: exponent between 1 / (1 + gamma) and 1 + gamma.
        tint: offset of each band by itself, as a share of 255.
        saturation: relative change of the distance to grey.
        blur: share of crops blurred or sharpened.
        noise: largest standard deviation of noise, as a share of 255.
    """

    rotate: float = 0.5
    brightness: float = 0.12
    contrast: float = 0.25
    gamma: float = 0.25
    tint: float = 0.04
    saturation: float = 0.3
    blur: float = 0.3
    noise: float = 0.02


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weights of the terms of the loss."""

    cross_entropy: float = 1.0
    dice: float = 0.5


@dataclass(frozen=True, slots=True)
class Packaging:
    """How the best weights become a model package.

    Args:
        name: of the package.
        version: of the package.
        summary: what the model is for, one paragraph of the model card.
        halo_images: georeferenced rasters or globs below the root on which the halo is measured, not trained on.
        licences: of the training data and of the starting weights, by source.
        limits: where the model is known to fail, one paragraph of the model card.
        patch_px: side of the patches in prediction, a multiple of 32.
    """

    name: str
    version: str
    summary: str
    halo_images: tuple[str, ...]
    licences: Mapping[str, str] = field(default_factory=dict)
    limits: str = ""
    patch_px: int = 1024


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A whole training job.

    Args:
        network: what to train.
        normalisation: of the network's input.
        schedule: how long and how fast.
        source: the labelled images, at least one to train on.
        ground_resolution_m: of the network's input.
        crop_px: side of a training crop, a multiple of 32.
        root: folder that all other paths start from; relative to the working directory.
        seed: of every random choice.
        cache_mb: how much decoded imagery may be kept in memory; scenes beyond are read window by window.
        augmentation: how crops are changed.
        loss: weights of its terms.
        package: how the best weights are packaged; None leaves them as they are.
    """

    network: Network
    normalisation: Normalisation
    schedule: Schedule
    source: tuple[Source, ...]
    ground_resolution_m: float
    crop_px: int = 256
    root: str = "."
    seed: int = 0
    cache_mb: int = 1024
    augmentation: Augmentation = field(default_factory=Augmentation)
    loss: LossWeights = field(default_factory=LossWeights)
    package: Packaging | None = None


def read_job(path: Path, *, root: Path | None = None) -> TrainingJob:
    """Read a job from TOML; `root` replaces the job's own.

    Raises:
        OptionError: the file cannot be read, or a key is unknown, missing or of the wrong type or range.
    """
    job = read_settings(TrainingJob, path)
    if root is not None:
        job = dataclasses.replace(job, root=str(root))
    _check_job(job)
    return job


def _check_job(job: TrainingJob) -> None:
    bands = len(job.normalisation.mean)
    sizes = {job.crop_px, job.schedule.batch, job.schedule.steps, job.schedule.validate_steps}
    faults = [
        (job.seed < 0, "seed must not be negative"),
        (job.ground_resolution_m <= 0, "ground_resolution_m must be positive"),
        (job.crop_px % 32 != 0, "crop_px must be a multiple of 32"),
        (min(sizes) < 1 or job.schedule.checkpoint_steps < 1, "sizes and steps must be positive"),
        (bands == 0 or bands != len(job.normalisation.std), "normalisation needs a mean and a std for every band"),
        (any(std <= 0 for std in job.normalisation.std), "normalisation.std must be positive"),
        (all(s.use != "train" for s in job.source), "no source is used to train"),
        (len({s.name for s in job.source}) < len(job.source), "two sources have the same name"),
    ]
    faults += [fault for source in job.source for fault in list_faults(source)]
    for is_fault, text in faults:
        if is_fault:
            raise OptionError(f"the job cannot work: {text}")
