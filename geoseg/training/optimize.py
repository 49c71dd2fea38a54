"""How weights move: rates, the optimiser, the running average."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from geoseg.training.job import Schedule


def learning_rate_factor(progress: float, warmup: float) -> float:
    """Share of the full learning rate at a progress of 0 to 1: linear rise, then half a cosine down to 0.

    Source: Loshchilov & Hutter 2017, SGDR, equation 5, without restarts.
    """
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup))))


def build_optimizer(network: nn.Module, schedule: Schedule) -> Optimizer:
    """The optimiser of the schedule, one rate for the encoder and one for the rest; biases and normalisation decay not.

    Source: Kingma & Ba 2015, Adam; Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization (AdamW);
    Sutskever et al. 2013, On the importance of initialization and momentum (SGD); Tieleman & Hinton 2012, RMSProp.
    """
    grouped: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        rate = schedule.encoder_rate if name.startswith("encoder.") else schedule.decoder_rate
        decay = schedule.weight_decay if parameter.ndim > 1 else 0.0
        grouped.setdefault((rate, decay), []).append(parameter)
    groups = [{"params": p, "lr": r, "weight_decay": d, "full_rate": r} for (r, d), p in grouped.items()]
    match schedule.optimizer:
        case "AdamW":
            return AdamW(groups)
        case "Adam":
            return Adam(groups)
        case "SGD":
            return SGD(groups, momentum=schedule.momentum, nesterov=schedule.nesterov)
        case "RMSprop":
            return RMSprop(groups, momentum=schedule.momentum)


def set_learning_rates(optimizer: Optimizer, factor: float) -> None:
    """Set every rate of `build_optimizer` to its full value times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["full_rate"] * factor


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, *, decay: float, step: int) -> None:
    """Move the running mean of the weights towards the network; integer buffers are copied.

    Early on the mean forgets faster than `decay` says, or it would remember the random start for too long.

    Source: Polyak & Juditsky 1992, with exponential weights.
    """
    decay = min(decay, (1 + step) / (10 + step))
    for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)
