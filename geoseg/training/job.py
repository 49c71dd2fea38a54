"""A training job: which imagery, which labels, which network, how long; read from TOML."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from geoseg.errors import OptionError
from geoseg.legend import LAND_COVER, LegendClass
from geoseg.settings import read_settings
from geoseg.training.augment import Augmentation
from geoseg.training.source import Source, list_faults

OptimizerName = Literal["AdamW", "Adam", "SGD", "RMSprop"]
Precision = Literal["float32", "bfloat16", "float16", "mixed"]

POOLING = ("DeepLabV3Plus", "PSPNet")
"""Networks that normalise a batch of single pixels."""


@dataclass(frozen=True, slots=True)
class Network:
    """The network to train, see `geoseg.models.networks.NetworkSpec`.

    `encoder_weights` is the start of its encoder: a safetensors file relative to the root, or "hub:NAME" for published
    weights that are downloaded, such as "hub:imagenet"; empty for random ones. `start` is a trained network to go on
    from instead: the folder `best` of a run or a package, relative to the working directory, or a shipped model's name.
    """

    architecture: str = "Unet"
    encoder: str = "mobilenet_v2"
    decoder_channels: tuple[int, ...] = ()
    encoder_weights: str = ""
    encoder_depth: int = 5
    start: str = ""


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

    Args:
        steps: of the optimiser.
        batch: crops in a step.
        minutes: of learning, validation included; 0 for no limit.
        encoder_rate: full learning rate of the encoder.
        decoder_rate: full learning rate of everything else.
        optimizer: "AdamW", "Adam", "SGD" or "RMSprop".
        momentum: of SGD and RMSprop.
        nesterov: whether SGD looks ahead.
        weight_decay: of weights, not of biases and normalisation.
        warmup: share of the way, 0 to 1.
        clip_norm: longer gradients are shortened to this norm.
        average_decay: of the running mean of the weights, which is what is validated and kept.
        validate_steps: steps between validations.
        patience: validations in a row without a better score after which training ends; 0 goes on.
        checkpoint_steps: steps between checkpoints.
        precision: "float32"; "bfloat16" or "float16" for mixed precision, the latter with scaled losses; or "mixed"
            for the one of these two that the device computes fast.
        threads: of the processor; 0 for torch's own choice.
    """

    steps: int
    batch: int = 8
    minutes: float = 0.0
    encoder_rate: float = 3e-4
    decoder_rate: float = 1e-3
    optimizer: OptimizerName = "AdamW"
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.01
    warmup: float = 0.03
    clip_norm: float = 1.0
    average_decay: float = 0.998
    validate_steps: int = 500
    patience: int = 0
    checkpoint_steps: int = 250
    precision: Precision = "float32"
    threads: int = 0


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weights of the terms of the loss, see `geoseg.training.losses.segmentation_loss`.

    Args:
        cross_entropy: weight of the cross-entropy.
        dice: weight of the Dice loss.
        focal: weight of the focal loss.
        focal_gamma: exponent of the focal loss.
        lovasz: weight of the Lovasz loss.
        class_weights: by class name, 1 where a class is not named; or "balanced" for the inverse square root of how
            often the classes occur, with a mean of 1.
    """

    cross_entropy: float = 1.0
    dice: float = 0.5
    focal: float = 0.0
    focal_gamma: float = 2.0
    lovasz: float = 0.0
    class_weights: Mapping[str, float] | Literal["balanced"] = field(default_factory=dict)


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
        legend: the classes, with ids from 0 on; default: background, building, road, vegetation.
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
    legend: tuple[LegendClass, ...] = LAND_COVER.classes
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
    check_job(job)
    return job


def check_job(job: TrainingJob) -> None:
    """Refuse a job that cannot work.

    Raises:
        OptionError: a value is out of its range, or two do not go together.
    """
    bands = len(job.normalisation.mean)
    schedule, loss = job.schedule, job.loss
    sizes = {job.crop_px, schedule.batch, schedule.steps, schedule.validate_steps, schedule.checkpoint_steps}
    terms = (loss.cross_entropy, loss.dice, loss.focal, loss.lovasz)
    not_negative = (schedule.encoder_rate, schedule.decoder_rate, schedule.weight_decay, schedule.minutes)
    weights = () if isinstance(loss.class_weights, str) else tuple(loss.class_weights.values())
    is_held_out = any(s.use == "validation" and s.weight > 0 for s in job.source)
    faults = [
        (job.seed < 0, "seed must not be negative"),
        (job.ground_resolution_m <= 0, "ground_resolution_m must be positive"),
        (job.crop_px % 32 != 0, "crop_px must be a multiple of 32"),
        (min(sizes) < 1, "sizes and steps must be positive"),
        (bands == 0 or bands != len(job.normalisation.std), "normalisation needs a mean and a std for every band"),
        (any(std <= 0 for std in job.normalisation.std), "normalisation.std must be positive"),
        (schedule.batch < 2 and job.network.architecture in POOLING, "this architecture needs a batch of at least 2"),
        (not 0 <= schedule.momentum < 1, "momentum must lie between 0 and 1"),
        (
            schedule.nesterov and (schedule.optimizer != "SGD" or not schedule.momentum),
            "nesterov is for SGD with momentum",
        ),
        (schedule.clip_norm <= 0, "clip_norm must be positive"),
        (not min(*not_negative, schedule.threads) >= 0, "rates, weight_decay, minutes, threads must not be negative"),
        (not 0 <= schedule.average_decay < 1, "average_decay must lie between 0 and 1"),
        (not 0 <= schedule.warmup < 1, "warmup must lie between 0 and 1"),
        (schedule.patience < 0, "patience must not be negative"),
        (schedule.patience > 0 and not is_held_out, "patience needs a source to validate on that has a weight"),
        (min(terms) < 0 or max(terms) <= 0, "the loss needs a term with a positive weight, and none below 0"),
        (loss.focal_gamma < 0, "focal_gamma must not be negative"),
        (any(w <= 0 for w in weights), "class_weights must be positive"),
        ([c.id for c in job.legend] != list(range(len(job.legend))), "the ids of the legend must be 0, 1, 2, ..."),
        (len({c.name for c in job.legend}) < max(2, len(job.legend)), "the legend needs two classes, each its name"),
        (bool(job.network.start and job.network.encoder_weights), "network.start brings its own encoder_weights"),
        (all(s.use != "train" for s in job.source), "no source is used to train"),
        (all(s.weight == 0 for s in job.source if s.use == "train"), "no source that is used to train has a weight"),
        (len({s.name for s in job.source}) < len(job.source), "two sources have the same name"),
    ]
    faults += [fault for source in job.source for fault in list_faults(source)]
    for is_fault, text in faults:
        if is_fault:
            raise OptionError(f"the job cannot work: {text}", remedy="change the job; the README describes its keys")
