"""Ctrl-C: the first one is a wish, the second one an order."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from geoseg.training.interrupt import catch_interrupt


def test_the_first_is_noted_and_the_second_raises() -> None:
    with catch_interrupt() as interrupt:
        assert not interrupt.is_set()
        signal.raise_signal(signal.SIGINT)
        assert interrupt.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_somebody_else_stays() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with catch_interrupt():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_cannot_catch_it() -> None:
    def work() -> bool:
        with catch_interrupt() as interrupt:
            return interrupt.is_set() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler

    with ThreadPoolExecutor(1) as executor:
        assert not executor.submit(work).result()
