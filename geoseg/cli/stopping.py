"""Signals that ask the program to end are what Ctrl-C is: it stops at once, and clears up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASK_TO_STOP = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def heed_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt, with its number, for each signal that asks to stop.

    One that is ignored or handled already stays so: after `nohup` a terminal may go.
    """
    is_main = threading.current_thread() is threading.main_thread()
    mine = [number for number in ASK_TO_STOP if is_main and signal.getsignal(number) is signal.SIG_DFL]
    for number in mine:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


def exit_code(interrupt: BaseException) -> int:
    """What a shell says of a process that a signal ended: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    asked = interrupt.__cause__ or interrupt  # click raises an exception of its own from it
    return 128 + (asked.args[0] if isinstance(asked, KeyboardInterrupt) and asked.args else signal.SIGINT)


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(number)
