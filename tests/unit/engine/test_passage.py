"""Bandwidth for those who must not block: the same rate and the same turns, without a thread that waits."""

from __future__ import annotations

import pytest
from tests.unit.engine.test_bandwidth import NIGHTS, HeldClock

from dataferry.domain.errors import StoppedError
from dataferry.domain.schedule import Schedule
from dataferry.engine.rates.bandwidth import Bandwidth, Share, WindowClosedError
from dataferry.engine.rates.passage import Passage
from dataferry.engine.stop import Stop

RATE = 1_000_000
PIECE = 50_000


def drawn(shares: list[Share], clock: HeldClock, until_s: float) -> list[int]:
    """Have each share ask again and again until then; return what each got."""
    got = [0] * len(shares)
    ways = [Passage(share, PIECE) for share in shares]
    while clock.at_s < until_s:
        waits = []
        for at, share in enumerate(shares):
            wait_s = ways[at].look()
            if wait_s is None:
                got[at] += ways[at].granted_bytes
                ways[at] = Passage(share, PIECE)
                wait_s = 0.0
            waits.append(wait_s)
        clock.at_s += max(min(waits), 1e-3)
    for way in ways:
        way.leave()
    return got


def test_the_rate_holds_and_is_shared() -> None:
    """Two flows have half each of a bound, and together its rate and no more."""
    clock = HeldClock()
    bound = Bandwidth("all", Schedule(bytes_per_s=RATE), clock)
    got = drawn([Share((bound,), Stop()), Share((bound,), Stop())], clock, 10.0)

    assert 9.3 * RATE <= sum(got) <= 10.1 * RATE
    assert abs(got[0] - got[1]) <= 2 * PIECE


def test_the_narrowest_bound_decides() -> None:
    """What a later bound does not let through goes back to the earlier: others have it."""
    clock = HeldClock()
    wide = Bandwidth("wide", Schedule(bytes_per_s=RATE), clock)
    narrow = Bandwidth("narrow", Schedule(bytes_per_s=RATE // 10), clock)
    got = drawn([Share((wide, narrow), Stop()), Share((wide,), Stop())], clock, 10.0)

    assert 0.9 * RATE <= got[0] <= 1.05 * RATE
    assert 8.2 * RATE <= got[1] <= 9.3 * RATE


def test_who_leaves_gives_everything_back() -> None:
    """What was granted and never sent may be sent by others; leaving again changes nothing."""
    clock = HeldClock(at_s=1.0)
    bounds = tuple(Bandwidth(name, Schedule(bytes_per_s=RATE), clock) for name in ("one", "two"))
    share = Share(bounds, Stop())
    for bound in bounds:
        bound.state()
    clock.at_s += 1
    first = Passage(share, PIECE)
    assert first.look() is None
    first.leave()
    first.leave()
    again = Passage(share, PIECE)

    assert again.look() is None
    assert again.granted_bytes == PIECE


def test_a_place_in_the_queue_does_not_hold_up_others_for_ever() -> None:
    """Who went away while it waited is out of the queue."""
    clock = HeldClock()
    bound = Bandwidth("all", Schedule(bytes_per_s=RATE), clock)
    gone, here = (Passage(Share((bound,), Stop()), PIECE) for _ in range(2))
    assert gone.look() is not None
    assert here.look() is not None
    gone.leave()
    clock.at_s += 1

    assert here.look() is None


def test_a_shut_window_is_told() -> None:
    """Nobody waits for hours; who asked for something else before it was shut has given that back."""
    shut = Schedule(bytes_per_s=RATE, windows=(NIGHTS,))
    clock = HeldClock(at_s=7 * 3600)
    way = Passage(Share((Bandwidth("all", shut, clock),), Stop()), PIECE)

    with pytest.raises(WindowClosedError):
        way.look()


def test_a_share_that_was_stopped_gets_nothing() -> None:
    """As for threads."""
    clock, stop = HeldClock(), Stop()
    share = Share((Bandwidth("all", Schedule(bytes_per_s=RATE), clock),), stop)
    way = Passage(share, PIECE)
    way.look()
    stop.set()

    with pytest.raises(StoppedError):
        way.look()
