"""One bar for all scenes of a region, in megapixels."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from geoseg.progress import Progress

TELL_S = 2.0
"""Seconds between two notes of how far a scene is."""


class RegionProgress:
    """The scenes of a region as one stage whose steps are megapixels."""

    def __init__(self, progress: Progress, pixels: int) -> None:
        self._progress, self._pixels, self._told = progress, 0, 0
        self._lock = threading.Lock()
        progress.start("scenes, Mpx", math.ceil(pixels / 1e6))
        self._total = math.ceil(pixels / 1e6)

    def advance(self, pixels: int) -> None:
        """Pixels are done."""
        with self._lock:
            self._pixels += pixels
            steps = min(math.ceil(self._pixels / 1e6), self._total) - self._told
            self._told += steps
        if steps:
            self._progress.advance(steps)

    def note(self, text: str) -> None:
        """Something that the user waits for."""
        self._progress.note(text)


class SceneProgress:
    """What a scene's run tells, as pixels of the region.

    Args:
        region: the bar.
        pixels: of the scene.
        tell: called with the pixels done so far, every two seconds at most.
    """

    def __init__(self, region: RegionProgress, pixels: int, tell: Callable[[int], None]) -> None:
        self._region, self._pixels, self._tell = region, pixels, tell
        self._steps, self._total, self._done = 0, 0, 0
        self._told_s = time.monotonic()
        self._lock = threading.Lock()

    def begin(self) -> None:
        """An attempt begins; what the one before had told stays told."""
        self._steps, self._total = 0, 0

    def start(self, stage: str, total: int | None) -> None:
        """A stage of the scene begins; the first one with steps counts."""
        self._total = self._total or total or 0

    def advance(self, steps: int = 1) -> None:
        """Tiles are done."""
        with self._lock:
            self._steps += steps
            done = self._pixels * min(self._steps, self._total) // max(self._total, 1)
            self._region.advance(max(done - self._done, 0))
            self._done = max(done, self._done)
            if time.monotonic() - self._told_s >= TELL_S:
                self._told_s = time.monotonic()
                self._tell(done)

    def note(self, text: str) -> None:
        """Something takes its time."""
        self._region.note(text)

    def finish(self) -> None:
        """The scene is done with, however it went."""
        self._region.advance(self._pixels - self._done)
        self._done = self._pixels
