"""How a run says where it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told of stages and of finished steps, from any thread."""

    def start(self, stage: str, total: int | None) -> None:
        """A stage begins; `total` steps are ahead, or nobody knows how many."""

    def advance(self, steps: int = 1) -> None:
        """Steps of the current stage are done."""

    def note(self, text: str) -> None:
        """Something that the user waits for and no stage says."""


class Silence:
    """Says nothing."""

    def start(self, stage: str, total: int | None) -> None:
        """A stage begins."""

    def advance(self, steps: int = 1) -> None:
        """Steps are done."""

    def note(self, text: str) -> None:
        """Something takes its time."""
