"""Which entries are put to work, and when: as many as there is room for; only a crowd waits for its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from threading import Event
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from tests.unit.flows.world import World, until

from dataferry.domain.asks import Asks
from dataferry.domain.errors import DatabaseUnavailableError
from dataferry.domain.orchestration import Ask, Entry, Orchestration, Step
from dataferry.flows.orchestration.policy import OrchestratorPolicy
from dataferry.flows.orchestration.runner import Runner
from dataferry.flows.orchestration.steps import Steps
from dataferry.flows.orchestration.work import Memory, Next
from dataferry.store.store import Store
from dataferry.testing.ledger_suite import NOON, StillClock

Key = tuple[UUID, int]


@dataclass
class FirstSteps:
    """Begins entries, as their rows say; each then stays at work, or ends once it is let."""

    store: Store
    ending: dict[Key, Event] = field(default_factory=dict)
    begun: list[Key] = field(default_factory=list)

    def go_on(self, begun: Iterable[Entry]) -> None:
        """They name no files."""

    def make(self, key: Key, memory: Memory) -> Next:
        """Make a step."""
        del memory
        with self.store.transaction() as tx:
            entry = tx.orchestrations.entry(key)
            if entry.step is Step.WAITING:
                tx.orchestrations.save(entry.to(Step.STARTING, started_at=NOON), expected=entry)
        self.begun.append(key)
        if key not in self.ending:
            return Next(after_s=3600)
        assert self.ending[key].wait(30)
        return Next(after_s=None)


@dataclass
class Rig:
    """A runner whose time stands still, with a real store."""

    world: World
    clock: StillClock
    steps: FirstSteps
    runner: Runner
    asked: int = 0

    def ask(self, entries: int = 1, *, is_told: bool = True) -> UUID:
        """Take in a request, later than those before."""
        self.asked += 1
        at = NOON + timedelta(seconds=self.asked)
        made = Orchestration(
            id=uuid4(), connector_address="http://edc", entries=entries, created_at=at, updated_at=at
        )
        asked = Ask(counter_party_address="http://p", contract_id="c", connector_id="did:web:p")
        with self.world.store.transaction() as tx:
            tx.orchestrations.insert([(made, Asks.of([asked] * entries))])
        if is_told:
            self.runner.wake()
        return made.id

    def look(self) -> int:
        """Have the runner look for work; return how many entries are at work then."""
        self.runner.tick()
        return len(self.runner._places)

    def later(self, milliseconds: int) -> None:
        """Let time pass."""
        self.clock.moment += timedelta(milliseconds=milliseconds)

    def end(self, key: Key) -> None:
        """Let an entry end, and wait until its place is free."""
        self.steps.ending[key].set()
        until(lambda: key not in self.runner._places)


@pytest.fixture
def make_rig(still: World) -> Iterator[Callable[..., Rig]]:
    """Make runners with bounds of the test's choice, on one store."""
    with ExitStack() as opened:

        def make(**bounds: Any) -> Rig:
            clock, steps = StillClock(), FirstSteps(still.store)
            policy = replace(OrchestratorPolicy(destination="files:"), **bounds)
            runner = Runner(replace(still.shared, clock=clock), cast("Steps", steps), policy)
            opened.callback(runner.close)
            return Rig(still, clock, steps, runner)

        yield make


def test_one_look_fills_the_room_with_short_requests(make_rig: Callable[..., Rig]) -> None:
    """Each entry has one place, however many requests it takes."""
    rig = make_rig()
    for _ in range(40):
        rig.ask(is_told=False)
    assert rig.look() == 32


def test_one_look_takes_no_more_of_a_request_than_its_share(make_rig: Callable[..., Rig]) -> None:
    """Those begun before a restart count."""
    rig = make_rig(concurrency_per_request=3)
    id_ = rig.ask(10, is_told=False)
    assert rig.runner.tick() == 3
    until(lambda: len(rig.steps.begun) == 3)
    again = make_rig(concurrency_per_request=3)
    again.runner._begun = [(id_, 0), (id_, 1)]
    assert again.runner.tick() == 3


def test_a_crowd_is_begun_when_its_last_request_has_come(make_rig: Callable[..., Rig]) -> None:
    """Not before, and then as many as there is room for."""
    rig = make_rig()
    rig.runner.tick()
    for _ in range(50):
        rig.ask()
        assert rig.runner.tick() == 0
        rig.later(10)
    rig.later(50)
    assert rig.look() == 32


def test_a_crowd_without_end_is_begun_after_a_second(make_rig: Callable[..., Rig]) -> None:
    """It comes every 40 ms."""
    rig = make_rig()
    rig.runner.tick()
    for _ in range(25):
        rig.ask()
        assert rig.runner.tick() == 0
        rig.later(40)
    assert rig.look() == 25


def test_a_crowd_does_not_hold_up_what_came_before(make_rig: Callable[..., Rig]) -> None:
    """The next entry of a long request gets the place of one that ended; nothing of the crowd is begun."""
    rig = make_rig(concurrency_per_request=2)
    id_ = rig.ask(10, is_told=False)
    rig.steps.ending[id_, 0] = Event()
    assert rig.runner.tick() == 2
    rig.ask()
    rig.end((id_, 0))
    rig.later(40)
    rig.ask()
    assert rig.runner.tick() == 1
    until(lambda: (id_, 2) in rig.steps.begun)


def test_requests_behind_others_have_those_begun_at_once(make_rig: Callable[..., Rig]) -> None:
    """Where there was no room a place that gets free is taken, whatever comes meanwhile."""
    rig = make_rig(concurrency=2)
    first = rig.ask(is_told=False)
    rig.steps.ending[first, 0] = Event()
    for _ in range(3):
        rig.ask(is_told=False)
    assert rig.runner.tick() == 2
    until(lambda: len(rig.steps.begun) == 2)
    rig.later(50)
    rig.ask()
    rig.end((first, 0))
    assert rig.runner.tick() == 1


def test_a_crowd_does_not_hold_up_what_a_restart_goes_on_with(make_rig: Callable[..., Rig]) -> None:
    """It goes on at once."""
    before = make_rig()
    id_ = before.ask(is_told=False)
    before.runner.tick()
    until(lambda: before.steps.begun)
    rig = make_rig()
    rig.ask()
    rig.runner.start()
    until(lambda: rig.steps.begun == [(id_, 0)], timeout_s=5)


def test_what_was_begun_outlives_a_look_without_database(make_rig: Callable[..., Rig]) -> None:
    """It is taken up with the next look."""
    rig = make_rig()
    id_ = rig.ask(is_told=False)
    rig.runner._begun = [(id_, 0)]
    rig.world.store.suspend("another process may be at work")
    with pytest.raises(DatabaseUnavailableError):
        rig.runner.tick()
    rig.world.store.resume()
    assert rig.runner.tick() == 1
