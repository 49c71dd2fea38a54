"""Losses: what labels do not say, gradients do not say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segmentation_models_pytorch.losses import DiceLoss, LovaszLoss
from segmentation_models_pytorch.losses._functional import softmax_focal_loss_with_logits
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from geoseg.training.losses import FULL, IGNORE, class_log_odds, segmentation_loss

FULLY = torch.tensor([FULL, FULL])
NONE = {"cross_entropy": 0.0, "dice": 0.0}
TERMS = ("cross_entropy", "dice", "focal", "lovasz")
WEIGHTS = torch.tensor([0.5, 1.0, 3.0, 2.0])


def make_logits(seed: int, classes: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(2, classes, 8, 8, generator=generator)).requires_grad_()


def make_labels(seed: int, top: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, top, (2, 8, 8), generator=generator, dtype=torch.uint8)
    labels[:, :2] = IGNORE
    return labels


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("class_weights", [None, WEIGHTS], ids=["even", "weighted"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), only=st.integers(0, 3))
def test_partial_labels_prefer_none_of_the_other_classes(
    term: str, class_weights: torch.Tensor | None, seed: int, only: int
) -> None:
    logits = make_logits(seed)
    loss = segmentation_loss(
        logits, make_labels(seed, 2), torch.tensor([only, only]), class_weights=class_weights, **NONE | {term: 1.0}
    )
    loss.backward()
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


def test_weighted_cross_entropy_is_that_of_torch() -> None:
    logits, labels = make_logits(1), make_labels(2, 4)
    loss = segmentation_loss(logits, labels, FULLY, cross_entropy=1.0, dice=0.0, class_weights=WEIGHTS)
    expected = functional.cross_entropy(logits, labels.long(), ignore_index=IGNORE, weight=WEIGHTS)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("seed", range(5))
def test_dice_is_that_of_a_known_library(seed: int) -> None:
    logits, labels = make_logits(seed), make_labels(seed, 4)
    expected = DiceLoss("multiclass", ignore_index=IGNORE, smooth=0.5)(logits, labels.long())
    torch.testing.assert_close(segmentation_loss(logits, labels, FULLY, cross_entropy=0.0, dice=1.0), expected)


@pytest.mark.parametrize("seed", range(5))
def test_lovasz_is_that_of_its_authors(seed: int) -> None:
    logits, labels = make_logits(seed), make_labels(seed, 3)
    expected = LovaszLoss("multiclass", ignore_index=IGNORE)(logits, labels.long())
    torch.testing.assert_close(segmentation_loss(logits, labels, FULLY, lovasz=1.0, **NONE), expected)


@settings(max_examples=25, deadline=None)
@given(
    labels=st.lists(st.booleans(), min_size=16, max_size=16), guesses=st.lists(st.booleans(), min_size=16, max_size=16)
)
def test_lovasz_of_certain_answers_is_the_jaccard_distance(labels: list[bool], guesses: list[bool]) -> None:
    truth, guess = (torch.tensor(x).view(1, 4, 4) for x in (labels, guesses))
    logits = torch.zeros(1, 2, 4, 4)
    logits[:, 1] = torch.where(guess, 60.0, -60.0)
    loss = segmentation_loss(logits, truth.to(torch.uint8), torch.tensor([1]), lovasz=1.0, **NONE)
    union = (truth | guess).sum()
    expected = 1 - (truth & guess).sum() / union if truth.any() else 0.0
    assert loss.item() == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 3.0])
def test_focal_is_that_of_known_libraries(gamma: float) -> None:
    logits, labels = make_logits(3), make_labels(4, 4)
    known = labels != IGNORE
    loss = segmentation_loss(logits, labels, FULLY, focal=1.0, focal_gamma=gamma, **NONE)
    flat = logits.movedim(1, -1)[known]
    torch.testing.assert_close(loss, softmax_focal_loss_with_logits(flat, labels[known].long(), gamma))
    labels, only = make_labels(5, 2), torch.tensor([2, 2])
    loss = segmentation_loss(logits, labels, only, focal=1.0, focal_gamma=gamma, **NONE)
    odds, truth = class_log_odds(logits, only)[labels != IGNORE], labels[labels != IGNORE].float()
    torch.testing.assert_close(loss, sigmoid_focal_loss(odds, truth, alpha=-1, gamma=gamma, reduction="mean"))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_has_a_finite_gradient_where_all_is_right(gamma: float) -> None:
    labels = make_labels(6, 2)
    logits = 200 * functional.one_hot(labels.long().clamp(max=1), 4).movedim(-1, 1).float()
    logits.requires_grad_()
    segmentation_loss(logits, labels, FULLY, focal=1.0, focal_gamma=gamma, **NONE).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("only", [torch.tensor([FULL, FULL]), torch.tensor([1, 3]), torch.tensor([FULL, 2])])
def test_equal_class_weights_change_nothing(term: str, only: torch.Tensor) -> None:
    logits, labels = make_logits(7), make_labels(8, 2)
    losses = [
        segmentation_loss(logits, labels, only, class_weights=weights, **NONE | {term: 1.0})
        for weights in (None, torch.full((4,), 3.0))
    ]
    torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.parametrize("term", TERMS)
def test_a_class_that_weighs_more_pulls_more(term: str) -> None:
    # Class 1 is wrong wherever it occurs, class 0 is right.
    labels = make_labels(9, 2)
    logits = torch.zeros(2, 4, 8, 8)
    logits[:, 0] = 4.0
    light, heavy = (
        segmentation_loss(logits, labels, FULLY, class_weights=torch.tensor([1.0, w, 1, 1]), **NONE | {term: 1.0})
        for w in (1.0, 5.0)
    )
    assert heavy > light


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("only", [torch.tensor([FULL, FULL]), torch.tensor([1, 3]), torch.tensor([FULL, 2])])
def test_ignored_pixels_have_no_say(only: torch.Tensor, term: str) -> None:
    labels = make_labels(3, 2)
    logits = make_logits(4)
    other = logits.detach().clone()
    other[:, :, :2] = 50 * torch.randn(2, 4, 2, 8)
    other.requires_grad_()
    losses = [segmentation_loss(x, labels, only, **NONE | {term: 1.0}) for x in (logits, other)]
    losses[0].backward()
    assert logits.grad is not None
    assert torch.count_nonzero(logits.grad[:, :, :2]) == 0
    torch.testing.assert_close(losses[0], losses[1])


def test_a_batch_without_any_label_is_silent() -> None:
    logits = make_logits(5)
    labels = torch.full((2, 8, 8), IGNORE, dtype=torch.uint8)
    for only in (FULLY, torch.tensor([FULL, 1])):
        loss = segmentation_loss(logits, labels, only, cross_entropy=1.0, dice=0.5, focal=1.0, lovasz=1.0)
        assert torch.isfinite(loss)
        assert loss.item() == 0
        loss.backward()
        assert logits.grad is not None
        assert torch.count_nonzero(logits.grad) == 0


def test_dice_ends_at_zero_for_the_truth_and_near_one_for_its_opposite() -> None:
    labels = make_labels(6, 2)
    truth = functional.one_hot(labels.long().clamp(max=1), 4).movedim(-1, 1).float()
    right = segmentation_loss(60 * truth, labels, FULLY, cross_entropy=0.0, dice=1.0)
    wrong = segmentation_loss(60 * truth.flip(1), labels, FULLY, cross_entropy=0.0, dice=1.0)
    assert right.item() < 1e-6
    assert wrong.item() > 0.9


@pytest.mark.parametrize("term", ["dice", "lovasz"])
def test_classes_of_partial_samples_are_measured_apart(term: str) -> None:
    logits, labels, only = make_logits(7), make_labels(8, 2), torch.tensor([1, 3])
    pair, one, other = (
        segmentation_loss(logits[part], labels[part], only[part], class_weights=WEIGHTS, **NONE | {term: 1.0})
        for part in (slice(2), slice(1), slice(1, 2))
    )
    torch.testing.assert_close(pair, (WEIGHTS[1] * one + WEIGHTS[3] * other) / (WEIGHTS[1] + WEIGHTS[3]))


def test_samples_weigh_the_same_whatever_they_know() -> None:
    logits, labels = make_logits(7), make_labels(8, 2)
    mixed = segmentation_loss(logits, labels, torch.tensor([FULL, 2]), cross_entropy=1.0, dice=0.5)
    parts = [
        segmentation_loss(logits[i : i + 1], labels[i : i + 1], torch.tensor([k]), cross_entropy=1.0, dice=0.5)
        for i, k in enumerate([FULL, 2])
    ]
    torch.testing.assert_close(mixed, (parts[0] + parts[1]) / 2)
