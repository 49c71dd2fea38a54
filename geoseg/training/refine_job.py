"""A refinement job: which network, on which training job's imagery, against which discriminator; read from TOML."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from geoseg.errors import OptionError
from geoseg.settings import read_settings
from geoseg.training.base import Base
from geoseg.training.job import Packaging, Schedule, TrainingJob, check_job, read_job

GanKind = Literal["bce", "least_squares"]
MAX_LAYERS = 5


@dataclass(frozen=True, slots=True)
class RefinerSize:
    """How large the refiner is: `width` channels at full resolution."""

    width: int = 16


@dataclass(frozen=True, slots=True)
class RefineSchedule:
    """How long and how fast to learn; see `geoseg.training.job.Schedule` for what the names mean.

    `rate` is the refiner's, `base_rate` that of the network under it where the job trains it too.
    """

    steps: int
    batch: int = 8
    rate: float = 1e-3
    base_rate: float = 2e-5
    warmup: float = 0.03
    clip_norm: float = 1.0
    average_decay: float = 0.998
    validate_steps: int = 250
    checkpoint_steps: int = 100
    precision: Literal["float32", "bfloat16"] = "float32"
    threads: int = 0


@dataclass(frozen=True, slots=True)
class RefineLoss:
    """Weights of the terms of the refiner's loss.

    Args:
        adversarial: of being told from the truth; 0 leaves the discriminator out altogether.
        kind: of the adversarial term: binary cross-entropy or least squares.
        l1: of the mean absolute difference to the truth.
        cross_entropy: see `geoseg.training.losses.segmentation_loss`.
        dice: likewise.
    """

    adversarial: float = 0.5
    kind: GanKind = "least_squares"
    l1: float = 0.0
    cross_entropy: float = 1.0
    dice: float = 0.5


@dataclass(frozen=True, slots=True)
class DiscriminatorSettings:
    """The refiner's opponent; see `geoseg.training.discriminator`.

    Args:
        width: channels of its first layer.
        layers: how often it halves the resolution; 2 judges patches of 34 pixels, 3 of 70.
        spectral_norm: whether its layers are kept from stretching their input.
        r1: weight (gamma) of the penalty on its gradient at true masks; 0 for none.
        r1_every: the penalty is computed once in so many steps, and counts as many times.
        rate: its learning rate.
    """

    width: int = 32
    layers: int = 2
    spectral_norm: bool = True
    r1: float = 0.0
    r1_every: int = 16
    rate: float = 4e-4


@dataclass(frozen=True, slots=True)
class RefineJob:
    """A whole refinement job.

    Args:
        base: the network to refine: the folder `best` of a training run, a model package, or a shipped model's name.
        training: the training job whose sources, crops and augmentation are used, relative to the job's file.
        schedule: how long and how fast.
        refiner: its size.
        loss: weights of its terms.
        discriminator: the refiner's opponent.
        train_base: whether the network under the refiner learns too.
        seed: of every random choice.
        package: how the best weights are packaged; None leaves them as they are.
    """

    base: str
    training: str
    schedule: RefineSchedule
    refiner: RefinerSize = field(default_factory=RefinerSize)
    loss: RefineLoss = field(default_factory=RefineLoss)
    discriminator: DiscriminatorSettings = field(default_factory=DiscriminatorSettings)
    train_base: bool = False
    seed: int = 0
    package: Packaging | None = None


def read_refine_job(path: Path) -> RefineJob:
    """Read a job from TOML.

    Raises:
        OptionError: the file cannot be read, or a key is unknown, missing or of the wrong type or range.
    """
    job = read_settings(RefineJob, path)
    loss, schedule, opponent = job.loss, job.schedule, job.discriminator
    sizes = (
        schedule.steps,
        schedule.batch,
        schedule.validate_steps,
        schedule.checkpoint_steps,
        job.refiner.width,
        opponent.width,
        opponent.r1_every,
    )
    weights = (loss.adversarial, loss.l1, loss.cross_entropy, loss.dice)
    faults = [
        (min(sizes) < 1, "sizes and steps must be positive"),
        (min(*weights, opponent.r1) < 0, "weights must not be negative"),
        (min(schedule.rate, schedule.base_rate, opponent.rate) < 0, "rates must not be negative"),
        (sum(weights) == 0, "one weight of the loss must be positive"),
        (not 1 <= opponent.layers <= MAX_LAYERS, f"discriminator.layers must be 1 to {MAX_LAYERS}"),
        (job.seed < 0, "seed must not be negative"),
    ]
    for is_fault, text in faults:
        if is_fault:
            raise OptionError(f"the job {path} cannot work: {text}", remedy="change the job")
    return job


def read_imagery(job: RefineJob, base: Base, folder: Path, *, root: Path | None) -> TrainingJob:
    """The training job whose imagery the refiner learns from, with the schedule and seed of `job` and as `base` sees.

    Args:
        job: names it.
        base: the network to refine; gives normalisation and ground resolution.
        folder: where the refinement job's file lies.
        root: in place of the training job's own root of all paths.

    Raises:
        OptionError: the training job cannot be read, or holds nothing out.
    """
    imagery = read_job(folder / job.training, root=root)
    if all(s.use != "validation" or s.weight == 0 for s in imagery.source):
        raise OptionError(
            f"{job.training} holds no imagery out",
            expected="a source with use = 'validation' and a weight: whether refinement helps is measured there",
        )
    shared = {f.name: getattr(job.schedule, f.name) for f in dataclasses.fields(RefineSchedule)}
    del shared["rate"], shared["base_rate"]
    seen = dataclasses.replace(
        imagery,
        schedule=Schedule(**shared),
        normalisation=base.normalisation,
        ground_resolution_m=base.ground_resolution_m,
        seed=job.seed,
    )
    check_job(seen)
    return seen
