"""From label files of every kind to one: class ids, or 1 and 0 where only one class is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import OptionError
from geoseg.legend import ClassLegend
from geoseg.training.losses import FULL, IGNORE
from geoseg.training.source import Source


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
    """The only class that a source labels, or `FULL`."""
    return class_id(legend, source.only) if source.kind in ("binary", "ndvi") else FULL


def decode_labels(
    source: Source, legend: ClassLegend, image: NDArray[np.uint8], mask: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """Labels uint8 (H, W) of one image: class ids, or 1 and 0 for "binary" and "ndvi"; `IGNORE` where unknown.

    Args:
        source: says what the mask means.
        legend: names of the classes.
        image: uint8 (B, H, W), all bands of the file.
        mask: uint8 (M, H, W), all bands of the label file; None for "ndvi".
    """
    if source.kind == "ndvi" or mask is None:
        labels = (_ndvi(image) > source.ndvi_above).astype(np.uint8)
    elif source.kind == "binary":
        labels = (mask[0] != 0).astype(np.uint8)
    elif source.kind == "colors":
        labels = _decode_colors(mask, {class_id(legend, name): colors for name, colors in source.colors.items()})
    else:
        labels = np.where(mask[0] < len(legend), mask[0], np.uint8(IGNORE))
    if source.ignore_above <= 255:
        labels[(image[:3] >= source.ignore_above).all(axis=0)] = IGNORE
    return labels


def _ndvi(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Source: Rouse et al. 1974, (NIR - red) / (NIR + red); 0 where both are 0."""
    red, infrared = image[0].astype(np.float32), image[3].astype(np.float32)
    index: NDArray[np.float32] = (infrared - red) / np.maximum(infrared + red, 1)
    return index


def _decode_colors(
    mask: NDArray[np.uint8], colors: Mapping[int, tuple[tuple[int, int, int], ...]]
) -> NDArray[np.uint8]:
    packed = (mask[0].astype(np.uint32) << 16) | (mask[1].astype(np.uint32) << 8) | mask[2]
    labels = np.full(packed.shape, IGNORE, np.uint8)
    for identity, listed in colors.items():
        for red, green, blue in listed:
            labels[packed == (red << 16) | (green << 8) | blue] = identity
    return labels
