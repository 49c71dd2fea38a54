"""How good a network is on whole images that it was not trained on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from geoseg.grid import Window
from geoseg.legend import ClassLegend
from geoseg.training.job import LossWeights, Normalisation, Precision, TrainingJob
from geoseg.training.losses import FULL, IGNORE, segmentation_loss
from geoseg.training.precision import autocast
from geoseg.training.samples import read_whole
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
        loss: the job's loss, a mean over known pixels; not a number where it was not measured.
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]
    loss: float = math.nan

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
    network: nn.Module,
    job: TrainingJob,
    scenes: Sequence[Scene],
    reader: SceneReader,
    legend: ClassLegend,
    *,
    class_weights: torch.Tensor | None = None,
) -> dict[str, Score]:
    """Scores of a network by source; a partly labelled source scores its class against everything else."""
    names = tuple(c.name for c in legend.classes)
    tallies: dict[str, _Tally] = {}
    for scene in scenes:
        image, truth = read_whole(scene, reader, job.ground_resolution_m)
        shown = names if scene.only == FULL else (f"not {names[scene.only]}", names[scene.only])
        tally = tallies.setdefault(scene.source.name, _Tally(shown))
        for block, logits in _predict_cores(network, job.normalisation, image, precision=job.schedule.precision):
            labels = torch.from_numpy(np.ascontiguousarray(truth[block])).to(logits.device)
            only = torch.tensor([scene.only], device=logits.device)
            loss = segmentation_loss(
                logits[None], labels[None], only, class_weights=class_weights, **loss_terms(job.loss)
            )
            classes = logits.argmax(0).to(torch.uint8).cpu().numpy()
            if scene.only != FULL:
                classes = (classes == scene.only).astype(np.uint8)
            tally.add(count_pairs(truth[block], classes, len(shown)), loss.item())
    return {name: tally.score() for name, tally in tallies.items()}


class _Tally:
    """Pixel counts and losses of one source, as they come in."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names, self._loss = names, 0.0
        self._counts = np.zeros((len(names), len(names)), np.int64)

    def add(self, counts: NDArray[np.int64], loss: float) -> None:
        self._counts += counts
        self._loss += loss * int(counts.sum())

    def score(self) -> Score:
        known = int(self._counts.sum())
        return Score(self._names, self._counts, self._loss / known if known else math.nan)


def loss_terms(weights: LossWeights) -> dict[str, float]:
    """The job's loss as arguments of `segmentation_loss`; class weights are for the caller to work out."""
    return {f.name: getattr(weights, f.name) for f in dataclasses.fields(weights) if f.name != "class_weights"}


def weigh_scores(scores: Mapping[str, Score], sources: Sequence[Source]) -> float:
    """Mean of the sources' mean IoU, weighted by the sources' weights; 0 where there is nothing to weigh."""
    return _weigh({name: score.mean_iou for name, score in scores.items()}, sources, empty=0.0)


def weigh_losses(scores: Mapping[str, Score], sources: Sequence[Source]) -> float:
    """Mean of the sources' losses, weighted as in `weigh_scores`; not a number where there is nothing to weigh."""
    return _weigh({name: s.loss for name, s in scores.items() if not math.isnan(s.loss)}, sources, empty=math.nan)


def _weigh(values: Mapping[str, float], sources: Sequence[Source], *, empty: float) -> float:
    weights = {s.name: s.weight for s in sources if s.name in values}
    total = sum(weights.values())
    return sum(values[name] * w for name, w in weights.items()) / total if total else empty


def count_pairs(truth: NDArray[np.uint8], classes: NDArray[np.uint8], size: int) -> NDArray[np.int64]:
    """Confusion matrix int64 (size, size), truth by prediction, of the pixels whose truth is known."""
    known = truth != IGNORE
    pairs = truth[known].astype(np.int64) * size + classes[known]
    return np.bincount(pairs, minlength=size * size).reshape(size, size)


def predict_classes(
    network: nn.Module, normalisation: Normalisation, image: NDArray[np.uint8], *, precision: Precision = "float32"
) -> NDArray[np.uint8]:
    """Likeliest class uint8 (H, W) of an image uint8 (H, W, B) at the network's ground resolution."""
    classes = np.empty(image.shape[:2], np.uint8)
    for block, logits in _predict_cores(network, normalisation, image, precision=precision):
        classes[block] = logits.argmax(0).to(torch.uint8).cpu().numpy()
    return classes


def _predict_cores(
    network: nn.Module, normalisation: Normalisation, image: NDArray[np.uint8], *, precision: Precision
) -> Iterator[tuple[tuple[slice, slice], torch.Tensor]]:
    """Logits float32 (C, h, w) of one block of the image after the other, and where the block lies."""
    device = next(network.parameters()).device
    whole = Window(0, 0, *image.shape[:2])
    is_training = network.training
    network.eval()
    try:
        for core in _split_cores(*image.shape[:2]):
            padded, block = core.pad(HALO_PX, HALO_PX), core.intersect(whole)
            rows, cols = (
                _reflect_indices(np.arange(start, start + extent), size)
                for start, extent, size in zip((padded.row, padded.col), padded.shape, image.shape[:2], strict=True)
            )
            x = normalise(torch.from_numpy(image[np.ix_(rows, cols)])[None].to(device), normalisation)
            with torch.inference_mode(), autocast(precision, device):
                logits = network(x)[0, :, HALO_PX:-HALO_PX, HALO_PX:-HALO_PX]
            yield block.within(whole), logits[:, : block.rows, : block.cols].float()
    finally:
        network.train(is_training)


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
