"""Threads that send small objects share a processor while that pays, and are let loose for all else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.attempts import KIB, Rig, content

from dataferry.domain.clock import SystemClock
from dataferry.domain.objects import Totals
from dataferry.engine.attempt import progress
from dataferry.engine.attempt.progress import Tally
from dataferry.engine.workers import gathering as gathering_module
from dataferry.engine.workers.gathering import (
    CROWDED_OFTEN,
    FIRST_PATIENCE,
    MANY,
    MAX_PATIENCE,
    QUIET,
    SMALL_BYTES,
    Gathering,
    Load,
    Standing,
    decided,
    usable,
)

BUSY = Load(is_small=True, ran=0.98, waited=5.0)
CROWDED = Load(is_small=True, ran=0.5, waited=4.0)
WAITING = Load(is_small=True, ran=0.1, waited=0.01)
LARGE = Load(is_small=False)
TOGETHER = Standing(together=True)
SOON_S = 20.0
CROWDED_OUT_REASON = "threads use all processors: the one that they shared is in use by others"

several = pytest.mark.skipif(len(usable()) == 1, reason="there is one processor")


def after(standing: Standing, *seen: Load) -> Standing:
    """The state after some intervals."""
    for load in seen:
        standing, _ = decided(standing, load)
    return standing


def test_small_objects_that_keep_the_interpreter_busy_gather() -> None:
    """One look is enough, and the reason is told once."""
    standing, reason = decided(Standing(), BUSY)
    assert standing.together
    assert reason == "threads share one processor: small objects keep the interpreter busy"
    assert decided(standing, BUSY) == (standing, None)


@pytest.mark.parametrize("seen", [WAITING, LARGE, QUIET])
def test_others_do_not_gather(seen: Load) -> None:
    """Who waits for the network, or sends large objects, has no use for it."""
    assert decided(Standing(), seen) == (Standing(), None)


def test_larger_objects_let_loose_at_once() -> None:
    """And small ones gather again without a rest: nothing was wrong with the processor."""
    standing, reason = decided(TOGETHER, LARGE)
    assert not standing.together
    assert reason == "threads use all processors: larger objects have come"
    assert after(standing, BUSY).together


def test_a_distance_is_no_crowd() -> None:
    """Threads that wait for the network use little, and do not wait for the processor."""
    assert after(TOGETHER, *[WAITING, QUIET] * 100) == TOGETHER


def test_who_is_crowded_out_leaves_and_rests() -> None:
    """Only if it is so several times in a row, and then for a while that doubles."""
    assert after(TOGETHER, *[CROWDED] * (CROWDED_OFTEN - 1), BUSY) == TOGETHER
    left, reason = decided(after(TOGETHER, *[CROWDED] * (CROWDED_OFTEN - 1)), CROWDED)
    assert reason == CROWDED_OUT_REASON
    assert left == Standing(rest=FIRST_PATIENCE, patience=2 * FIRST_PATIENCE)
    rested = after(left, *[BUSY] * FIRST_PATIENCE)
    assert not rested.together
    assert after(rested, BUSY).together
    again = after(rested, BUSY, *[CROWDED] * CROWDED_OFTEN)
    assert again == Standing(rest=2 * FIRST_PATIENCE, patience=4 * FIRST_PATIENCE)


@given(st.lists(st.sampled_from([BUSY, CROWDED, WAITING, LARGE]), max_size=300))
def test_any_course_of_things_has_a_reason_for_each_change(seen: list[Load]) -> None:
    """A reason is told if and only if threads are to move, and patience has its bound."""
    standing = Standing(patience=MAX_PATIENCE // 4)
    for load in seen:
        next_standing, reason = decided(standing, load)
        assert (reason is not None) == (next_standing.together != standing.together)
        assert next_standing.patience <= MAX_PATIENCE
        standing = next_standing


class TickingClock(SystemClock):
    """A second passes when a test says so."""

    ticks = 0

    def monotonic(self) -> float:
        """The seconds so far."""
        return float(self.ticks)


class Spinning:
    """Threads that keep the interpreter busy, and count small objects while they do."""

    def __init__(self, count: int, tally: Tally, object_bytes: int) -> None:
        self._tally = tally
        self._object_bytes = object_bytes
        self._ends = [threading.Event() for _ in range(count)]
        self.threads = [threading.Thread(target=self._spin, args=(end,)) for end in self._ends]
        for thread in self.threads:
            thread.start()

    def ids(self) -> list[int]:
        """Those that run."""
        return [thread.native_id for thread in self.threads if thread.is_alive() and thread.native_id]

    def end(self, but: int = 0) -> None:
        """End them, but for the last ``but``."""
        count = len(self.threads) - but
        for end, thread in zip(self._ends[:count], self.threads[:count], strict=True):
            end.set()
            thread.join()

    def _spin(self, end: threading.Event) -> None:
        meter = self._tally.meter()
        while not end.is_set():
            meter.done += 1
            meter.bytes += self._object_bytes


@contextmanager
def spinning(object_bytes: int) -> Iterator[tuple[Gathering, Spinning, list[str]]]:
    """Threads, who gathers them, and the reasons that it told."""
    tally = Tally(Totals(), SystemClock())
    threads = Spinning(3, tally, object_bytes)
    reasons: list[str] = []
    gathering = Gathering(tally, SystemClock(), threads.ids, reasons.append)
    try:
        yield gathering, threads, reasons
    finally:
        gathering.close()
        threads.end()


@several
@pytest.mark.parametrize(
    ("sizes", "together"),
    [
        ([KIB] * MANY, True),
        ([SMALL_BYTES] * 1000, True),
        ([KIB] * (MANY - 1), False),
        ([*[KIB] * MANY, SMALL_BYTES + 1], False),
        ([*[KIB] * MANY, None], False),
    ],
)
def test_many_small_objects_gather_before_anything_is_seen(sizes: list[int | None], together: bool) -> None:
    """Few do not, nor any among which one is larger or of unknown length."""
    with spinning(KIB) as (gathering, threads, reasons):
        gathering.expect(sizes)
        places = [len(os.sched_getaffinity(thread)) for thread in threads.ids()]
        assert places == [1 if together else len(usable())] * 3
        assert len(reasons) == together


@several
def test_small_objects_that_were_expected_and_do_not_come() -> None:
    """The first interval with larger ones lets loose."""
    with spinning(SMALL_BYTES + 1) as (gathering, threads, reasons):
        gathering.expect([KIB] * MANY)
        reasons.clear()
        watched(gathering, reasons)
        assert reasons == ["threads use all processors: larger objects have come"]
        assert [len(os.sched_getaffinity(thread)) for thread in threads.ids()] == [len(usable())] * 3


def watched(gathering: Gathering, reasons: list[str]) -> None:
    """Look until something is decided, as it is bound to be."""
    deadline = time.monotonic() + SOON_S
    while not reasons and time.monotonic() < deadline:
        threading.Event().wait(0.02)
        gathering.watch()


@several
def test_the_system_is_told() -> None:
    """Real threads stand on one processor, and afterwards on all; this one is left alone."""
    before = os.sched_getaffinity(0)
    with spinning(SMALL_BYTES) as (gathering, threads, reasons):
        watched(gathering, reasons)
        places = {frozenset(os.sched_getaffinity(thread)) for thread in threads.ids()}
        assert len(places) == 1
        assert len(next(iter(places))) == 1
        assert os.sched_getaffinity(0) == before
        gathering.close()
        assert {frozenset(os.sched_getaffinity(thread)) for thread in threads.ids()} == {usable()}


@several
def test_larger_objects_stay_everywhere() -> None:
    """One byte more on the average, and nothing is gathered."""
    with spinning(SMALL_BYTES + 1) as (gathering, threads, reasons):
        for _ in range(50):
            threading.Event().wait(0.02)
            gathering.watch()
        assert not reasons
        assert {frozenset(os.sched_getaffinity(thread)) for thread in threads.ids()} == {usable()}


@several
def test_two_attempts_share_one_processor() -> None:
    """They have one interpreter; the end of one leaves the other where it is."""
    with spinning(KIB) as (one, first, reasons), spinning(KIB) as (other, second, more):
        watched(one, reasons)
        watched(other, more)
        together = [*first.ids(), *second.ids()]
        assert len({frozenset(os.sched_getaffinity(thread)) for thread in together}) == 1
        one.close()
        other.watch()
        assert [len(os.sched_getaffinity(thread)) for thread in second.ids()] == [1] * 3


@pytest.mark.parametrize(("attempts", "kind"), [(2, "share"), (1, "use")])
def test_attempts_do_not_crowd_each_other_out(
    monkeypatch: pytest.MonkeyPatch, attempts: int, kind: str
) -> None:
    """Two that have half of the processor each stay; one that has half of it shares it with strangers."""
    clock = TickingClock()
    monkeypatch.setattr(gathering_module, "usable", lambda: frozenset({0, 1}))
    monkeypatch.setattr(gathering_module, "_place", lambda *_: None)
    # Each thread runs half of the time, and waits for the other half.
    monkeypatch.setattr(gathering_module, "_times", lambda _: (clock.ticks * 500_000_000,) * 2)
    reasons: list[str] = []
    tallies = [Tally(Totals(), clock) for _ in range(attempts)]
    gatherings = [Gathering(tally, clock, lambda: [1], reasons.append) for tally in tallies]
    for _ in range(3 * CROWDED_OFTEN):
        clock.ticks += 1
        for tally, gathering in zip(tallies, gatherings, strict=True):
            tally.meter().done += 1
            gathering.watch()
    for gathering in gatherings:
        gathering.close()
    assert reasons[-1].split()[1] == kind


@several
def test_a_thread_that_has_ended_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may be another process's by then."""
    placed: list[int] = []
    with spinning(KIB) as (gathering, threads, reasons):
        watched(gathering, reasons)
        threads.end(but=1)
        monkeypatch.setattr(os, "sched_setaffinity", lambda thread, _: placed.append(thread))
        gathering.close()
        assert placed == [threads.threads[-1].native_id]


@several
def test_an_attempt_of_small_objects_gathers_and_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole engine: its threads share a processor, the event says so, and everything arrives."""
    monkeypatch.setattr(progress, "INTERVAL_S", 0.02)
    rig = Rig({f"{number:05}": content(KIB, number) for number in range(2_000)})
    places: set[frozenset[int]] = set()

    def look(operation: str, _key: str, _number: int) -> None:
        if operation == "open":
            places.add(frozenset(os.sched_getaffinity(0)))

    rig.source.fault = look
    rig.go()
    assert rig.arrived
    reasons = [reason for kind, reason in rig.witness.notes if kind == "gathered"]
    # Whoever else uses this machine may have the processor, and only then are they let loose.
    assert reasons[1:2] in ([], [CROWDED_OUT_REASON])
    assert min(len(place) for place in places) == 1
    assert len(reasons) > 1 or len(places) == 1
    assert len(os.sched_getaffinity(0)) == len(usable())
