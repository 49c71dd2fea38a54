"""The game's rules: what both players are shown, what they are punished for, when it has gone wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from geoseg.training.adversarial import (
    LEAST_TRUTH,
    Adversary,
    Verdict,
    absolute_loss,
    gradient_penalty,
    judgement_loss,
    soften_truth,
)
from geoseg.training.balance import PATIENCE_STEPS, Balance, StepReport
from geoseg.training.discriminator import Discriminator
from geoseg.training.losses import FULL, IGNORE
from geoseg.training.refine_job import DiscriminatorSettings, GanKind

KINDS: tuple[GanKind, ...] = ("bce", "least_squares")


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def make_discriminator(layers: int = 2, *, is_normalised: bool = False) -> Discriminator:
    return Discriminator(3, 4, width=4, layers=layers, is_normalised=is_normalised)


def make_adversary(kind: GanKind = "bce", **changes: float) -> Adversary:
    settings = DiscriminatorSettings(width=4, **changes)  # type: ignore[arg-type]
    return Adversary(make_discriminator(is_normalised=True), settings, kind=kind, precision="float32")


def draw_sample(size: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels with an ignored quarter, logits."""
    labels = torch.randint(0, 4, (2, size, size))
    labels[:, : size // 2, : size // 2] = IGNORE
    return torch.randn(2, 3, size, size), labels, torch.randn(2, 4, size, size)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_shares_are_those_of_the_receptive_field(layers: int) -> None:
    discriminator = make_discriminator(layers)
    masks = torch.rand(1, 4, 96, 96, requires_grad=True)
    judgements = discriminator(torch.randn(1, 3, 96, 96), masks)
    known = torch.rand(1, 96, 96) < 0.5
    shares = discriminator.share_known(known)
    assert shares.shape == judgements.shape
    for row, col in [(0, 0), (shares.shape[1] // 2, shares.shape[2] // 2), (-1, 1)]:
        (gradient,) = torch.autograd.grad(judgements[0, row, col], masks, retain_graph=True)
        seen = gradient.abs().sum(1) > 0
        assert shares[0, row, col] == pytest.approx(float(known[seen].float().mean()))


def test_both_kinds_of_loss_in_closed_form() -> None:
    judgements, even = torch.randn(2, 5, 5), torch.ones(2, 5, 5)
    for is_true in (True, False):
        target = torch.full_like(judgements, float(is_true))
        expected = functional.binary_cross_entropy_with_logits(judgements, target)
        torch.testing.assert_close(judgement_loss(judgements, even, is_true=is_true, kind="bce"), expected)
        expected = functional.mse_loss(judgements, target)
        torch.testing.assert_close(judgement_loss(judgements, even, is_true=is_true, kind="least_squares"), expected)
    undecided = judgement_loss(torch.zeros(1, 2, 2), torch.ones(1, 2, 2), is_true=True, kind="bce")
    assert float(undecided) == pytest.approx(math.log(2))
    shares = torch.zeros(2, 5, 5)
    shares[0] = 1
    halved = judgement_loss(judgements, shares, is_true=True, kind="bce")
    torch.testing.assert_close(halved, judgement_loss(judgements[:1], even[:1], is_true=True, kind="bce"))
    assert float(judgement_loss(judgements, 0 * even, is_true=True, kind="bce")) == 0


def test_softened_truth_is_a_probability_with_the_truth_on_top() -> None:
    _, labels, logits = draw_sample()
    chances = (4 * logits).softmax(1)
    truth = soften_truth(labels, chances)
    known = labels != IGNORE
    torch.testing.assert_close(truth.sum(1), known.float())
    top = truth.gather(1, labels.masked_fill(~known, 0).unsqueeze(1)).squeeze(1)[known]
    own = chances.gather(1, labels.masked_fill(~known, 0).unsqueeze(1)).squeeze(1)[known]
    torch.testing.assert_close(top, own.clamp(min=LEAST_TRUTH))
    # Where the refined mask is right and sure, both are the same and nothing can be told.
    sure = (own >= LEAST_TRUTH).nonzero().squeeze(1)
    assert len(sure) > 0
    torch.testing.assert_close(truth.movedim(1, -1)[known][sure], chances.movedim(1, -1)[known][sure])
    # The others keep their ratios.
    others = torch.tensor([[0.5, 0.3, 0.2]]).view(1, 3, 1, 1)
    softened = soften_truth(torch.zeros(1, 1, 1, dtype=torch.long), others).flatten()
    torch.testing.assert_close(softened, torch.tensor([0.9, 0.06, 0.04]))


def test_a_sure_and_wrong_mask_gives_a_finite_truth() -> None:
    chances = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    for label in (0, 1):
        truth = soften_truth(torch.full((1, 1, 1), label), chances)
        assert torch.isfinite(truth).all()
        assert float(truth[0, label]) >= LEAST_TRUTH - 1e-6


def test_the_penalty_of_a_linear_discriminator_is_its_squared_weights() -> None:
    class Linear(Discriminator):
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.weights = nn.Conv2d(4, 1, 8, stride=8)

        def forward(self, images: Tensor, masks: Tensor) -> Tensor:
            result: Tensor = self.weights(masks).squeeze(1)
            return result

    linear = Linear()
    penalty = gradient_penalty(linear, torch.zeros(3, 3, 32, 32), torch.rand(3, 4, 32, 32), torch.ones(3, 4, 4))
    torch.testing.assert_close(penalty, linear.weights.weight.square().sum())
    (gradient,) = torch.autograd.grad(penalty, linear.weights.weight)
    torch.testing.assert_close(gradient, 2 * linear.weights.weight)


def test_the_penalty_equals_the_gradient_taken_by_hand() -> None:
    discriminator = make_discriminator().double()
    images, masks = torch.randn(1, 3, 32, 32).double(), torch.rand(1, 4, 32, 32).double()
    shares = torch.rand_like(discriminator(images, masks)).detach()
    penalty = gradient_penalty(discriminator, images, masks, shares)
    reference = torch.autograd.functional.jacobian(lambda m: (discriminator(images, m) * shares).sum(), masks)
    torch.testing.assert_close(penalty, reference.square().sum() / shares.sum())
    first = discriminator.convolutions[0].weight
    (gradient,) = torch.autograd.grad(penalty, first)
    step = 1e-5 * torch.randn_like(first)
    with torch.no_grad():
        first += step
    above = gradient_penalty(discriminator, images, masks, shares)
    with torch.no_grad():
        first -= 2 * step
    below = gradient_penalty(discriminator, images, masks, shares)
    torch.testing.assert_close(above - below, 2 * (gradient * step).sum(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_ignored_pixels_have_no_say(kind: GanKind) -> None:
    images, labels, logits = draw_sample()
    chances = logits.softmax(1)
    hidden = (labels == IGNORE).unsqueeze(1)
    swapped = torch.where(hidden, chances.roll(1, dims=1), chances)
    losses, verdicts, weights = [], [], []
    for refined in (chances, swapped):
        torch.manual_seed(1)
        adversary = make_adversary(kind, r1=1.0)
        losses.append(float(adversary.fooling_loss(images, labels, refined).detach()))
        verdicts.append(adversary.learn(images, labels, refined, step=0))
        weights.append(adversary.discriminator.state_dict())
    assert losses[0] == losses[1]
    assert verdicts[0] == verdicts[1]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("kind", KINDS)
def test_each_player_is_pulled_by_its_own_loss_only(kind: GanKind) -> None:
    images, labels, logits = draw_sample()
    logits.requires_grad_()
    adversary = make_adversary(kind)
    before = {n: p.detach().clone() for n, p in adversary.discriminator.named_parameters()}
    (pull,) = torch.autograd.grad(adversary.fooling_loss(images, labels, logits.softmax(1)), logits)
    assert (pull[(labels == IGNORE).unsqueeze(1).expand_as(pull)] == 0).all()
    assert pull.abs().sum() > 0
    assert all(p.grad is None for p in adversary.discriminator.parameters())
    adversary.learn(images, labels, logits.softmax(1), step=0)
    assert logits.grad is None
    assert all(not torch.equal(p, before[n]) for n, p in adversary.discriminator.named_parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_to_tell_blurred_masks(kind: GanKind) -> None:
    torch.manual_seed(2)
    blocks = torch.randint(0, 4, (4, 8, 8)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    blurred = functional.avg_pool2d(functional.one_hot(blocks, 4).movedim(-1, 1).float(), 9, 1, 4)
    blurred /= blurred.sum(1, keepdim=True)
    adversary, images = make_adversary(kind, rate=1e-2), torch.zeros(4, 3, 64, 64)
    verdicts = [adversary.learn(images, blocks, blurred, step=step) for step in range(60)]
    assert verdicts[-1].loss < 0.5 * verdicts[0].loss
    assert verdicts[-1].true_accuracy + verdicts[-1].refined_accuracy > 1.6


def test_the_absolute_loss_is_half_the_l1_distance() -> None:
    _, labels, logits = draw_sample(16)
    known = labels != IGNORE
    truth = functional.one_hot(labels.masked_fill(~known, 0), 4).movedim(-1, 1)
    distance = (logits.softmax(1) - truth).abs().sum(1)[known].mean() / 2
    torch.testing.assert_close(absolute_loss(logits, labels, torch.full((2,), FULL)), distance)


def test_the_absolute_loss_of_a_partial_label_pulls_its_class_only() -> None:
    _, labels, logits = draw_sample(16)
    labels = torch.where(labels == IGNORE, IGNORE, labels % 2)
    logits.requires_grad_()
    loss = absolute_loss(logits, labels, torch.tensor([2, 2]))
    known = labels != IGNORE
    chance = logits.softmax(1)[:, 2]
    torch.testing.assert_close(loss, (chance - labels).abs()[known].mean())
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[:, [0, 1, 3]] == 0).all()
    assert gradient[:, 2].abs().sum() > 0


def report(true: float = 0.8, refined: float = 0.8, shares: tuple[float, float] = (0.5, 0.5)) -> StepReport:
    found = np.array(shares, np.float32)
    return StepReport(1.0, 0.1, np.full(2, 0.5, np.float32), found, 0.2, 0.3, Verdict(0.4, true, refined))


@pytest.mark.parametrize(
    ("what", "text"),
    [
        (report(1.0, 1.0), "tells every refined mask"),
        (report(1.0, 0.0), "can no longer tell"),
        (report(0.51, 0.5), "can no longer tell"),
        (report(shares=(0.99, 0.01)), "class 'tree' vanishes"),
    ],
)
def test_a_collapse_is_noticed_once(what: StepReport, text: str) -> None:
    balance = Balance(("ground", "tree"))
    for _ in range(PATIENCE_STEPS - 1):
        balance.note(what)
    assert balance.warnings == []
    for _ in range(2 * PATIENCE_STEPS):
        balance.note(what)
    assert len(balance.warnings) == 1
    assert text in balance.warnings[0]


def test_an_even_game_is_not_warned_about() -> None:
    balance = Balance(("ground", "tree"))
    for step in range(2 * PATIENCE_STEPS):
        balance.note(report(0.9, 0.6) if step % 2 else report(0.7, 0.8, (0.6, 0.4)))
    assert balance.warnings == []
    means = balance.take_means()
    assert means["accuracy on true"] == pytest.approx(0.8)
    assert means["gradient ratio"] == pytest.approx(0.3)
    assert balance.take_means()["discriminator"] is None
