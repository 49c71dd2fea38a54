"""The game of refinement: network and refiner on one side, the discriminator on the other, one step after another."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from geoseg.models.refiner import RefinedNetwork
from geoseg.training.adversarial import BETAS, Adversary, absolute_loss
from geoseg.training.balance import StepReport
from geoseg.training.base import Base
from geoseg.training.checkpoint import AVERAGE, OPTIMIZER, WEIGHTS, read_progress, write_progress
from geoseg.training.discriminator import Discriminator
from geoseg.training.losses import FULL, IGNORE, segmentation_loss
from geoseg.training.optimize import learning_rate_factor, set_learning_rates, update_average
from geoseg.training.precision import autocast
from geoseg.training.refine_job import RefineJob
from geoseg.training.samples import Batch
from geoseg.training.step import TrainingError, seed_step
from geoseg.training.validate import normalise


class Game:
    """Everything that learns; all of it can be written to a folder and read back.

    Args:
        job: what to learn, how fast, and against whom.
        base: the network to refine.
        device: where to compute.
    """

    def __init__(self, job: RefineJob, base: Base, device: torch.device) -> None:
        self._job, self._normalisation, self._device = job, base.normalisation, device
        bands, classes = base.spec.bands, len(base.legend)
        self.spec = dataclasses.replace(base.spec, refiner_width=job.refiner.width)
        model = RefinedNetwork(base.network, bands=bands, classes=classes, width=job.refiner.width)
        self.model = model.to(device).to(memory_format=torch.channels_last).eval()
        self.average = copy.deepcopy(self.model)
        groups = [{"params": list(self.model.refiner.parameters()), "full_rate": job.schedule.rate}]
        if job.train_base:
            groups.append({"params": list(self.model.network.parameters()), "full_rate": job.schedule.base_rate})
        self.optimizer = Adam(groups, betas=BETAS)
        self.adversary: Adversary | None = None
        if job.loss.adversarial:
            opponent = job.discriminator
            discriminator = Discriminator(
                bands, classes, width=opponent.width, layers=opponent.layers, is_normalised=opponent.spectral_norm
            )
            discriminator = discriminator.to(device).to(memory_format=torch.channels_last)
            self.adversary = Adversary(discriminator, opponent, kind=job.loss.kind, precision=job.schedule.precision)

    def learn_batch(self, batch: Batch, step: int) -> StepReport:
        """One step of both players.

        Raises:
            TrainingError: a loss or a gradient is no longer finite.
        """
        job, schedule = self._job, self._job.schedule
        seed_step(job.seed, step)
        factor = learning_rate_factor(step / schedule.steps, schedule.warmup)
        set_learning_rates(self.optimizer, factor)
        if self.adversary:
            set_learning_rates(self.adversary.optimizer, factor)
        learner: nn.Module = self.model if job.train_base else self.model.refiner
        learner.train()
        images = normalise(torch.from_numpy(batch.images).to(self._device), self._normalisation)
        labels, only = torch.from_numpy(batch.labels).to(self._device), torch.from_numpy(batch.only).to(self._device)
        with autocast(schedule.precision, self._device):
            with torch.set_grad_enabled(job.train_base):
                probabilities = torch.softmax(self.model.network(images), dim=1)
            logits: Tensor = self.model.refiner(images, probabilities)
        report, pull = self._score(images, labels, only, logits, step)
        self.optimizer.zero_grad(set_to_none=True)
        logits.backward(pull)  # type: ignore[no-untyped-call]
        norm = float(nn.utils.clip_grad_norm_(learner.parameters(), schedule.clip_norm))
        _check_finite({"gradient": norm}, step)
        self.optimizer.step()
        average = self.average if job.train_base else self.average.refiner
        update_average(average, learner, decay=schedule.average_decay, step=step)
        return dataclasses.replace(report, gradient_norm=norm)

    def _score(
        self, images: Tensor, labels: Tensor, only: Tensor, logits: Tensor, step: int
    ) -> tuple[StepReport, Tensor]:
        """What refined logits are worth, and the gradient of the whole loss with respect to them.

        Both terms are derived down to the logits only, which tells for nothing how their pulls compare; on the way
        from there to the weights they go together.
        """
        weights = self._job.loss
        supervised = segmentation_loss(
            logits, labels, only, cross_entropy=weights.cross_entropy, dice=weights.dice
        ) + weights.l1 * absolute_loss(logits, labels, only)
        _check_finite({"supervised loss": supervised.item()}, step)
        (pull,) = torch.autograd.grad(supervised, logits)
        is_full = only == FULL
        images, labels, refined = images[is_full], labels[is_full], logits[is_full].float().softmax(1)
        report = StepReport(supervised.item(), math.nan, *_measure_shares(labels, refined.detach()))
        if self.adversary is None or not is_full.any():
            return report, pull
        verdict = self.adversary.learn(images, labels, refined, step=step)
        fooling = weights.adversarial * self.adversary.fooling_loss(images, labels, refined)
        _check_finite({"discriminator's loss": verdict.loss, "adversarial loss": fooling.item()}, step)
        (push,) = torch.autograd.grad(fooling, logits)
        ratio = float(push.norm() / pull.norm().clamp(min=torch.finfo(pull.dtype).tiny))
        report = dataclasses.replace(report, adversarial=fooling.item(), gradient_ratio=ratio, verdict=verdict)
        return report, pull + push

    def write(self, folder: Path, description: Mapping[str, Any]) -> None:
        """Write all that is needed to go on.

        Raises:
            OutputError: the folder cannot be written.
        """
        write_progress(folder, self._modules(), self._optimizers(), description)

    def read(self, folder: Path) -> dict[str, Any]:
        """Put back what `write` wrote, and return its description.

        Raises:
            ModelError: the folder is damaged or of another game.
        """
        return read_progress(folder, self._modules(), self._optimizers())

    def _modules(self) -> dict[str, nn.Module]:
        modules: dict[str, nn.Module] = {WEIGHTS: self.model, AVERAGE: self.average}
        return modules | ({"discriminator.safetensors": self.adversary.discriminator} if self.adversary else {})

    def _optimizers(self) -> dict[str, Optimizer]:
        optimizers: dict[str, Optimizer] = {OPTIMIZER: self.optimizer}
        return optimizers | (
            {"discriminator_optimizer.safetensors": self.adversary.optimizer} if self.adversary else {}
        )


def _measure_shares(labels: Tensor, refined: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Share of each class among the known pixels: in the truth, and as mean refined probability."""
    known = labels != IGNORE
    count = known.sum().clamp(min=1)
    classes = refined.shape[1]
    true = torch.bincount(labels[known].long(), minlength=classes) / count
    chances = (refined * known.unsqueeze(1)).sum((0, 2, 3)) / count
    return true.cpu().numpy(), chances.cpu().numpy()


def _check_finite(values: Mapping[str, float], step: int) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise TrainingError(
                f"the {name} is {value} at step {step}",
                expected="finite numbers",
                remedy="lower the learning rates or loss.adversarial, or set precision to 'float32'",
            )
