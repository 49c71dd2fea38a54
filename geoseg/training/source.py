"""Where labelled images come from, and what their labels say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

LabelKind = Literal["classes", "colors", "binary", "ndvi"]


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


def list_faults(source: Source) -> list[tuple[bool, str]]:
    """What may be wrong with a source: whether it is, and what to say then."""
    at = f"source {source.name!r}: "
    return [
        (source.weight < 0, at + "weight must not be negative"),
        (not 0 < source.scale[0] <= source.scale[1], at + "scale must be (smallest, largest), both positive"),
        (source.kind in ("binary", "ndvi") and not source.only, at + f"kind {source.kind!r} needs 'only'"),
        (source.kind == "colors" and not source.colors, at + "kind 'colors' needs 'colors'"),
        (source.kind != "ndvi" and not source.labels, at + f"kind {source.kind!r} needs 'labels'"),
    ]
