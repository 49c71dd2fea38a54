"""What a network is punished for: cross-entropy and Dice, for full and for partial labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

IGNORE = 255
"""Label of pixels about which nothing is known."""

FULL = -1
"""In place of the one class that a partially labelled sample knows: this sample knows all classes."""


def segmentation_loss(logits: Tensor, labels: Tensor, only: Tensor, *, cross_entropy: float, dice: float) -> Tensor:
    """Weighted sum of cross-entropy and Dice loss over a batch of fully and partially labelled samples.

    A fully labelled sample counts with softmax cross-entropy and the Dice loss over the classes that occur. A sample
    which labels class k only (1 where it is k, 0 where it is anything else) counts with both terms for the
    probability of k against its complement, see `class_log_odds`.

    Args:
        logits: float (N, C, H, W).
        labels: integer (N, H, W); class ids, or 0 and 1 where `only` names a class; `IGNORE` counts nowhere.
        only: integer (N,); the class that a sample is about, or `FULL`.
        cross_entropy: weight of the cross-entropy, a mean over known pixels.
        dice: weight of the Dice loss, between 0 and 1.

    Returns:
        A scalar; each of the two kinds of samples counts by its number of samples.
    """
    logits = logits.float()
    total = logits.new_zeros(())
    is_full = only == FULL
    if is_full.any():
        total = total + is_full.sum() * _full_loss(logits[is_full], labels[is_full], cross_entropy, dice)
    if (~is_full).any():
        odds = class_log_odds(logits[~is_full], only[~is_full])
        total = total + (~is_full).sum() * _binary_loss(odds, labels[~is_full], cross_entropy, dice)
    return total / len(logits)


def class_log_odds(logits: Tensor, only: Tensor) -> Tensor:
    """log(p_k / (1 - p_k)) of the softmax probability of class k, float (N, H, W); `only` holds k of each sample.

    The other classes' logits get no gradient. With it, their likelier members would be pushed up more than the
    others, although the labels say nothing about which of them is right.
    """
    index = only.view(-1, 1, 1, 1).expand(-1, 1, *logits.shape[2:]).long()
    others = logits.detach().scatter(1, index, float("-inf")).logsumexp(1)
    return logits.gather(1, index).squeeze(1) - others


def _full_loss(logits: Tensor, labels: Tensor, cross_entropy: float, dice: float) -> Tensor:
    known = labels != IGNORE
    count = known.sum().clamp(min=1)
    entropy = functional.cross_entropy(logits, labels.long(), ignore_index=IGNORE, reduction="sum") / count
    classes = logits.shape[1]
    truth = functional.one_hot(labels.long().masked_fill(~known, 0), classes).movedim(-1, 1) * known.unsqueeze(1)
    chance = logits.softmax(1) * known.unsqueeze(1)
    return cross_entropy * entropy + dice * _dice_loss(chance, truth)


def _binary_loss(odds: Tensor, labels: Tensor, cross_entropy: float, dice: float) -> Tensor:
    known = labels != IGNORE
    truth = ((labels == 1) & known).to(odds.dtype)
    entropy = functional.binary_cross_entropy_with_logits(odds, truth, reduction="none") * known
    chance = odds.sigmoid() * known
    mean = entropy.sum() / known.sum().clamp(min=1)
    return cross_entropy * mean + dice * _dice_loss(chance.unsqueeze(1), truth.unsqueeze(1))


def _dice_loss(chance: Tensor, truth: Tensor) -> Tensor:
    """1 - soft Dice of the batch, mean over the classes that occur.

    Source: Milletari et al. 2016, V-Net, section 3, over all pixels of the batch and with the plain sum of
    probabilities in the denominator.
    """
    axes = (0, 2, 3)
    overlap = (chance * truth).sum(axes)
    score = (2 * overlap + 1) / ((chance + truth).sum(axes) + 1)
    present = truth.sum(axes) > 0
    return ((1 - score) * present).sum() / present.sum().clamp(min=1)
