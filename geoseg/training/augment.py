"""Random changes of a crop that leave its labels true."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, functional

from geoseg.errors import OptionError
from geoseg.training.losses import IGNORE

HUE_SHARE = 0.2
"""Share of crops whose hue is turned: it takes as long as all other colour changes together."""

LARGEST = {"hue": 0.5, "gamma": 10.0}
"""Largest amounts other than 1."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How much a crop is changed: 0 for not at all, at most 1 where nothing else is said.

    Beyond these every crop gets one of the eight symmetries of the square, and the scale jitter of its source.

    Args:
        rotate: share of crops turned by any angle.
        brightness: largest relative change of the light.
        contrast: largest relative change of the distance to the mean.
        gamma: exponent between 1 / (1 + gamma) and 1 + gamma; at most 10.
        tint: largest relative change of each band by itself.
        saturation: largest relative change of the distance to grey; RGB only.
        hue: largest turn of the colour wheel as a share of it, at most 0.5; RGB only.
        blur: share of crops blurred.
        sharpness: share of crops sharpened.
        noise: largest standard deviation of noise, as a share of 255.
        jpeg: share of crops compressed; RGB and single bands only.
        haze: share of crops under a bright veil.
        shadow: share of crops with a part in shadow.

    Raises:
        OptionError: an amount is out of its range.
    """

    rotate: float = 0.5
    brightness: float = 0.12
    contrast: float = 0.25
    gamma: float = 0.25
    tint: float = 0.04
    saturation: float = 0.3
    hue: float = 0.0
    blur: float = 0.15
    sharpness: float = 0.15
    noise: float = 0.02
    jpeg: float = 0.1
    haze: float = 0.03
    shadow: float = 0.05

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self)):
            most = LARGEST.get(name, 1.0)
            if not 0 <= getattr(self, name) <= most:
                raise OptionError(f"augmentation.{name} is {getattr(self, name)}", expected=f"0 to {most:g}")


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
    start = (side - crop_px) // 2
    if is_free:
        # OpenCV turns just the pixels that are kept, in a fifth of the time that torchvision takes.
        matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), float(rng.uniform(-45, 45)), 1.0)
        matrix[:, 2] -= start
        size = crop_px, crop_px
        turned = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR)
        image = np.asarray(turned, np.uint8).reshape(*size, -1)
        nearest = cv2.warpAffine(labels, matrix, size, flags=cv2.INTER_NEAREST, borderValue=IGNORE)
        labels, start = np.asarray(nearest, np.uint8), 0
    block = slice(start, start + crop_px)
    symmetry = int(rng.integers(8))
    image, labels = np.rot90(image[block, block], symmetry % 4), np.rot90(labels[block, block], symmetry % 4)
    if symmetry >= 4:
        image, labels = image[:, ::-1], labels[:, ::-1]
    return np.ascontiguousarray(image), np.ascontiguousarray(labels)


def change_colors(image: NDArray[np.uint8], rng: Generator, amount: Augmentation) -> NDArray[np.uint8]:
    """A crop, uint8 (S, S, B), under another sun, through another air, taken by another camera."""
    is_rgb = image.shape[2] == 3
    x = torch.from_numpy(image).permute(2, 0, 1).contiguous().float() / 255
    # The library changes bands that are not red, green, blue as so many grey images.
    x = x if is_rgb else x[:, None]
    x = _change_light(x, rng, amount)
    if is_rgb and amount.saturation:
        x = functional.adjust_saturation(x, _draw_factor(rng, amount.saturation))
    if is_rgb and amount.hue and rng.random() < HUE_SHARE:
        x = functional.adjust_hue(x, float(rng.uniform(-amount.hue, amount.hue)))
    if rng.random() < amount.blur:
        x = functional.gaussian_blur(x, [5, 5], [float(rng.uniform(0.4, 1.4))])
    elif rng.random() < amount.sharpness:
        x = functional.adjust_sharpness(x, float(rng.uniform(1.5, 4)))
    if amount.noise:
        # Evenly distributed bytes are drawn twenty times as fast as normally distributed numbers.
        reach = math.sqrt(12) * float(rng.uniform(0, amount.noise))
        drawn = np.frombuffer(bytearray(rng.bytes(x.numel())), np.uint8)
        x = torch.add(x, torch.from_numpy(drawn).reshape(x.shape).float().sub_(127.5), alpha=reach / 255)
    bands = (255 * x).round_().clamp_(0, 255).to(torch.uint8).reshape(image.shape[2], *image.shape[:2])
    changed = np.ascontiguousarray(bands.permute(1, 2, 0).numpy())
    if image.shape[2] in (1, 3) and rng.random() < amount.jpeg:
        changed = _compress(changed, quality=int(rng.integers(30, 91)))
    return changed


def _compress(image: NDArray[np.uint8], *, quality: int) -> NDArray[np.uint8]:
    """Source: ITU-T T.81 (JPEG); the library's own is deprecated."""
    _, file = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(file, cv2.IMREAD_UNCHANGED), np.uint8).reshape(image.shape)
    return np.ascontiguousarray(decoded[..., ::-1])


def _change_light(x: Tensor, rng: Generator, amount: Augmentation) -> Tensor:
    """What sun and air do to an image, float32 (..., H, W), 0 to 1."""
    bands, shape = x.shape[0], x.shape[-2:]
    by_band = (bands, *[1] * (x.ndim - 1))
    if rng.random() < amount.shadow:
        light = 1 - rng.uniform(0.3, 0.6) * draw_shadow(rng, *shape)
        x = x * torch.from_numpy(light)
    if amount.brightness:
        x = functional.adjust_brightness(x, _draw_factor(rng, amount.brightness))
    if amount.contrast:
        # torch sums in another order with every number of threads, so that its own mean would not be repeatable.
        mean = float(x.numpy().mean())
        x = (mean + _draw_factor(rng, amount.contrast) * (x - mean)).clamp_(0, 1)
    if amount.tint:
        tint = 1 + rng.uniform(-amount.tint, amount.tint, by_band)
        x = (x * torch.from_numpy(tint.astype(np.float32))).clamp_(0, 1)
    if amount.gamma:
        limit = math.log1p(amount.gamma)
        x = functional.adjust_gamma(x, math.exp(rng.uniform(-limit, limit)))
    if rng.random() < amount.haze:
        veil = torch.from_numpy(rng.uniform(0.1, 0.6) * draw_veil(rng, *shape))
        color = torch.from_numpy(rng.uniform(0.8, 1.0, by_band).astype(np.float32))
        x = x + veil * (color - x)
    return x


def draw_shadow(rng: Generator, rows: int, cols: int) -> NDArray[np.float32]:
    """How much each pixel lies in shadow, float32 (rows, cols), 0 to 1: a half plane or a convex polygon, soft edge."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : cols * 1j].astype(np.float32)
    start, sides = rng.uniform(0, 2 * math.pi), int(rng.integers(1, 5))
    center = rng.uniform(-0.6, 0.6, 2)
    inside = np.full((rows, cols), np.inf, np.float32)
    for side in range(sides):
        angle = start + 2 * math.pi * side / sides
        distance = np.float32(math.cos(angle)) * (x - np.float32(center[0]))
        distance += np.float32(math.sin(angle)) * (y - np.float32(center[1]))
        np.minimum(inside, distance + np.float32(rng.uniform(0.2, 0.8)), out=inside)
    return np.asarray(np.clip(inside / np.float32(rng.uniform(0.01, 0.1)), 0, 1), np.float32)


def draw_veil(rng: Generator, rows: int, cols: int) -> NDArray[np.float32]:
    """A field without edges, float32 (rows, cols), 0 to 1."""
    coarse = torch.from_numpy(rng.random((1, 3, 3), np.float32))
    fine = functional.resize(coarse, [rows, cols], InterpolationMode.BICUBIC)
    return np.asarray(fine[0].clamp_(0, 1).numpy(), np.float32)


def _draw_factor(rng: Generator, amount: float) -> float:
    return float(rng.uniform(1 - amount, 1 + amount))
