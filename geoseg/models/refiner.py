"""The refiner: a small generator that turns a network's probabilities into better ones, with the image beside it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

RESIDUAL_BLOCKS = 3
FLOOR = 1e-4
"""Probabilities are not taken for smaller than this where their logarithm is needed."""


class RefinedNetwork(nn.Module):
    """A network and its refiner as one: normalised (N, B, H, W) -> logits (N, C, H, W).

    Args:
        network: gives the logits that are refined.
        bands: of the image.
        classes: of the logits.
        width: channels of the refiner at full resolution.
    """

    def __init__(self, network: nn.Module, *, bands: int, classes: int, width: int) -> None:
        super().__init__()
        self.network = network
        self.refiner = Refiner(bands, classes, width)

    def forward(self, images: Tensor) -> Tensor:
        """Logits after refinement."""
        refined: Tensor = self.refiner(images, torch.softmax(self.network(images), dim=1))
        return refined


class Refiner(nn.Module):
    """The generator of adversarial refinement: image and class probabilities -> logits of refined probabilities.

    It works at full, half and a quarter of the resolution and adds what it finds to the logarithm of the probabilities,
    so that it begins as the identity. All layers are local: no pooling over the image, batch normalisation only.

    Source: Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial Networks, section 3.2.1, with
    residual blocks after Johnson et al. 2016; Zorzi et al. 2020, Machine-learned Regularization and Polygonization
    of Building Segmentation Masks, for the task.
    """

    def __init__(self, bands: int, classes: int, width: int) -> None:
        super().__init__()
        self.stem = _convolve(bands + classes, width)
        self.to_half = _convolve(width, 2 * width, stride=2)
        self.to_quarter = _convolve(2 * width, 4 * width, stride=2)
        self.blocks = nn.Sequential(*(_ResidualBlock(4 * width) for _ in range(RESIDUAL_BLOCKS)))
        self.back_to_half = _convolve(4 * width + 2 * width, 2 * width)
        self.back_to_full = _convolve(2 * width + width, width)
        self.head = nn.Conv2d(width, classes, 1, bias=False)
        nn.init.zeros_(self.head.weight)

    def forward(self, images: Tensor, probabilities: Tensor) -> Tensor:
        """Logits (N, C, H, W) from normalised images (N, B, H, W) and probabilities (N, C, H, W), 0 to 1."""
        full = self.stem(torch.cat([images, probabilities.to(images.dtype)], dim=1))
        half = self.to_half(full)
        deep = self.blocks(self.to_quarter(half))
        deep = self.back_to_half(torch.cat([_double(deep), half], dim=1))
        deep = self.back_to_full(torch.cat([_double(deep), full], dim=1))
        logits: Tensor = probabilities.clamp(min=FLOOR).log() + self.head(deep)
        return logits


class _ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolve(width, width), nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.body(x))


def _convolve(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
