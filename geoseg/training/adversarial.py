"""The game between refiner and discriminator: what each is shown, and what each is punished for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from geoseg.training.discriminator import Discriminator
from geoseg.training.job import Precision
from geoseg.training.losses import FULL, IGNORE, class_log_odds
from geoseg.training.precision import autocast
from geoseg.training.refine_job import DiscriminatorSettings, GanKind

BETAS = (0.5, 0.999)
"""Of Adam, for both players; Radford et al. 2016, DCGAN, section 4."""

LEAST_TRUTH = 0.9
"""Probability that the true class has at least in what the discriminator is shown as true."""


def soften_truth(labels: Tensor, probabilities: Tensor) -> Tensor:
    """True masks that cannot be told by being exactly 0 or 1.

    The true class gets its refined probability or `LEAST_TRUTH`, whichever is larger; the others share the rest in
    the ratio of their refined probabilities.

    Source: Luc et al. 2016, Semantic Segmentation using Adversarial Networks, section 3.2, "Scaling".

    Args:
        labels: integer (N, H, W), class ids; any other value gives an all-zero pixel.
        probabilities: refined, float (N, C, H, W), 0 to 1, no gradient passes.

    Returns:
        float (N, C, H, W), 0 to 1.
    """
    chances = probabilities.detach()
    classes = torch.arange(chances.shape[1], device=labels.device).view(1, -1, 1, 1)
    is_true = labels.unsqueeze(1) == classes
    own = (chances * is_true).sum(1, keepdim=True)
    raised = own.clamp(min=LEAST_TRUTH)
    others = chances * (1 - raised) / (1 - own).clamp(min=torch.finfo(chances.dtype).eps)
    return torch.where(is_true, raised, others) * is_true.any(1, keepdim=True)


def judgement_loss(judgements: Tensor, shares: Tensor, *, is_true: bool, kind: GanKind) -> Tensor:
    """How far judgements are from calling every patch true (or refined), a mean weighted by the known pixels.

    Source: Goodfellow et al. 2014, Generative Adversarial Nets, section 3 ("bce", with the loss for the generator
    that does not saturate); Mao et al. 2017, Least Squares GANs, equation 9 ("least_squares").

    Args:
        judgements: float (N, h, w).
        shares: of known pixels, float (N, h, w), 0 to 1.
        is_true: what the judgements should say.
        kind: of loss.
    """
    judgements = judgements.float()
    if kind == "bce":
        losses = functional.softplus(-judgements if is_true else judgements)
    else:
        losses = (judgements - float(is_true)) ** 2
    return (losses * shares).sum() / shares.sum().clamp(min=1)


def gradient_penalty(discriminator: Discriminator, images: Tensor, masks: Tensor, shares: Tensor) -> Tensor:
    """R1: the squared gradient of the judgements with respect to true masks, a mean over patches.

    Source: Mescheder et al. 2018, Which Training Methods for GANs do actually Converge?, equation 9, taken per patch.
    """
    masks = masks.detach().requires_grad_()
    judgements = discriminator(images, masks)
    (gradient,) = torch.autograd.grad((judgements * shares).sum(), masks, create_graph=True)
    return gradient.square().sum() / shares.sum().clamp(min=1)


def absolute_loss(logits: Tensor, labels: Tensor, only: Tensor) -> Tensor:
    """Mean absolute difference of probabilities and truth; arguments as in `segmentation_loss`."""
    logits, known = logits.float(), labels != IGNORE
    is_full = (only == FULL).view(-1, 1, 1)
    truth = labels.long().masked_fill(~known, 0)
    # Over all classes the absolute differences sum to twice what the true class lacks.
    missing = 1 - logits.softmax(1).gather(1, truth.unsqueeze(1)).squeeze(1)
    chance = class_log_odds(logits, only.clamp(min=0)).sigmoid()
    differences = torch.where(is_full, missing, (chance - truth).abs())
    return (differences * known).sum() / known.sum().clamp(min=1)


@dataclass(frozen=True)
class Verdict:
    """How the discriminator did: its loss, and the shares of true and of refined patches that it recognised."""

    loss: float
    true_accuracy: float
    refined_accuracy: float


class Adversary:
    """A discriminator that learns along; it is shown fully labelled samples only.

    Pixels without a label are 0 in true and refined masks alike, and patches count by their known pixels.

    Args:
        discriminator: on its device already.
        settings: of its learning.
        kind: of the loss.
        precision: see `geoseg.training.job.Schedule`.
    """

    def __init__(
        self, discriminator: Discriminator, settings: DiscriminatorSettings, *, kind: GanKind, precision: Precision
    ) -> None:
        self.discriminator, self._settings, self._kind = discriminator, settings, kind
        self._precision: Precision = precision
        self.optimizer = torch.optim.Adam(
            [{"params": list(discriminator.parameters()), "full_rate": settings.rate}], lr=settings.rate, betas=BETAS
        )

    def learn(self, images: Tensor, labels: Tensor, probabilities: Tensor, *, step: int) -> Verdict:
        """One step of the discriminator against refined probabilities, which it does not change.

        Args:
            images: normalised float (N, B, H, W).
            labels: integer (N, H, W), class ids or `IGNORE`.
            probabilities: refined, float (N, C, H, W).
            step: number of the step; says when the gradient penalty is due.

        Returns:
            The verdict before the step.
        """
        known = labels != IGNORE
        shares = self.discriminator.share_known(known)
        true = soften_truth(labels, probabilities)
        refined = probabilities.detach() * known.unsqueeze(1)
        both = self._judge(torch.cat([images, images]), torch.cat([true, refined]))
        on_true, on_refined = both.chunk(2)
        loss = 0.5 * (
            judgement_loss(on_true, shares, is_true=True, kind=self._kind)
            + judgement_loss(on_refined, shares, is_true=False, kind=self._kind)
        )
        total, every = loss, self._settings.r1_every
        if self._settings.r1 and step % every == 0:
            penalty = gradient_penalty(self.discriminator, images, true, shares)
            total = loss + 0.5 * self._settings.r1 * every * penalty
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        border = 0.0 if self._kind == "bce" else 0.5
        return Verdict(float(total.detach()), _mean(on_true > border, shares), _mean(on_refined <= border, shares))

    def fooling_loss(self, images: Tensor, labels: Tensor, probabilities: Tensor) -> Tensor:
        """What the refiner is punished for: refined patches that are not taken for true; arguments as in `learn`."""
        known = labels != IGNORE
        judgements = self._judge(images, probabilities * known.unsqueeze(1))
        return judgement_loss(judgements, self.discriminator.share_known(known), is_true=True, kind=self._kind)

    def _judge(self, images: Tensor, masks: Tensor) -> Tensor:
        with autocast(self._precision, images.device):
            judgements: Tensor = self.discriminator(images, masks)
        return judgements.float()


def _mean(hits: Tensor, shares: Tensor) -> float:
    return float((hits * shares).sum() / shares.sum().clamp(min=1))
