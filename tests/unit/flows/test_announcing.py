"""Telling subscribers: in order, from where it was told last, and with patience."""

# ruff: noqa: D102 - what the methods are for stands with the protocol

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.store.sample_rows import flow

from dataferry.domain.dataflow import DataFlow, Run
from dataferry.domain.errors import ConnectionFailedError, DatabaseUnavailableError, DataFerryError
from dataferry.domain.progress import Progress
from dataferry.flows.announcing import Announcer, AnnouncingPolicy
from dataferry.flows.policy import Backoff
from dataferry.secrets.sealing import Sealer
from dataferry.store.records import Moment, Transition
from dataferry.store.store import Store
from dataferry.testing.ledger_suite import StillClock

POLICY = AnnouncingPolicy(
    max_in_flight=4, progress_interval_s=5.0, receipt_timeout_s=30.0, backoff=Backoff(first_s=1.0, most_s=8.0)
)


@dataclass
class Paper:
    """A receipt that says at once, or never, what became of a message."""

    topic: str
    is_settled: bool = True
    refusal: str | None = None


@dataclass
class Notebook:
    """A channel that notes what it is told.

    Attributes:
        faults: Raised by the next openings, one each.
        silent: From this number on nothing is acknowledged; None: everything is.
        refused: Numbers that are refused.
    """

    clock: StillClock
    told: list[int] = field(default_factory=list)
    moments: list[tuple[str, int]] = field(default_factory=list)
    faults: list[DataFerryError] = field(default_factory=list)
    silent: int | None = None
    refused: set[int] = field(default_factory=set)
    most_in_flight: int = 1_000
    is_idle: bool = True
    is_open: bool = False
    openings: int = 0
    goodbyes: int = 0

    def open(self) -> None:
        self.openings += 1
        if self.faults:
            raise self.faults.pop(0)
        self.is_open = True

    def tell(self, change: Transition) -> Paper:
        self.told.append(change.sequence)
        return Paper(
            topic="t",
            is_settled=self.silent is None or change.sequence < self.silent,
            refusal="Not authorized" if change.sequence in self.refused else None,
        )

    def tell_progress(self, flow: DataFlow, moment: Moment) -> None:
        self.moments.append((flow.process_id, moment.progress.bytes_transferred))

    def turn(self, timeout_s: float) -> None:
        if not self.is_open:
            raise ConnectionFailedError("gone")
        self.clock.moment += timedelta(seconds=timeout_s)

    def close(self) -> None:
        self.is_open = False
        self.goodbyes += 1

    def drop(self) -> None:
        self.is_open = False

    def let_go(self) -> None:
        pass


@pytest.fixture
def clock() -> StillClock:
    """Time that stands still."""
    return StillClock()


@pytest.fixture
def store(tmp_path: Path, clock: StillClock) -> Iterator[Store]:
    """An open store."""
    opened = Store.open(f"sqlite:///{tmp_path}/store.db", sealer=Sealer(bytes(32)), clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def channel(clock: StillClock) -> Notebook:
    """Where it is told."""
    return Notebook(clock)


@pytest.fixture
def announcer(store: Store, channel: Notebook, clock: StillClock) -> Announcer:
    """Who tells; its thread does not run."""
    return begun(store, channel, clock)


def begun(store: Store, channel: Notebook, clock: StillClock) -> Announcer:
    """One that has found its place, without a thread."""
    made = Announcer(store, channel, clock, POLICY)
    made._thread.start = lambda: None  # type: ignore[method-assign]
    made.start()
    return made


def insert(store: Store, *processes: str, run: Run = Run.QUEUED) -> list[DataFlow]:
    """Make a flow, hence a transition, for each process."""
    made = [flow(process, run=run) for process in processes]
    for one in made:
        with store.transaction() as tx:
            tx.flows.insert(one)
    return made


def put(store: Store, of: DataFlow, size_bytes: int) -> None:
    """Let a flow come so far."""
    with store.transaction() as tx:
        tx.progress.put(of.id, Progress(bytes_transferred=size_bytes))


def test_it_begins_with_what_happens_from_now_on(store: Store, channel: Notebook, clock: StillClock) -> None:
    """The first start ever tells nothing of before; the next one goes on where the last process was."""
    insert(store, "before")
    first = begun(store, channel, clock)
    insert(store, *"abcdef")
    first.tick()
    assert channel.told == [2, 3, 4, 5, 6, 7]
    insert(store, "between")
    second = begun(store, channel, clock)
    second.tick()
    second.tick()
    assert channel.told == [2, 3, 4, 5, 6, 7, 8]


def test_what_is_not_acknowledged_is_told_again(
    store: Store, channel: Notebook, clock: StillClock, announcer: Announcer
) -> None:
    """After the patience is over the connection is made anew, and it goes on behind the last receipt."""
    insert(store, *"abc")
    channel.silent = 2
    announcer.tick()
    assert channel.told == [1, 2, 3]
    assert not channel.is_open
    channel.silent = None
    clock.moment += timedelta(seconds=1)
    announcer.tick()
    assert channel.told == [1, 2, 3, 2, 3]


def test_who_is_killed_before_the_receipt_tells_it_again(
    store: Store, channel: Notebook, clock: StillClock, announcer: Announcer
) -> None:
    """What was on the way is told twice rather than never."""
    insert(store, "a")
    channel.silent = 1
    announcer.tick()
    channel.silent = None
    begun(store, channel, clock).tick()
    assert channel.told == [1, 1]


def test_what_can_not_be_written_down_is_not_told_twice(
    store: Store, channel: Notebook, announcer: Announcer
) -> None:
    """While the database takes no writes nothing more is told, and nothing a second time."""
    insert(store, *"abcdef")
    store.suspend("not now")
    for _ in range(3):
        with pytest.raises(DatabaseUnavailableError):
            announcer.tick()
    assert channel.told == [1, 2, 3, 4]
    store.resume()
    announcer.tick()
    assert channel.told == [1, 2, 3, 4, 5, 6]


def test_a_refused_message_is_waited_for(
    store: Store, channel: Notebook, clock: StillClock, announcer: Announcer
) -> None:
    """Nothing overtakes it for good, and nothing is lost, until the broker takes it."""
    insert(store, *"abc")
    channel.refused = {2}
    announcer.tick()
    clock.moment += timedelta(seconds=60)
    announcer.tick()
    channel.refused = set()
    clock.moment += timedelta(seconds=60)
    announcer.tick()
    assert channel.told == [1, 2, 3, 2, 3, 2, 3]


def test_a_broker_that_is_away_is_tried_less_and_less(
    channel: Notebook, clock: StillClock, announcer: Announcer
) -> None:
    """After 1, 2, 4, 8 and again 8 seconds; one that was good for long begins anew."""
    channel.faults = [ConnectionFailedError("away")] * 6
    tried_at = []
    for _ in range(40):
        before = channel.openings
        announcer.tick()
        if channel.openings > before:
            tried_at.append(clock.moment)
        clock.moment += timedelta(seconds=1)
    pauses = [(after - before).total_seconds() for before, after in itertools.pairwise(tried_at)]
    assert pauses == [1, 2, 4, 8, 8, 8]
    assert channel.is_open
    clock.moment += timedelta(seconds=60)
    channel.is_open = False
    channel.faults = [ConnectionFailedError("away")]
    announcer.tick()
    clock.moment += timedelta(seconds=8)
    announcer.tick()
    assert channel.is_open


def test_no_more_is_in_flight_than_both_sides_take(
    store: Store, channel: Notebook, announcer: Announcer
) -> None:
    """The lesser of our bound and the broker's."""
    insert(store, *"abcdefgh")
    channel.silent = 1
    announcer.tick()
    assert channel.told == [1, 2, 3, 4]
    channel.told.clear()
    channel.most_in_flight = 2
    announcer._not_before = 0
    announcer.tick()
    assert channel.told == [1, 2]


def test_progress_is_told_now_and_then(
    store: Store, channel: Notebook, clock: StillClock, announcer: Announcer
) -> None:
    """The newest of each flow, at most once an interval, and only what changed."""
    one, two = insert(store, "one", "two", run=Run.RUNNING)
    put(store, one, 1)
    announcer.tick()
    for size in (2, 3):
        clock.moment += timedelta(seconds=1)
        put(store, one, size)
        put(store, two, size)
        announcer.tick()
    assert channel.moments == [("one", 1)]
    clock.moment += timedelta(seconds=5)
    announcer.tick()
    assert sorted(channel.moments) == [("one", 1), ("one", 3), ("two", 3)]
    clock.moment += timedelta(seconds=5)
    announcer.tick()
    assert len(channel.moments) == 3


def test_progress_waits_for_a_broker_that_does_not_keep_up(
    store: Store, channel: Notebook, clock: StillClock, announcer: Announcer
) -> None:
    """Nothing piles up: what is told once it does keep up is the newest."""
    (one,) = insert(store, "one", run=Run.RUNNING)
    channel.is_idle = False
    for size in range(5):
        put(store, one, size)
        announcer.tick()
        clock.moment += timedelta(seconds=5)
    assert channel.moments == []
    channel.is_idle = True
    announcer.tick()
    assert channel.moments == [("one", 4)]


def test_more_flows_than_a_page_are_all_told(
    store: Store, channel: Notebook, monkeypatch: pytest.MonkeyPatch, announcer: Announcer
) -> None:
    """Many that were written in the same moment, too."""
    monkeypatch.setattr("dataferry.flows.announcing.PAGE", 3)
    for made in insert(store, *"abcdefgh", run=Run.RUNNING):
        put(store, made, 1)
    announcer.tick()
    assert sorted(name for name, _ in channel.moments) == list("abcdefgh")


def test_the_end_tells_what_is_left_and_says_goodbye(
    store: Store, channel: Notebook, announcer: Announcer
) -> None:
    """A broker that is silent then is not waited for long."""
    announcer.tick()
    insert(store, "last")
    announcer.close()
    assert (channel.told, channel.goodbyes, channel.is_open) == ([1], 1, False)


def test_a_silent_broker_does_not_hold_up_the_end(
    store: Store, channel: Notebook, clock: StillClock, announcer: Announcer
) -> None:
    """Two seconds, then the rest is for the next start."""
    announcer.tick()
    insert(store, "last")
    channel.silent = 1
    began = clock.moment
    announcer.close()
    assert (clock.moment - began).total_seconds() < 3
    with store.snapshot() as tx:
        assert tx.transitions.place("mqtt") == 0


def test_a_flow_that_is_gone_does_not_stop_the_others(
    store: Store, channel: Notebook, clock: StillClock, announcer: Announcer
) -> None:
    """It was forgotten before it could be told."""
    insert(store, "a")
    with store.transaction() as tx:
        read = tx.flows.list()[0][0]
        tx.flows.save(replace(read, run=Run.HELD), expected=read)
    channel.faults = [ConnectionFailedError("away")]
    announcer.tick()
    with store._database.write() as connection:
        connection.exec_driver_sql("DELETE FROM flows")
    insert(store, "b")
    clock.moment += timedelta(seconds=1)
    announcer.tick()
    assert channel.told == [3]
