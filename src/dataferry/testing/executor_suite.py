"""The behaviour suite of executors: subclass ``ExecutorSuite``, give it a fixture ``make_executor``.

``make_executor(work, concurrency)`` returns a started executor that calls ``work.run(flow_id, stop)``; the
fixture closes it. The suite knows nothing of flows: what an attempt does is the work's business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import Event, Lock
from typing import Protocol
from uuid import UUID, uuid4

import pytest

from dataferry.domain.execution import Executor
from dataferry.engine.stop import Stop


class Work(Protocol):
    """What the executor calls."""

    def run(self, flow_id: UUID, stop: Stop) -> None:
        """Make one attempt."""
        ...


MakeExecutor = Callable[[Work, int], Executor]


class RecordedWork:
    """Work that notes who ran when, and runs until its gate opens or it is stopped.

    Attributes:
        ran: Flows in the order in which they began.
        most_at_once: The most that ever ran side by side.
        overlapped: A flow ran twice at once.
        deaf: It does not listen to ``stop``.
    """

    def __init__(self, *, deaf: bool = False) -> None:
        self.gate = Event()
        self.deaf = deaf
        self.ran: list[UUID] = []
        self.stopped: list[UUID] = []
        self.most_at_once = 0
        self.overlapped = False
        self._now: list[UUID] = []
        self._lock = Lock()

    def run(self, flow_id: UUID, stop: Stop) -> None:
        """Run until let go."""
        with self._lock:
            self.overlapped |= flow_id in self._now
            self._now.append(flow_id)
            self.ran.append(flow_id)
            self.most_at_once = max(self.most_at_once, len(self._now))
        while not self.gate.is_set() and (self.deaf or not stop.is_set):
            self.gate.wait(0.005)
        with self._lock:
            self._now.remove(flow_id)
            if stop.is_set:
                self.stopped.append(flow_id)


def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Poll until a condition holds; fail when it does not come to."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(0.002)


class ExecutorSuite:
    """What every executor does."""

    @pytest.fixture
    def work(self) -> Iterator[RecordedWork]:
        """Work whose gate is opened at the end, so that nothing hangs."""
        work = RecordedWork()
        yield work
        work.gate.set()

    def test_what_is_submitted_runs(self, make_executor: MakeExecutor, work: RecordedWork) -> None:
        """Each flow that is submitted gets an attempt."""
        work.gate.set()
        executor = make_executor(work, 2)
        flows = [uuid4() for _ in range(5)]
        for flow in flows:
            executor.submit(flow)
        until(lambda: set(work.ran) == set(flows) and not executor.running())

    def test_no_more_than_allowed_run_at_once(self, make_executor: MakeExecutor, work: RecordedWork) -> None:
        """The others wait, in the order in which they came."""
        executor = make_executor(work, 2)
        flows = [uuid4() for _ in range(5)]
        for flow in flows:
            executor.submit(flow)
        until(lambda: len(executor.running()) == 2)
        work.gate.set()
        until(lambda: len(work.ran) == 5 and not executor.running())
        assert work.most_at_once == 2
        assert set(flows[:2]) == set(work.ran[:2])

    def test_repeated_wake_ups_are_one(self, make_executor: MakeExecutor, work: RecordedWork) -> None:
        """A flow waits at most once, and never runs beside itself."""
        executor = make_executor(work, 2)
        flow = uuid4()
        for _ in range(10):
            executor.submit(flow)
        until(lambda: executor.running() == frozenset({flow}))
        for _ in range(10):
            executor.submit(flow)
        work.gate.set()
        until(lambda: not executor.running() and len(work.ran) >= 1)
        assert not work.overlapped
        assert len(work.ran) <= 2

    def test_a_wake_up_during_an_attempt_is_not_lost(
        self, make_executor: MakeExecutor, work: RecordedWork
    ) -> None:
        """The attempt may have read the row before the change that it is woken for: it gets another one."""
        executor = make_executor(work, 2)
        flow = uuid4()
        executor.submit(flow)
        until(lambda: flow in executor.running())
        executor.submit(flow)
        work.gate.set()
        until(lambda: work.ran == [flow, flow])

    def test_stop_returns_when_nothing_runs(self, make_executor: MakeExecutor, work: RecordedWork) -> None:
        """True, and no thread of the attempt is left; other flows go on."""
        executor = make_executor(work, 2)
        flow, other = uuid4(), uuid4()
        executor.submit(flow)
        executor.submit(other)
        until(lambda: len(executor.running()) == 2)
        assert executor.stop(flow, timeout_s=10.0)
        assert executor.running() == frozenset({other})
        assert work.stopped == [flow]

    def test_stop_takes_a_waiting_flow_out(self, make_executor: MakeExecutor, work: RecordedWork) -> None:
        """What has not begun does not begin; it may be submitted again."""
        executor = make_executor(work, 1)
        first, second = uuid4(), uuid4()
        executor.submit(first)
        until(lambda: first in executor.running())
        executor.submit(second)
        assert executor.stop(second, timeout_s=1.0)
        work.gate.set()
        until(lambda: not executor.running())
        assert work.ran == [first]
        executor.submit(second)
        until(lambda: work.ran == [first, second])

    def test_stop_of_an_unknown_flow_is_done(self, make_executor: MakeExecutor, work: RecordedWork) -> None:
        """Nothing of it runs here."""
        assert make_executor(work, 1).stop(uuid4(), timeout_s=0.1)

    def test_stop_says_when_it_was_not_heard(self, make_executor: MakeExecutor) -> None:
        """Work that hangs is not waited for beyond the bound: False, and it still counts as running."""
        work = RecordedWork(deaf=True)
        executor = make_executor(work, 1)
        flow = uuid4()
        executor.submit(flow)
        until(lambda: flow in executor.running())
        try:
            assert not executor.stop(flow, timeout_s=0.05)
            assert flow in executor.running()
        finally:
            work.gate.set()
        until(lambda: not executor.running())
