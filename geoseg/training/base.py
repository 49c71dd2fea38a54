"""The trained network that a refiner is put behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from geoseg.errors import ModelError
from geoseg.legend import ClassLegend, LegendClass
from geoseg.models.networks import NetworkSpec, build_network, load_weights
from geoseg.models.package import load_package
from geoseg.models.refiner import RefinedNetwork
from geoseg.models.torch_engine import load_network, read_spec
from geoseg.training.checkpoint import DESCRIPTION, WEIGHTS, read_description
from geoseg.training.job import Normalisation

THEN = " && "
"""Between the commands that a network came about by."""


@dataclass(frozen=True)
class Base:
    """A trained network, float32 and in evaluation mode, and what was noted when it was trained.

    Args:
        network: normalised (N, B, H, W) -> logits (N, C, H, W).
        spec: how it is built.
        legend: of its classes.
        normalisation: of its input.
        ground_resolution_m: of its input.
        attribution: whom its training imagery and labels are owed to.
        command: what it was trained with.
    """

    network: nn.Module
    spec: NetworkSpec
    legend: ClassLegend
    normalisation: Normalisation
    ground_resolution_m: float
    attribution: tuple[str, ...]
    command: str


def read_base(name_or_dir: str) -> Base:
    """The network of a training run's folder `best`, of a package's folder, or of a shipped model.

    Of one that is refined already the network alone, without its refiner.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    is_checkpoint = (Path(name_or_dir) / DESCRIPTION).is_file()
    base = _read_checkpoint(Path(name_or_dir)) if is_checkpoint else _read_package(name_or_dir)
    if not isinstance(base.network, RefinedNetwork):
        return base
    return dataclasses.replace(
        base,
        network=base.network.network,
        spec=dataclasses.replace(base.spec, refiner_width=0),
        command=base.command.partition(THEN)[0],
    )


def _read_checkpoint(folder: Path) -> Base:
    table = read_description(folder)
    try:
        spec = read_spec(table["network"])
        classes = tuple(LegendClass(**{**c, "color": tuple(c["color"])}) for c in table["legend"]["classes"])
        legend = ClassLegend(classes, table["legend"]["nodata"])
        normalisation = Normalisation(**{k: tuple(map(float, v)) for k, v in table["normalisation"].items()})
        resolution_m = float(table["ground_resolution_m"])
        notes: tuple[Any, Any] = table["attribution"], table["command"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{folder / DESCRIPTION}: {type(error).__name__}: {error}",
            expected="what training writes",
            remedy="name the folder `best` of a training run",
        ) from error
    network = build_network(spec)
    load_weights(network, folder / WEIGHTS)
    return Base(network.eval(), spec, legend, normalisation, resolution_m, tuple(notes[0]), str(notes[1]))


def _read_package(name_or_dir: str) -> Base:
    package = load_package(name_or_dir)
    noted: Mapping[str, Any] = package.provenance
    return Base(
        load_network(package),
        read_spec(package.network),
        package.legend,
        Normalisation(package.mean, package.std),
        package.ground_resolution_m,
        tuple(noted.get("attribution", ())),
        str(noted.get("command", "")),
    )
