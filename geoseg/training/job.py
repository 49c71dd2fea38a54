"""A training job: which imagery, which labels, which network, how long; read from TOML."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from geoseg.errors import OptionError

LabelKind = Literal["classes", "colors", "binary", "ndvi"]


@dataclass(frozen=True, slots=True)
class Network:
    """The network to train; `encoder_weights` (safetensors, relative to the root) is the start of its encoder."""

    architecture: str = "Unet"
    encoder: str = "mobilenet_v2"
    decoder_channels: tuple[int, ...] = ()
    encoder_weights: str = ""


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
class Source:
    """Labelled images of one kind.

    Args:
        name: for reports.
        use: "train" or "validation".
        images: files or globs below the root.
        exclude: files or globs to leave out of `images`.
        labels: the label file of an image, relative to the image's folder; {stem} is the image's name without
            suffix. Not for "ndvi".
        kind: "classes" (the raster holds class ids, 255 is ignored), "colors" (see `colors`), "binary" (not 0 is
            `only`, 0 is anything else) or "ndvi" (more than `ndvi_above` is `only`, the rest is anything else).
        colors: class name to its colours (R, G, B); a colour not listed is ignored.
        only: the one class that "binary" and "ndvi" know.
        ndvi_above: threshold of "ndvi"; the near infrared is band 4, red is band 1.
        ignore_above: pixels with all bands at or above this value are no data; 256 for none.
        ground_resolution_m: nominal, for images without georeference; 0 takes it from the georeference.
        scale: smallest and largest random change of the ground resolution; (1, 1) for none. Above 1 shows things
            smaller than they are.
        weight: share of the crops (train) or of the final score (validation), relative to the other sources.
        balance: share of crops that are centred on a class drawn evenly rather than anywhere.
        attribution: whom the imagery and labels are owed to, and their licences; noted beside the weights.
    """

    name: str
    use: Literal["train", "validation"]
    images: tuple[str, ...]
    kind: LabelKind
    labels: str = ""
    exclude: tuple[str, ...] = ()
    colors: Mapping[str, tuple[tuple[int, int, int], ...]] = field(default_factory=dict)
    only: str = ""
    ndvi_above: float = 0.1
    ignore_above: int = 256
    ground_resolution_m: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    weight: float = 1.0
    balance: float = 0.5
    attribution: str = ""


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
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise OptionError(f"the job {path} cannot be read: {error}", expected="a TOML file") from error
    job: TrainingJob = _build(TrainingJob, table, "")
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
    for source in job.source:
        at = f"source {source.name!r}: "
        faults += [
            (source.weight < 0, at + "weight must not be negative"),
            (not 0 < source.scale[0] <= source.scale[1], at + "scale must be (smallest, largest), both positive"),
            (source.kind in ("binary", "ndvi") and not source.only, at + f"kind {source.kind!r} needs 'only'"),
            (source.kind == "colors" and not source.colors, at + "kind 'colors' needs 'colors'"),
            (source.kind != "ndvi" and not source.labels, at + f"kind {source.kind!r} needs 'labels'"),
        ]
    for is_fault, text in faults:
        if is_fault:
            raise OptionError(f"the job cannot work: {text}")


def _build(kind: Any, value: Any, at: str) -> Any:
    """`value` as parsed from TOML, checked and turned into the annotated type `kind`; `at` names it in errors."""
    if typing.get_origin(kind) is types.UnionType:
        kind = typing.get_args(kind)[0]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(typing.cast(type, kind), value, at)
    if origin is Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list):
        if arguments[-1] is not Ellipsis and len(arguments) != len(value):
            raise OptionError(f"{at} has {len(value)} values", expected=f"{len(arguments)} values")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        return tuple(_build(k, v, f"{at}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if origin is not None and isinstance(value, dict) and issubclass(origin, Mapping):
        return types.MappingProxyType({k: _build(arguments[1], v, f"{at}.{k}") for k, v in value.items()})
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    expected = " or ".join(map(repr, arguments)) if origin is Literal else getattr(kind, "__name__", str(kind))
    raise OptionError(f"{at} = {value!r} is of the wrong kind", expected=expected)


def _build_dataclass(kind: type, table: Any, at: str) -> Any:
    if not isinstance(table, dict):
        raise OptionError(f"{at or 'the job'} = {table!r} is of the wrong kind", expected="a table")
    hints = typing.get_type_hints(kind)
    prefix = f"{at}." if at else ""
    for key in table:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1, cutoff=0.0)
            raise OptionError(
                f"unknown key {prefix}{key}", expected=f"one of {', '.join(hints)}", remedy=f"did you mean {near[0]!r}?"
            )
    for item in dataclasses.fields(kind):
        is_required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if is_required and item.name not in table:
            raise OptionError(f"the key {prefix}{item.name} is missing", expected=str(item.type))
    return kind(**{key: _build(hints[key], value, f"{prefix}{key}") for key, value in table.items()})
