"""Threads that tick, and what an attempt tells of itself: bounded, and not ended by one bad moment."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from tests.unit.flows.world import World, until

from dataferry.domain.progress import Progress
from dataferry.flows.observing import MOST_EVENTS, FlowObserver, ProgressWriter
from dataferry.flows.periodic import Periodic
from dataferry.flows.policy import Backoff
from dataferry.flows.retries import RetrySchedule
from dataferry.store.store import Transaction


class StillClock:
    """Time that moves when told to."""

    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> datetime:
        """The time of day."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.at)

    def monotonic(self) -> float:
        """Seconds."""
        return self.at


def test_one_bad_tick_does_not_end_the_thread() -> None:
    """What a tick raises is logged; the next one comes, and close joins the thread."""
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(1)
        raise ValueError("bad moment")

    periodic = Periodic("ticking", tick, 0.01)
    periodic.start()
    until(lambda: len(ticks) > 2)
    periodic.close()
    assert "ticking" not in {thread.name for thread in threading.enumerate()}


def test_a_wake_up_does_not_wait_for_the_interval() -> None:
    """An hour's interval is cut short."""
    ticks: list[int] = []
    periodic = Periodic("waking", lambda: ticks.append(1), 3600)
    periodic.start()
    until(lambda: len(ticks) == 1)
    periodic.wake()
    until(lambda: len(ticks) == 2)
    periodic.close()


def test_progress_is_written_once_an_interval_and_at_the_end(still: World) -> None:
    """Many moments make few rows; the last one is always there."""
    still.signaling.prepare(still.caller, still.message())
    flow, clock = still.flow(), StillClock()

    def written() -> int:
        progress = still.management.view("p1").progress
        return -1 if progress is None else progress.bytes_transferred

    with FlowObserver(still.store, flow.id, ProgressWriter(still.store, clock, 1.0)) as observer:
        observer.progressed(Progress(bytes_transferred=1))
        observer.progressed(Progress(bytes_transferred=2))
        assert written() == 1
        clock.at += 1.0
        observer.progressed(Progress(bytes_transferred=3))
        assert written() == 3
        observer.progressed(Progress(bytes_transferred=4))
    assert written() == 4


def test_a_storm_of_events_has_an_end(still: World) -> None:
    """A bounded number is kept, and the last one says that there were more."""
    still.signaling.prepare(still.caller, still.message())
    observer = FlowObserver(still.store, still.flow().id, ProgressWriter(still.store, still.clock, 1.0))
    for number in range(MOST_EVENTS + 50):
        observer.noted("retry", str(number))
    events = still.management.events("p1", limit=1000)
    assert len([event for event in events if event.kind == "retry"]) == MOST_EVENTS
    assert "not kept" in events[-1].reason


def test_retries_come_at_growing_distances_and_end() -> None:
    """Doubled each time up to a bound, never sooner than the store asked for, and no more than allowed."""
    clock, flow = StillClock(), uuid4()
    schedule = RetrySchedule(clock, most=3, backoff=Backoff(first_s=1.0, most_s=3.0))
    assert schedule.is_due(flow)
    assert schedule.again_in_s(flow) == pytest.approx(1.0)
    assert not schedule.is_due(flow)
    clock.at += 1.0
    assert schedule.is_due(flow)
    assert schedule.again_in_s(flow, at_least_s=10.0) == pytest.approx(10.0)
    assert schedule.again_in_s(flow) == pytest.approx(3.0)
    assert schedule.again_in_s(flow) is None
    assert schedule.is_due(flow)


def test_progress_of_all_flows_is_written_together(still: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many flows run, an interval has one transaction; and one flow's fault is not the others'."""
    clock, names = StillClock(), ("p1", "p2", "p3")
    for name in names:
        still.signaling.prepare(still.caller, still.message(name))
    ids = [still.flow(name).id for name in names]
    writer = ProgressWriter(still.store, clock, 1.0)
    writer.put(ids[0], Progress(bytes_transferred=1))
    opened: list[int] = []
    transaction = still.store.transaction

    def counted() -> AbstractContextManager[Transaction]:
        opened.append(1)
        return transaction()

    monkeypatch.setattr(still.store, "transaction", counted)

    for number, flow_id in enumerate(ids):
        writer.put(flow_id, Progress(bytes_transferred=10 + number))
    assert opened == []
    clock.at += 1.0
    writer.put(ids[1], Progress(bytes_transferred=21))
    assert opened == [1]
    writer.put(uuid4(), Progress(bytes_transferred=5))
    writer.put(ids[2], Progress(bytes_transferred=32))
    writer.flush()

    with still.store.snapshot() as tx:
        written = tx.progress.get_many(ids)
    assert [written[flow_id].bytes_transferred for flow_id in ids] == [10, 21, 32]
