"""Pooling of a PSPNet (Zhao et al. 2017) in operations that a graph for images of any size can hold."""

from __future__ import annotations

import torch
from segmentation_models_pytorch.decoders.pspnet.decoder import PSPBlock
from torch import nn
from torch.nn import functional


class CellMeans(nn.Module):
    """Means over cells x cells parts of a plane, as `nn.AdaptiveAvgPool2d` gives them, as two products of matrices."""

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) float -> (N, C, cells, cells)."""
        rows, cols = (self._weigh(features, axis) for axis in (2, 3))
        return rows @ features @ cols.T

    def _weigh(self, features: torch.Tensor, axis: int) -> torch.Tensor:
        size = features.shape[axis]
        cell = torch.arange(self.cells, device=features.device)[:, None]
        at = torch.arange(size, device=features.device)
        start, stop = cell * size // self.cells, ((cell + 1) * size + self.cells - 1) // self.cells
        return ((at >= start) & (at < stop)).to(features.dtype) / (stop - start).to(features.dtype)


class PyramidBlock(nn.Module):
    """A `PSPBlock` of segmentation_models_pytorch, with the same weights under the same names."""

    def __init__(self, block: PSPBlock) -> None:
        super().__init__()
        self.pool = nn.Sequential(CellMeans(block.pool_size), block.pool[1])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) float -> (N, C', H, W): the means of the cells, interpolated."""
        size = features.shape[2:]
        return functional.interpolate(self.pool(features), size=size, mode="bilinear", align_corners=True)


def replace_pyramid(network: nn.Module) -> None:
    """Put `PyramidBlock` in the place of each `PSPBlock`."""
    for name, module in list(network.named_modules()):
        if isinstance(module, PSPBlock):
            network.set_submodule(name, PyramidBlock(module))
