"""Fully convolutional network with skips at strides 32, 16 and 8."""

from __future__ import annotations

import segmentation_models_pytorch as smp
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (32, 16, 8)
"""Of the encoder's last three stages, whose scores are summed."""


class FCN8s(nn.Module):
    """Scores of an encoder's last three stages, summed from coarse to fine and enlarged to the image.

    Each stage is scored by a 1 x 1 convolution; the sum of the coarser scores is doubled bilinearly before a finer one
    is added, and the last sum is enlarged eightfold. Normalised float32 (N, B, H, W) -> logits (N, C, H, W); H and W
    are multiples of 32.

    Args:
        encoder_name: of segmentation_models_pytorch, with a stage at each of the strides 8, 16 and 32.
        encoder_weights: as in segmentation_models_pytorch; None starts at random.
        in_channels: bands of the image.
        classes: of the logits.

    Source: Long et al. 2015, Fully Convolutional Networks for Semantic Segmentation, section 4.2, with fixed bilinear
    interpolation in place of the learned one and without their crops, since all sizes are multiples of 32.
    """

    def __init__(self, encoder_name: str, encoder_weights: str | None, in_channels: int, classes: int) -> None:
        super().__init__()
        self.encoder = smp.encoders.get_encoder(encoder_name, in_channels=in_channels, depth=5, weights=encoder_weights)
        widths = reversed(self.encoder.out_channels[-len(STRIDES) :])
        self.scores = nn.ModuleList(nn.Conv2d(width, classes, 1) for width in widths)

    def forward(self, images: Tensor) -> Tensor:
        """Logits on the pixels of the images."""
        features = self.encoder(images)
        total: Tensor = self.scores[0](features[-1])
        for score, finer in zip(self.scores[1:], features[-2:-4:-1], strict=True):
            total = score(finer) + functional.interpolate(total, scale_factor=2.0, mode="bilinear")
        return functional.interpolate(total, scale_factor=float(STRIDES[-1]), mode="bilinear")
