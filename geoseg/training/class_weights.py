"""How much each class counts in the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from geoseg.errors import OptionError
from geoseg.legend import ClassLegend
from geoseg.training.labels import class_id
from geoseg.training.source import Source


def weigh_classes(
    wanted: Mapping[str, float] | Literal["balanced"],
    frequencies: Mapping[str, Mapping[str, float]],
    sources: Sequence[Source],
    legend: ClassLegend,
) -> tuple[float, ...]:
    """The weight of every class of the legend.

    Args:
        wanted: weights by class name, 1 for the others; or "balanced" for the inverse square root of how often a class
            occurs in the crops, scaled to a mean of 1 over the classes that occur.
        frequencies: share of the labelled ground by source and class, 0 to 1.
        sources: gives the sources their weights; one that knows a single class has no say about the others.
        legend: of the network.

    Raises:
        OptionError: a name is none of the legend's, or no class occurs.
    """
    if wanted != "balanced":
        for name in wanted:
            class_id(legend, name)
        return tuple(float(wanted.get(c.name, 1.0)) for c in legend.classes)
    shares = {c.name: _average_share(c.name, frequencies, sources) for c in legend.classes}
    raised = {name: 1 / math.sqrt(share) for name, share in shares.items() if share}
    if not raised:
        raise OptionError("class_weights 'balanced' where no class occurs", expected="labels in the training sources")
    mean = sum(raised.values()) / len(raised)
    return tuple(raised.get(c.name, mean) / mean for c in legend.classes)


def _average_share(name: str, frequencies: Mapping[str, Mapping[str, float]], sources: Sequence[Source]) -> float:
    weights = {s.name: s.weight for s in sources if s.name in frequencies and s.only in ("", name)}
    total = sum(weights.values())
    return sum(w * frequencies[s].get(name, 0.0) for s, w in weights.items()) / total if total else 0.0
