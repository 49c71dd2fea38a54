"""How good a network is on whole images that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from geoseg.grid import Window
from geoseg.legend import ClassLegend
from geoseg.training.job import Normalisation, TrainingJob
from geoseg.training.losses import FULL, IGNORE
from geoseg.training.samples import resample
from geoseg.training.scenes import Scene, SceneReader
from geoseg.training.source import Source

CORE_PX, HALO_PX = 768, 128
"""A scene is predicted in squares of CORE_PX, each with HALO_PX around it for context."""


@dataclass(frozen=True)
class Score:
    """Pixel counts of one source.

    Args:
        names: of the rows and columns of `counts`.
        counts: int64 (K, K), truth by prediction, at the job's ground resolution.
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def iou(self) -> dict[str, float]:
        """Intersection over union by class; classes that neither occur nor are predicted are left out."""
        hit = np.diag(self.counts)
        union = self.counts.sum(0) + self.counts.sum(1) - hit
        return {n: float(h / u) for n, h, u in zip(self.names, hit, union, strict=True) if u}

    @property
    def mean_iou(self) -> float:
        """Mean over the classes of `iou`."""
        return float(np.mean(list(self.iou.values()))) if self.iou else 0.0


def validate(
    network: nn.Module, job: TrainingJob, scenes: Sequence[Scene], reader: SceneReader, legend: ClassLegend
) -> dict[str, Score]:
    """Scores of a network by source; a partly labelled source scores its class against everything else."""
    names = tuple(c.name for c in legend.classes)
    counts: dict[str, NDArray[np.int64]] = {}
    shown: dict[str, tuple[str, ...]] = {}
    for scene in scenes:
        image, truth = reader.read(scene, scene.window)
        factors = [r / job.ground_resolution_m for r in scene.resolution_m]
        shape = max(1, round(scene.rows * factors[0])), max(1, round(scene.cols * factors[1]))
        image, truth = resample(image, truth, shape)
        classes = predict_classes(network, job.normalisation, image, precision=job.schedule.precision)
        if scene.only == FULL:
            shown[scene.source.name] = names
        else:
            shown[scene.source.name] = (f"not {names[scene.only]}", names[scene.only])
            classes = (classes == scene.only).astype(np.uint8)
        table = count_pairs(truth, classes, len(shown[scene.source.name]))
        counts[scene.source.name] = counts.get(scene.source.name, np.zeros_like(table)) + table
    return {name: Score(shown[name], table) for name, table in counts.items()}


def weigh_scores(scores: Mapping[str, Score], sources: Sequence[Source]) -> float:
    """Mean of the sources' mean IoU, weighted by the sources' weights; 0 where there is nothing to weigh."""
    weights = {s.name: s.weight for s in sources if s.name in scores}
    total = sum(weights.values())
    return sum(scores[name].mean_iou * w for name, w in weights.items()) / total if total else 0.0


def count_pairs(truth: NDArray[np.uint8], classes: NDArray[np.uint8], size: int) -> NDArray[np.int64]:
    """Confusion matrix int64 (size, size), truth by prediction, of the pixels whose truth is known."""
    known = truth != IGNORE
    pairs = truth[known].astype(np.int64) * size + classes[known]
    return np.bincount(pairs, minlength=size * size).reshape(size, size)


def predict_classes(
    network: nn.Module, normalisation: Normalisation, image: NDArray[np.uint8], *, precision: str = "float32"
) -> NDArray[np.uint8]:
    """Likeliest class uint8 (H, W) of an image uint8 (H, W, B) at the network's ground resolution."""
    device = next(network.parameters()).device
    classes = np.empty(image.shape[:2], np.uint8)
    is_training = network.training
    network.eval()
    with torch.inference_mode():
        for core in _split_cores(*image.shape[:2]):
            padded = core.pad(HALO_PX, HALO_PX)
            rows, cols = (
                _reflect_indices(np.arange(start, start + extent), size)
                for start, extent, size in zip((padded.row, padded.col), padded.shape, image.shape[:2], strict=True)
            )
            x = normalise(torch.from_numpy(image[np.ix_(rows, cols)])[None].to(device), normalisation)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                logits = network(x)[0, :, HALO_PX:-HALO_PX, HALO_PX:-HALO_PX]
            best = logits.float().argmax(0).to(torch.uint8).cpu().numpy()
            block = core.intersect(Window(0, 0, *image.shape[:2]))
            classes[block.within(Window(0, 0, *image.shape[:2]))] = best[: block.rows, : block.cols]
    network.train(is_training)
    return classes


def normalise(images: torch.Tensor, normalisation: Normalisation) -> torch.Tensor:
    """Network input float32 (N, B, H, W), channels last in memory, from images uint8 (N, H, W, B)."""
    mean = torch.tensor(normalisation.mean, device=images.device)
    std = torch.tensor(normalisation.std, device=images.device)
    return ((images.float() - mean) / std).permute(0, 3, 1, 2)


def _split_cores(rows: int, cols: int) -> Iterator[Window]:
    """Squares that cover rows × cols, each a multiple of 32 pixels; the last ones may reach beyond."""
    height, width = (min(CORE_PX, -(-size // 32) * 32) for size in (rows, cols))
    for row in range(0, rows, height):
        for col in range(0, cols, width):
            yield Window(row, col, height, width)


def _reflect_indices(positions: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Positions beyond 0 .. size - 1 mirrored back inside, the border pixel repeated."""
    folded = positions % (2 * size)
    return np.where(folded < size, folded, 2 * size - 1 - folded)
