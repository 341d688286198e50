"""Threads that owners share."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from functools import partial

import pytest

from dataferry.flows.fair_pool import FairPool


@pytest.fixture
def pool() -> Iterator[FairPool]:
    """Four threads, of which three may be one owner's."""
    made = FairPool(4, most_of_one=3, name="test")
    yield made
    made.close()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Work that waits goes on once it is set, at the latest at the end."""
    made = threading.Event()
    yield made
    made.set()


def hang(pool: FairPool, gate: threading.Event, owner: str, times: int) -> list[Future[bool]]:
    """Have work that waits done for somebody."""
    return [pool.submit(owner, partial(gate.wait, 20)) for _ in range(times)]


def test_work_is_done_and_its_faults_are_told(pool: FairPool) -> None:
    """Whoever waits gets the result, or what was raised; the thread works on."""
    with pytest.raises(ZeroDivisionError):
        pool.submit("a", lambda: 1 // 0).result(10)
    assert [pool.submit("a", partial(pow, n, 2)).result(10) for n in range(20)] == [n * n for n in range(20)]


def test_one_owner_does_not_have_all(pool: FairPool, gate: threading.Event) -> None:
    """What hangs for one leaves a thread, and the other's work does not queue behind it."""
    waiting = hang(pool, gate, "greedy", 20)
    assert [pool.submit("modest", lambda: "done").result(10) for _ in range(5)] == ["done"] * 5
    assert sum(future.running() for future in waiting) == 3
    gate.set()
    assert all(future.result(10) for future in waiting)


def test_who_has_the_fewest_at_work_goes_next(gate: threading.Event) -> None:
    """Not who came first: when one of two of ``a`` ends, ``c``, who has none, goes before ``a`` and ``b``."""
    pool = FairPool(3, most_of_one=2, name="test")
    ends = threading.Event()
    pool.submit("a", partial(ends.wait, 20))
    hang(pool, gate, "a", 1)
    hang(pool, gate, "b", 1)
    order: list[str] = []
    later = [pool.submit(name, partial(order.append, name)) for name in ("a", "b", "c")]
    ends.set()
    for future in later:
        future.result(10)
    gate.set()
    pool.close()
    assert order[0] == "c"


def test_what_is_cancelled_is_not_done(pool: FairPool, gate: threading.Event) -> None:
    """While it waits; and it keeps nobody's place."""
    hang(pool, gate, "a", 3)
    done: list[int] = []
    waiting = [pool.submit("a", partial(done.append, n)) for n in range(3)]
    assert waiting[1].cancel()
    gate.set()
    waiting[2].result(10)
    assert done == [0, 2]


def test_closing_drops_what_waits(gate: threading.Event) -> None:
    """What works is waited for, what waits is cancelled, and nothing is taken any more."""
    pool = FairPool(2, most_of_one=1, name="test")
    (working,) = hang(pool, gate, "a", 1)
    (waiting,) = hang(pool, gate, "a", 1)
    threading.Timer(0.2, gate.set).start()
    began = time.monotonic()
    pool.close()
    assert working.result(0)
    assert time.monotonic() - began < 10
    with pytest.raises(CancelledError):
        waiting.result(0)
    with pytest.raises(RuntimeError):
        pool.submit("a", lambda: None)
