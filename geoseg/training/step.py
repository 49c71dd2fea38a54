"""One step of learning: forward, loss, backward, optimiser, running average."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geoseg.errors import GeosegError
from geoseg.training.checkpoint import AVERAGE, OPTIMIZER, WEIGHTS, read_progress, write_progress
from geoseg.training.job import TrainingJob
from geoseg.training.losses import segmentation_loss
from geoseg.training.optimize import build_optimizer, learning_rate_factor, set_learning_rates, update_average
from geoseg.training.precision import autocast, choose_dtype
from geoseg.training.samples import Batch
from geoseg.training.validate import loss_terms, normalise


class TrainingError(GeosegError):
    """Training that cannot go on."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """Loss of the batch before the step, norm of its gradient before clipping, highest learning rate."""

    loss: float
    gradient_norm: float
    rate: float


def seed_step(seed: int, step: int) -> None:
    """Make what torch draws in a step, such as dropout, depend on the job's seed and the step's number only."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1)[0]))


class Learner:
    """All that changes while a network learns: its weights, their running average, the optimiser's memory.

    Args:
        network: to train; moved to the device.
        job: how.
        device: where.
        class_weights: float (C,), see `segmentation_loss`.
    """

    def __init__(
        self, network: nn.Module, job: TrainingJob, device: torch.device, *, class_weights: Tensor | None = None
    ) -> None:
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network)
        self.optimizer = build_optimizer(self.network, job.schedule)
        is_scaled = choose_dtype(job.schedule.precision, device) == torch.float16
        # Gradients of float16 vanish unless the loss is large.
        self.scaler = torch.amp.GradScaler(device.type, enabled=is_scaled)
        self._job, self._device, self._class_weights = job, device, class_weights

    def learn(self, batch: Batch, *, step: int, progress: float) -> StepResult:
        """Learn from a batch.

        Args:
            batch: as the sampler draws it.
            step: number of the step; dropout depends on it and on the job's seed only.
            progress: share of the way that is done, 0 to 1.

        Raises:
            TrainingError: the loss or the gradient is no longer finite; the weights are as before.
        """
        schedule = self._job.schedule
        seed_step(self._job.seed, step)
        set_learning_rates(self.optimizer, learning_rate_factor(progress, schedule.warmup))
        self.network.train()
        images = normalise(torch.from_numpy(batch.images).to(self._device), self._job.normalisation)
        labels, only = (torch.from_numpy(x).to(self._device) for x in (batch.labels, batch.only))
        with autocast(schedule.precision, self._device):
            logits: Tensor = self.network(images)
        loss = segmentation_loss(logits, labels, only, class_weights=self._class_weights, **loss_terms(self._job.loss))
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), schedule.clip_norm)
        rate = max(group["lr"] for group in self.optimizer.param_groups)
        result = StepResult(loss.item(), norm.item(), rate)
        self._check(result, batch, step)
        # With a scaled loss, a gradient that is not finite skips the step and lowers the scale.
        self.scaler.step(self.optimizer)
        self.scaler.update()
        update_average(self.average, self.network, decay=schedule.average_decay, step=step)
        return result

    def _check(self, result: StepResult, batch: Batch, step: int) -> None:
        is_overflow = self.scaler.is_enabled() and self.scaler.get_scale() > 1
        if math.isfinite(result.loss) and (math.isfinite(result.gradient_norm) or is_overflow):
            return
        raise TrainingError(
            f"at step {step} the loss is {result.loss:g}, the norm of its gradient {result.gradient_norm:g} "
            f"and the learning rate {result.rate:g}; the batch came from {', '.join(sorted(set(batch.sources)))}",
            expected="finite numbers",
            remedy="lower the learning rates, lengthen the warm-up, set precision to 'float32' or mend these sources",
        )

    def write(self, folder: Path, state: Mapping[str, Any]) -> None:
        """Write all that is needed to go on, with `state` beside it.

        Raises:
            OutputError: the folder cannot be written.
        """
        described = {**state, "scaler": self.scaler.state_dict()}
        write_progress(folder, self._modules(), {OPTIMIZER: self.optimizer}, described)

    def read(self, folder: Path) -> dict[str, Any]:
        """Put back what `write` wrote, and return the state.

        Raises:
            ModelError: the folder is damaged or of another network.
        """
        state = read_progress(folder, self._modules(), {OPTIMIZER: self.optimizer})
        self.scaler.load_state_dict(state["scaler"])
        return state

    def _modules(self) -> dict[str, nn.Module]:
        return {WEIGHTS: self.network, AVERAGE: self.average}
