"""The refiner's opponent: a network that tells true masks from refined ones, patch by patch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm


class Discriminator(nn.Module):
    """A conditional PatchGAN: image and mask -> one judgement for every patch of the mask.

    It has no normalisation over batch or image: a patch's judgement depends on nothing but the patch, and the
    gradient penalty is defined sample by sample.

    Source: Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial Networks, section 3.2.2 and
    appendix 6.1.2, without batch normalisation; spectral normalisation after Miyato et al. 2018.

    Args:
        bands: of the image.
        classes: of the mask.
        width: channels of the first layer; doubled with each further one.
        layers: how often the resolution is halved; a patch is 9 * 2**layers - 2 pixels wide.
        is_normalised: whether every layer's spectral norm is kept at 1.
    """

    def __init__(self, bands: int, classes: int, *, width: int, layers: int, is_normalised: bool) -> None:
        super().__init__()
        self._halvings = layers
        channels = [bands + classes, *(width * 2**k for k in range(layers + 1)), 1]
        strides = [2] * layers + [1, 1]
        convolutions = [
            nn.Conv2d(inputs, outputs, 4, stride=stride, padding=1)
            for inputs, outputs, stride in zip(channels[:-1], channels[1:], strides, strict=True)
        ]
        self.convolutions = nn.ModuleList(map(spectral_norm, convolutions) if is_normalised else convolutions)

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """How true each patch looks, float (N, h, w), the higher the truer.

        Args:
            images: normalised float (N, B, H, W).
            masks: class probabilities float (N, C, H, W), 0 to 1.
        """
        x = torch.cat([images, masks], dim=1)
        for convolution in self.convolutions[:-1]:
            x = functional.leaky_relu(convolution(x), 0.2)
        judgements: Tensor = self.convolutions[-1](x)
        return judgements.squeeze(1)

    def share_known(self, known: Tensor) -> Tensor:
        """Share of known pixels in each patch, float32 (N, h, w), 0 to 1, from bool (N, H, W)."""
        step = 2**self._halvings
        # Kernel, stride and padding are those of all layers together: the receptive field of a judgement.
        shares: Tensor = functional.avg_pool2d(
            known.float().unsqueeze(1), 9 * step - 2, stride=step, padding=3 * step - 1, count_include_pad=False
        )
        return shares.squeeze(1)
