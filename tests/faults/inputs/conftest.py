"""The command line in this process, and what it may leave when it refuses."""

from __future__ import annotations

from tests.test_bad_input import image, refuse, run

__all__ = ["image", "refuse", "run"]
