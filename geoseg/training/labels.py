"""From label files of every kind to one: class ids, or 1 and 0 where only one class is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import InputError, OptionError
from geoseg.legend import ClassLegend
from geoseg.training.losses import FULL, IGNORE
from geoseg.training.source import UNKNOWN, Source


def class_id(legend: ClassLegend, name: str) -> int:
    """The id of a class of the legend.

    Raises:
        OptionError: the legend has no such class.
    """
    ids = {c.name: c.id for c in legend.classes}
    if name not in ids:
        raise OptionError(f"unknown class {name!r}", expected=f"one of {', '.join(ids)}")
    return ids[name]


def known_class(source: Source, legend: ClassLegend) -> int:
    """The only class that a source labels, or `FULL`.

    Raises:
        OptionError: the source names a class that the legend does not have.
    """
    for name in (*source.ids, *source.colors, *source.values):
        if name != UNKNOWN or name not in source.values:
            class_id(legend, name)
    return class_id(legend, source.only) if source.only else FULL


def decode_labels(
    source: Source, legend: ClassLegend, image: NDArray[np.uint8], mask: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """Labels uint8 (H, W) of one image: class ids, or 1 and 0 where `source.only` is set; `IGNORE` where unknown.

    Args:
        source: says what the mask means.
        legend: names of the classes.
        image: uint8 (B, H, W), all bands of the file.
        mask: uint8 (M, H, W), all bands of the label file; None for "ndvi".
    """
    if source.kind == "ndvi" or mask is None:
        return np.asarray(_ndvi(image) > source.ndvi_above, np.uint8)
    if source.kind == "binary":
        return np.asarray(mask[0] != 0, np.uint8)
    if source.kind == "colors":
        labels = _decode_colors(mask, {class_id(legend, name): colors for name, colors in source.colors.items()})
    else:
        labels = _decode_ids(mask[0], legend, source.ids)
    if source.only:
        labels = np.where(labels == IGNORE, labels, labels == class_id(legend, source.only)).astype(np.uint8)
    return labels


def label_values(
    values: Sequence[str], source: Source, legend: ClassLegend, *, origin: object
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Labels uint8 (N,) of shapes that bear these values, and their places int64 (N,) in the order of drawing.

    Raises:
        InputError: a value belongs to no class.
    """
    listed = source.values or {c.name: (c.name,) for c in legend.classes}
    table: dict[str, tuple[int, int]] = {}
    for place, (name, covered) in enumerate(listed.items()):
        label = IGNORE if name == UNKNOWN else int(name == source.only) if source.only else class_id(legend, name)
        table |= dict.fromkeys(covered, (label, place))
    unknown = sorted({v for v in values if v not in table}) if "*" not in table else []
    if unknown:
        raise InputError(
            f"{origin}: no class covers {', '.join(map(repr, unknown[:5]))}",
            expected=f"one of {', '.join(map(repr, table))}",
            remedy=f"list it in values of source {source.name!r}, under {UNKNOWN!r} if it shall not count",
        )
    found = [table[v] if v in table else table["*"] for v in values]
    pairs = np.array(found, np.int64).reshape(-1, 2)
    return pairs[:, 0].astype(np.uint8), pairs[:, 1]


def label_elsewhere(source: Source, legend: ClassLegend) -> int:
    """The label of pixels on which no shape lies: background, or 0 where only one class is known.

    Raises:
        OptionError: the legend has no background.
    """
    if source.only:
        return 0
    if not legend.background_ids:
        raise OptionError(
            f"source {source.name!r} leaves pixels without a shape", expected="a legend with a background"
        )
    return min(legend.background_ids)


def ignore_bright(labels: NDArray[np.uint8], image: NDArray[np.uint8], above: int) -> NDArray[np.uint8]:
    """Labels (H, W), `IGNORE` where the first three bands of an image (B, H, W) are all at or above a value."""
    if above <= 255:
        labels[(image[:3] >= above).all(axis=0)] = IGNORE
    return labels


def _ndvi(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Source: Rouse et al. 1974, (NIR - red) / (NIR + red); 0 where both are 0."""
    red, infrared = image[0].astype(np.float32), image[3].astype(np.float32)
    index: NDArray[np.float32] = (infrared - red) / np.maximum(infrared + red, 1)
    return index


def _decode_ids(mask: NDArray[np.uint8], legend: ClassLegend, ids: Mapping[str, tuple[int, ...]]) -> NDArray[np.uint8]:
    table = np.full(256, IGNORE, np.uint8)
    for known in legend.classes:
        table[list(ids.get(known.name, ()) if ids else (known.id,))] = known.id
    return table[mask]


def _decode_colors(
    mask: NDArray[np.uint8], colors: Mapping[int, tuple[tuple[int, int, int], ...]]
) -> NDArray[np.uint8]:
    packed = (mask[0].astype(np.uint32) << 16) | (mask[1].astype(np.uint32) << 8) | mask[2]
    labels = np.full(packed.shape, IGNORE, np.uint8)
    for identity, listed in colors.items():
        for red, green, blue in listed:
            labels[packed == (red << 16) | (green << 8) | blue] = identity
    return labels
