"""Workers join and rest as the tuner says, and all of them end with the attempt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from tests.unit.engine.attempts import LIMITS, Rig, content
from tests.unit.engine.memory import MemoryReader, MemorySource

from dataferry.domain.errors import StoppedError, ThrottledError
from dataferry.engine.attempt import progress
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import EngineLimits
from dataferry.engine.workers import crew

MANY = EngineLimits(workers=32, attempts=20, backoff_s=0.001, max_backoff_s=0.001)
DISTANCE_S = 0.01


class CountedReader(MemoryReader):
    """Is known to its source while it is open."""

    def close(self) -> None:
        """Be forgotten."""
        if isinstance(self.source, DistantSource):
            self.source.open_readers.discard(self)


class DistantSource(MemorySource):
    """Takes its time to answer, as a store far away does, and knows its open readers."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(objects)
        self.open_readers: set[MemoryReader] = set()
        self.most_readers = 0
        self.fault = self._answer
        self.answered: Callable[[], None] = lambda: None
        self._never = threading.Event()

    def reader(self) -> MemoryReader:
        """Open a reader."""
        reader = CountedReader(self)
        self.open_readers.add(reader)
        self.most_readers = max(self.most_readers, len(self.open_readers))
        return reader

    def _answer(self, operation: str, _name: str, _number: int) -> None:
        if operation == "open":
            self._never.wait(DISTANCE_S)
            self.answered()


@pytest.fixture(autouse=True)
def _quick_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second is long for a test; and the servers of these tests work on the attempt's own processor."""
    monkeypatch.setattr(time, "process_time", lambda: 0.0)
    monkeypatch.setattr(progress, "INTERVAL_S", 0.02)
    monkeypatch.setattr(crew, "INTERVAL_S", 0.08)
    monkeypatch.setattr(crew, "SETTLE_S", 0.02)


@pytest.fixture
def rig() -> Rig:
    """So many objects that a test is over before they are."""
    rig = Rig({})
    rig.source = DistantSource({f"{number:05}": content(10) for number in range(4000)})
    return rig


def distant(rig: Rig) -> DistantSource:
    assert isinstance(rig.source, DistantSource)
    return rig.source


def reasons(rig: Rig) -> list[str]:
    return [message for kind, message in rig.witness.notes if kind == "tuned"]


def working() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ferry-")]


def test_workers_join_over_a_distance_and_end_with_the_attempt(rig: Rig) -> None:
    """Each join is an event with its reason, progress tells how many work, and a stop ends them all."""
    source, stop = distant(rig), Stop()
    source.answered = lambda: stop.set() if len(source.open_readers) > 8 else None

    with pytest.raises(StoppedError):
        rig.go(limits=MANY, stop=stop)

    assert reasons(rig)[0].startswith("16 workers instead of 8: each waits")
    assert {8, 16} <= {moment.workers for moment in rig.witness.progress}
    assert working() == []
    assert source.open_readers == set()


def test_never_more_than_allowed(rig: Rig) -> None:
    """The setting is a maximum, also where more would pay."""
    source = distant(rig)
    source.objects = dict(list(source.objects.items())[:300])

    assert rig.go(limits=LIMITS).is_complete

    assert source.most_readers == LIMITS.workers
    assert reasons(rig) == []


def test_workers_that_rest_hold_no_connection(rig: Rig) -> None:
    """A store that asks to slow down has fewer connections soon after."""
    source, stop = distant(rig), Stop()
    left = [8]

    def answered() -> None:
        if left[0] > 0:
            left[0] -= 1
            raise ThrottledError("slow down")
        if reasons(rig) and len(source.open_readers) <= 4:
            stop.set()

    source.answered = answered
    with pytest.raises(StoppedError):
        rig.go(limits=MANY, stop=stop)

    assert reasons(rig)[0].startswith("4 workers instead of 8: the store asked")
    assert working() == []


def test_makes_do_with_the_threads_that_there_are(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no more threads, those there are go on, and it is said."""
    start = threading.Thread.start

    def refusing(thread: threading.Thread) -> None:
        if thread.name == "ferry-worker-11":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refusing)
    source, stop = distant(rig), Stop()
    source.answered = lambda: stop.set() if len(reasons(rig)) > 1 and len(source.open_readers) > 9 else None

    with pytest.raises(StoppedError):
        rig.go(limits=MANY, stop=stop)

    assert "10 workers at most: can't start new thread" in reasons(rig)
    assert source.most_readers == 10


def test_an_attempt_ends_where_the_work_does(rig: Rig) -> None:
    """Workers that joined late or rest do not keep a finished attempt alive."""
    source = distant(rig)
    source.objects = dict(list(source.objects.items())[:1000])

    assert rig.go(limits=MANY).is_complete

    assert reasons(rig)
    assert rig.arrived
    assert working() == []
