"""Watching the game: is it even, and does the refiner still know every class?"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.training.adversarial import Verdict

LOG = logging.getLogger(__name__)

PATIENCE_STEPS = 200
"""How long something must last to be noticed."""

WON, LOST_MARGIN = 0.99, 0.02
LEAST_SHARE, VANISHED = 0.005, 0.1
"""A class with at least this share of the truth vanishes when its refined share is less than a tenth of that."""


@dataclass(frozen=True)
class StepReport:
    """What one step of refinement showed.

    Args:
        supervised: loss against the labels, weighted.
        gradient_norm: of the loss with respect to the refiner's weights, before it is clipped.
        true_shares: by class, share of the known pixels, float (C,), 0 to 1.
        refined_shares: by class, mean refined probability of the known pixels, float (C,), 0 to 1.
        adversarial: loss against the discriminator, weighted; None where it took no part.
        gradient_ratio: norm of the adversarial term's gradient at the refined logits over the supervised one's.
        verdict: how the discriminator did.
    """

    supervised: float
    gradient_norm: float
    true_shares: NDArray[np.float32]
    refined_shares: NDArray[np.float32]
    adversarial: float | None = None
    gradient_ratio: float | None = None
    verdict: Verdict | None = None


class Balance:
    """Collects step reports, averages them for the log, and warns once about each way that the game goes wrong.

    Args:
        names: of the classes.
        warnings: that were given in an earlier part of the run.
    """

    def __init__(self, names: Sequence[str], *, warnings: Sequence[str] = ()) -> None:
        self._names = tuple(names)
        self.warnings = list(warnings)
        self._recent: list[StepReport] = []
        self._unlogged: list[StepReport] = []

    def note(self, report: StepReport) -> None:
        """Take in a step; after each `PATIENCE_STEPS` of them, look for a collapse."""
        self._unlogged.append(report)
        self._recent.append(report)
        if len(self._recent) == PATIENCE_STEPS:
            self._check_players()
            self._check_classes()
            self._recent.clear()

    def take_means(self) -> dict[str, float | None]:
        """Means by name since the last call; None where nothing was measured."""
        reports, self._unlogged = self._unlogged, []
        verdicts = [r.verdict for r in reports if r.verdict]
        columns: dict[str, list[float]] = {
            "loss": [r.supervised for r in reports],
            "adversarial": [r.adversarial for r in reports if r.adversarial is not None],
            "discriminator": [v.loss for v in verdicts],
            "accuracy on true": [v.true_accuracy for v in verdicts],
            "accuracy on refined": [v.refined_accuracy for v in verdicts],
            "gradient ratio": [r.gradient_ratio for r in reports if r.gradient_ratio is not None],
            "gradient norm": [r.gradient_norm for r in reports],
        }
        return {name: round(float(np.mean(values)), 5) if values else None for name, values in columns.items()}

    def _check_players(self) -> None:
        verdicts = [r.verdict for r in self._recent if r.verdict]
        if not verdicts:
            return
        accuracy = float(np.mean([(v.true_accuracy + v.refined_accuracy) / 2 for v in verdicts]))
        if accuracy >= WON:
            self._warn("the discriminator tells every refined mask: lower its rate, or raise r1 or loss.adversarial")
        elif abs(accuracy - 0.5) <= LOST_MARGIN:
            self._warn("the discriminator can no longer tell refined masks: raise its rate or width, or lower r1")

    def _check_classes(self) -> None:
        true = np.mean([r.true_shares for r in self._recent], axis=0)
        refined = np.mean([r.refined_shares for r in self._recent], axis=0)
        for name, wanted, found in zip(self._names, true, refined, strict=True):
            if wanted >= LEAST_SHARE and found < VANISHED * wanted:
                self._warn(f"class {name!r} vanishes from the refined masks: lower loss.adversarial")

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            LOG.warning("%s", text)
            self.warnings.append(text)
