"""Losses: what labels do not say, gradients do not say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from geoseg.training.losses import FULL, IGNORE, class_log_odds, segmentation_loss

FULLY = torch.tensor([FULL, FULL])


def make_logits(seed: int, classes: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(2, classes, 8, 8, generator=generator)).requires_grad_()


def make_labels(seed: int, top: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, top, (2, 8, 8), generator=generator, dtype=torch.uint8)
    labels[:, :2] = IGNORE
    return labels


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), only=st.integers(0, 3))
def test_partial_labels_prefer_none_of_the_other_classes(seed: int, only: int) -> None:
    logits = make_logits(seed)
    segmentation_loss(logits, make_labels(seed, 2), torch.tensor([only, only]), cross_entropy=1.0, dice=0.5).backward()
    others = [k for k in range(4) if k != only]
    assert logits.grad is not None
    assert torch.count_nonzero(logits.grad[:, others]) == 0
    assert torch.count_nonzero(logits.grad[:, only]) > 0


def test_partial_gradient_points_to_the_label() -> None:
    logits = torch.zeros(1, 4, 2, 2, requires_grad=True)
    labels = torch.tensor([[[1, 0], [1, 0]]], dtype=torch.uint8)
    segmentation_loss(logits, labels, torch.tensor([2]), cross_entropy=1.0, dice=0.5).backward()
    assert logits.grad is not None
    assert (logits.grad[0, 2, :, 0] < 0).all()
    assert (logits.grad[0, 2, :, 1] > 0).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), only=st.integers(0, 3))
def test_log_odds_are_those_of_the_softmax(seed: int, only: int) -> None:
    logits = make_logits(seed).double()
    p = logits.softmax(1)[:, only]
    torch.testing.assert_close(class_log_odds(logits, torch.tensor([only, only])), torch.log(p / (1 - p)))


def test_cross_entropy_is_that_of_torch() -> None:
    logits, labels = make_logits(1), make_labels(2, 4)
    loss = segmentation_loss(logits, labels, FULLY, cross_entropy=1.0, dice=0.0)
    torch.testing.assert_close(loss, functional.cross_entropy(logits, labels.long(), ignore_index=IGNORE))


@pytest.mark.parametrize("only", [torch.tensor([FULL, FULL]), torch.tensor([1, 3]), torch.tensor([FULL, 2])])
def test_ignored_pixels_have_no_say(only: torch.Tensor) -> None:
    labels = make_labels(3, 2)
    logits = make_logits(4)
    other = logits.detach().clone()
    other[:, :, :2] = 50 * torch.randn(2, 4, 2, 8)
    other.requires_grad_()
    losses = [segmentation_loss(x, labels, only, cross_entropy=1.0, dice=0.5) for x in (logits, other)]
    losses[0].backward()
    assert logits.grad is not None
    assert torch.count_nonzero(logits.grad[:, :, :2]) == 0
    torch.testing.assert_close(losses[0], losses[1])


def test_a_batch_without_any_label_is_silent() -> None:
    logits = make_logits(5)
    labels = torch.full((2, 8, 8), IGNORE, dtype=torch.uint8)
    for only in (FULLY, torch.tensor([FULL, 1])):
        loss = segmentation_loss(logits, labels, only, cross_entropy=1.0, dice=0.5)
        assert torch.isfinite(loss)
        assert loss.item() == 0


def test_dice_ends_at_zero_for_the_truth_and_near_one_for_its_opposite() -> None:
    labels = make_labels(6, 2)
    truth = functional.one_hot(labels.long().clamp(max=1), 4).movedim(-1, 1).float()
    right = segmentation_loss(60 * truth, labels, FULLY, cross_entropy=0.0, dice=1.0)
    wrong = segmentation_loss(60 * truth.flip(1), labels, FULLY, cross_entropy=0.0, dice=1.0)
    assert right.item() < 1e-6
    assert wrong.item() > 0.9


def test_samples_weigh_the_same_whatever_they_know() -> None:
    logits, labels = make_logits(7), make_labels(8, 2)
    mixed = segmentation_loss(logits, labels, torch.tensor([FULL, 2]), cross_entropy=1.0, dice=0.5)
    parts = [
        segmentation_loss(logits[i : i + 1], labels[i : i + 1], torch.tensor([k]), cross_entropy=1.0, dice=0.5)
        for i, k in enumerate([FULL, 2])
    ]
    torch.testing.assert_close(mixed, (parts[0] + parts[1]) / 2)
