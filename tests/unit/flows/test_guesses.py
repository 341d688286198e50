"""A bound on guessing."""

from __future__ import annotations

from datetime import timedelta

from dataferry.flows.guesses import MAX_KNOWN, Guesses
from dataferry.testing.ledger_suite import StillClock


def test_so_many_at_once_and_then_one_in_each_interval() -> None:
    """Each caller apart; time forgives."""
    clock = StillClock()
    guesses = Guesses(clock, burst=3, interval_s=10)
    for _ in range(3):
        assert guesses.wait_s("a") == 0
        guesses.failed("a")
    assert guesses.wait_s("a") == 10
    assert guesses.wait_s("b") == 0
    clock.moment += timedelta(seconds=10)
    assert guesses.wait_s("a") == 0
    guesses.failed("a")
    assert guesses.wait_s("a") == 10
    clock.moment += timedelta(seconds=3600)
    guesses.failed("a")
    assert guesses.wait_s("a") == 0


def test_a_success_forgives() -> None:
    """Who knew it in the end was no guesser."""
    guesses = Guesses(StillClock(), burst=1)
    guesses.failed("a")
    assert guesses.wait_s("a") > 0
    guesses.succeeded("a")
    assert guesses.wait_s("a") == 0


def test_memory_is_bounded() -> None:
    """Of a million addresses the last ones are known."""
    guesses = Guesses(StillClock(), burst=1)
    for number in range(MAX_KNOWN + 10):
        guesses.failed(number)
    assert guesses.wait_s(0) == 0
    assert guesses.wait_s(MAX_KNOWN + 9) > 0
