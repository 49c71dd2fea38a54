"""Where labelled images come from, and what their labels say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

LabelKind = Literal["classes", "colors", "binary", "ndvi", "vector", "coco"]

UNKNOWN = "ignore"
"""In place of a class name in `Source.values`: what bears this value counts nowhere."""

KEYS_OF_KINDS = {
    "ids": ("classes",),
    "colors": ("colors",),
    "values": ("vector", "coco"),
    "layer": ("vector",),
    "class_column": ("vector",),
    "width_column": ("vector",),
    "width_m": ("vector",),
    "extent": ("vector",),
}


@dataclass(frozen=True, slots=True)
class Source:
    """Labelled images of one kind.

    Args:
        name: for reports.
        use: "train" or "validation".
        images: files or globs below the root.
        kind: "classes" (the raster or the indexed image holds class ids, see `ids`), "colors" (see `colors`), "binary"
            (not 0 is `only`, 0 is anything else), "ndvi" (more than `ndvi_above` is `only`, the rest is anything else),
            "vector" (polygons and lines, see `class_column`) or "coco" (annotations in one JSON file).
        labels: the label file of an image, relative to the image's folder; {stem} is the image's name without
            suffix, {folder} the name of its folder. One file may serve many images. Not for "ndvi".
        exclude: files or globs to leave out of `images`.
        rename: what to replace in the stem, and by what, where the label file's differs.
        ids: class name to its ids in the file; an id not listed is ignored. Without it the ids are the legend's own.
        colors: class name to its colours (R, G, B); a colour not listed is ignored.
        values: class name to the values of `class_column` or the COCO categories that it covers; "ignore" covers what
            counts nowhere, and "*" is any value not listed. Where shapes overlap, the class listed last lies on top.
            Without it the values are class names.
        only: the one class that is known: pixels of it, and pixels that are anything else. Needed by "binary" and
            "ndvi"; a "vector" source without `class_column` is all of this class.
        layer: of a vector file with several.
        class_column: attribute that says the class of a shape.
        width_column: attribute with the width of a line on the ground, in metres.
        width_m: width of lines without one.
        extent: vector file, named as `labels` are, with polygons outside of which nothing is known.
        ndvi_above: threshold of "ndvi"; the near infrared is band 4, red is band 1.
        ignore_above: pixels with all bands at or above this value are no data; 256 for none. Those that the image
            itself calls so, by nodata in all bands, alpha 0 or a mask, are never labelled.
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
    rename: tuple[str, str] = ("", "")
    ids: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    colors: Mapping[str, tuple[tuple[int, int, int], ...]] = field(default_factory=dict)
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    only: str = ""
    layer: str = ""
    class_column: str = ""
    width_column: str = ""
    width_m: float = 0.0
    extent: str = ""
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
    kind, needs = source.kind, f"{at}kind {source.kind!r} needs "
    is_unclassed = kind == "vector" and not source.class_column
    ids = [i for listed in source.ids.values() for i in listed]
    values = [v for listed in source.values.values() for v in listed]
    faults = [
        (source.weight < 0, at + "weight must not be negative"),
        (not 0 < source.scale[0] <= source.scale[1], at + "scale must be (smallest, largest), both positive"),
        (kind in ("binary", "ndvi") and not source.only, needs + "'only'"),
        (kind == "colors" and not source.colors, needs + "'colors'"),
        (kind != "ndvi" and not source.labels, needs + "'labels'"),
        (is_unclassed and not source.only, needs + "'class_column', or 'only' for shapes of one class"),
        (is_unclassed and bool(source.values), at + "'values' need the 'class_column' that they are in"),
        (any(not 0 <= i <= 255 for i in ids), at + "ids must lie between 0 and 255"),
        (len(set(ids)) < len(ids), at + "an id is listed twice"),
        (len(set(values)) < len(values), at + "a value is listed twice"),
        (not source.width_m >= 0, at + "width_m must not be negative"),
    ]
    for key, kinds in KEYS_OF_KINDS.items():
        faults.append((bool(getattr(source, key)) and kind not in kinds, f"{at}{key!r} is not for kind {kind!r}"))
    return faults
