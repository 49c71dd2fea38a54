"""Random changes of a crop that leave its labels true."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from geoseg.training.job import Augmentation
from geoseg.training.losses import IGNORE


def turned_side_px(crop_px: int) -> int:
    """Side of the square that a crop can be cut from at any angle."""
    return math.ceil(crop_px * math.sqrt(2)) + 2


def turn_crop(
    image: NDArray[np.uint8], labels: NDArray[np.uint8], rng: Generator, *, crop_px: int, is_free: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Cut the centre, after turning by any angle if `is_free`, then one of the eight symmetries of the square.

    Args:
        image: uint8 (S, S, B), S at least `turned_side_px(crop_px)` if `is_free`, else `crop_px`.
        labels: uint8 (S, S).
        rng: source of the angle and the symmetry.
        crop_px: side of the result.
        is_free: whether to turn by an angle between -45 and 45 degrees first.
    """
    side = image.shape[0]
    if is_free:
        matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), float(rng.uniform(-45, 45)), 1.0)
        image = np.atleast_3d(cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR))
        turned = cv2.warpAffine(labels, matrix, (side, side), flags=cv2.INTER_NEAREST, borderValue=IGNORE)
        labels = np.asarray(turned, np.uint8)
    start = (side - crop_px) // 2
    block = slice(start, start + crop_px)
    symmetry = int(rng.integers(8))
    image, labels = np.rot90(image[block, block], symmetry % 4), np.rot90(labels[block, block], symmetry % 4)
    if symmetry >= 4:
        image, labels = image[:, ::-1], labels[:, ::-1]
    return np.ascontiguousarray(image), np.ascontiguousarray(labels)


def change_colors(image: NDArray[np.uint8], rng: Generator, amount: Augmentation) -> NDArray[np.uint8]:
    """Light, contrast, gamma, tint, saturation, sharpness and noise of a crop, uint8 (S, S, B), changed at random."""
    x = image.astype(np.float32)
    mean = x.mean()
    x = (x - mean) * (1 + rng.uniform(-amount.contrast, amount.contrast)) + mean
    x += 255 * rng.uniform(-amount.brightness, amount.brightness)
    x += 255 * rng.uniform(-amount.tint, amount.tint, x.shape[2]).astype(np.float32)
    grey = x.mean(axis=2, keepdims=True)
    x = (x - grey) * np.float32(1 + rng.uniform(-amount.saturation, amount.saturation)) + grey
    limit = math.log1p(amount.gamma)
    x = 255 * (np.clip(x, 0, 255) / 255) ** np.float32(math.exp(rng.uniform(-limit, limit)))
    if rng.random() < amount.blur:
        soft = np.atleast_3d(cv2.GaussianBlur(x, (0, 0), float(rng.uniform(0.4, 1.2))))
        x = soft if rng.random() < 0.7 else x + 0.7 * (x - soft)
    if amount.noise:
        x += rng.normal(0, 255 * rng.uniform(0, amount.noise), x.shape).astype(np.float32)
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)
