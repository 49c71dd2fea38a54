"""What a network is punished for: cross-entropy, focal, Dice and Lovasz losses, for full and for partial labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

IGNORE = 255
"""Label of pixels about which nothing is known."""

FULL = -1
"""In place of the one class that a partially labelled sample knows: this sample knows all classes."""

TINY = 1e-12


def segmentation_loss(
    logits: Tensor,
    labels: Tensor,
    only: Tensor,
    *,
    cross_entropy: float,
    dice: float,
    focal: float = 0.0,
    focal_gamma: float = 2.0,
    lovasz: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Weighted sum of up to four losses over a batch of fully and partially labelled samples.

    A fully labelled sample counts with the softmax probabilities of all classes. A sample which labels class k only
    (1 where it is k, 0 where it is anything else) counts with the probability of k against its complement, see
    `class_log_odds`; the gradient with respect to the other classes' logits is exactly zero.

    Args:
        logits: float (N, C, H, W).
        labels: integer (N, H, W); class ids, or 0 and 1 where `only` names a class; `IGNORE` counts nowhere.
        only: integer (N,); the class that a sample is about, or `FULL`.
        cross_entropy: weight of the cross-entropy, a mean over known pixels.
        dice: weight of the Dice loss, between 0 and 1.
        focal: weight of the focal loss, a mean over known pixels.
        focal_gamma: exponent of the focal loss; with 0 it is the cross-entropy.
        lovasz: weight of the Lovasz loss, between 0 and 1.
        class_weights: float (C,), how much a class counts: its pixels in cross-entropy and focal loss, itself in Dice
            and Lovasz loss; None for all the same. For a sample about one class, anything else weighs as the mean of
            the other classes.

    Returns:
        A scalar; each of the two kinds of samples counts by its number of samples.
    """
    logits = logits.float()
    weights = logits.new_ones(logits.shape[1]) if class_weights is None else class_weights.to(logits)
    terms = _Terms(cross_entropy=cross_entropy, dice=dice, focal=focal, gamma=focal_gamma, lovasz=lovasz)
    total = logits.new_zeros(())
    is_full = only == FULL
    if is_full.any():
        total = total + is_full.sum() * _full_loss(logits[is_full], labels[is_full], weights, terms)
    if (~is_full).any():
        known_class = only[~is_full].long()
        odds = class_log_odds(logits[~is_full], known_class)
        total = total + (~is_full).sum() * _binary_loss(odds, labels[~is_full], known_class, weights, terms)
    return total / len(logits)


def class_log_odds(logits: Tensor, only: Tensor) -> Tensor:
    """log(p_k / (1 - p_k)) of the softmax probability of class k, float (N, H, W); `only` holds k of each sample.

    The other classes' logits get no gradient. With it, their likelier members would be pushed up more than the
    others, although the labels say nothing about which of them is right.
    """
    index = only.view(-1, 1, 1, 1).expand(-1, 1, *logits.shape[2:]).long()
    others = logits.detach().scatter(1, index, float("-inf")).logsumexp(1)
    return logits.gather(1, index).squeeze(1) - others


@dataclass(frozen=True, slots=True)
class _Terms:
    """Weights of the losses, and how they come together."""

    cross_entropy: float
    dice: float
    focal: float
    gamma: float
    lovasz: float

    def weigh(
        self, entropy: Tensor, chance: Tensor, truth: Tensor, pixel_weights: Tensor, class_weights: Tensor
    ) -> Tensor:
        """The weighted sum.

        Args:
            entropy: cross-entropy of each pixel, float (N, H, W).
            chance: probabilities of K classes, float (N, K, H, W), 0 where unknown.
            truth: the same of the labels, 0 or 1, 0 where unknown.
            pixel_weights: float (N, H, W), 0 where unknown.
            class_weights: float (K,).
        """
        shares = pixel_weights / pixel_weights.sum().clamp(min=TINY)
        loss = self.cross_entropy * (entropy * shares).sum()
        if self.dice:
            loss = loss + self.dice * _dice_loss(chance, truth, class_weights)
        if self.focal:
            loss = loss + self.focal * (_focal_loss(entropy, self.gamma) * shares).sum()
        if self.lovasz:
            loss = loss + self.lovasz * _lovasz_loss(chance, truth, class_weights)
        return loss


def _full_loss(logits: Tensor, labels: Tensor, weights: Tensor, terms: _Terms) -> Tensor:
    known = labels != IGNORE
    identity = labels.long().masked_fill(~known, 0)
    entropy = functional.cross_entropy(logits, labels.long(), ignore_index=IGNORE, reduction="none")
    truth = functional.one_hot(identity, logits.shape[1]).movedim(-1, 1) * known.unsqueeze(1)
    chance = logits.softmax(1) * known.unsqueeze(1)
    return terms.weigh(entropy, chance, truth.to(chance.dtype), weights[identity] * known, weights)


def _binary_loss(odds: Tensor, labels: Tensor, known_class: Tensor, weights: Tensor, terms: _Terms) -> Tensor:
    known = labels != IGNORE
    truth = ((labels == 1) & known).to(odds.dtype)
    entropy = functional.binary_cross_entropy_with_logits(odds, truth, reduction="none") * known
    own = weights[known_class]
    other = (weights.sum() - own) / max(1, len(weights) - 1)
    pixel_weights = torch.where(truth > 0, own.view(-1, 1, 1), other.view(-1, 1, 1)) * known
    # Each sample at its own class: Dice and Lovasz loss would mix the classes of the batch otherwise.
    index = known_class.view(-1, 1, 1, 1).expand(-1, 1, *odds.shape[1:])
    chance, present = (
        odds.new_zeros(len(odds), len(weights), *odds.shape[1:]).scatter(1, index, x.unsqueeze(1))
        for x in (odds.sigmoid() * known, truth)
    )
    return terms.weigh(entropy, chance, present, pixel_weights, weights)


def _focal_loss(entropy: Tensor, gamma: float) -> Tensor:
    """Cross-entropy of each pixel, made small where the pixel is right already.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, equation 4.
    """
    # A power below 1 has no slope at 0.
    return (1 - torch.exp(-entropy)).clamp(min=TINY) ** gamma * entropy


def _dice_loss(chance: Tensor, truth: Tensor, class_weights: Tensor) -> Tensor:
    """1 - soft Dice of the batch, mean over the classes that occur.

    Source: Milletari et al. 2016, V-Net, section 3, over all pixels of the batch and with the plain sum of
    probabilities in the denominator.
    """
    axes = (0, 2, 3)
    overlap = (chance * truth).sum(axes)
    score = (2 * overlap + 1) / ((chance + truth).sum(axes) + 1)
    return _mean_of_present(1 - score, truth.sum(axes), class_weights)


def _lovasz_loss(chance: Tensor, truth: Tensor, class_weights: Tensor) -> Tensor:
    """Lovasz extension of the Jaccard loss of the batch, mean over the classes that occur.

    Source: Berman et al. 2018, The Lovasz-Softmax loss, equations 8 and 9, algorithm 1.
    """
    present, chances = (x.movedim(1, 0).flatten(1) for x in (truth, chance))
    errors, order = (present - chances).abs().sort(dim=1, descending=True)
    hits = present.gather(1, order)
    total = hits.sum(1, keepdim=True)
    # Unknown pixels have no error and come last, where they change nothing.
    missed, false = hits.cumsum(1), (1 - hits).cumsum(1)
    jaccard = 1 - (total - missed) / (total + false)
    steps = torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], dim=1)
    return _mean_of_present((errors * steps).sum(1), total.squeeze(1), class_weights)


def _mean_of_present(losses: Tensor, counts: Tensor, class_weights: Tensor) -> Tensor:
    weights = class_weights * (counts > 0)
    return (losses * weights).sum() / weights.sum().clamp(min=TINY)
