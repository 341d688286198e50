"""Attempts in threads of this process: what a single service on SQLite needs."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Condition, Event, Thread
from typing import Protocol
from uuid import UUID

from dataferry.engine.stop import Stop


class Work(Protocol):
    """Makes one attempt at a flow; implemented by ``flows.attempts.Attempts``."""

    def run(self, flow_id: UUID, stop: Stop) -> None:
        """Work until done, failed or stopped; never raises."""
        ...


@dataclass(slots=True)
class _Running:
    """An attempt in one of our threads; ``again`` if a wake-up came while it ran."""

    owner: str
    stop: Stop = field(default_factory=Stop)
    ended: Event = field(default_factory=Event)
    again: bool = False


class EmbeddedExecutor:
    """Runs a bounded number of flows at once; the others wait.

    Whose flows are fewest at work goes first, so that nobody who queues a thousand flows, or some that hang,
    keeps the others out; of equals, and of one owner's, whoever came first. That alone would not help against
    long flows, which give no place back: so one owner has at most ``most_of_one`` places.

    A flow is in the queue or at work at most once. Nothing is remembered beyond the process: the row is.

    Args:
        attempts: Does the work.
        concurrency: How many flows at once; each has the engine's threads of its own.
        owner_of: Whose a flow is, e.g. its control plane's id; called without locks held.
        most_of_one: How many flows of one owner at once; asked, without locks held, with every flow that is
            submitted, as owners come and go. None: no bound of its own.
        ended: Told of each attempt that has ended, however; called without locks held, and never blocks.
    """

    def __init__(
        self,
        attempts: Work,
        *,
        concurrency: int = 4,
        owner_of: Callable[[UUID], str] = lambda _: "",
        most_of_one: Callable[[], int | None] = lambda: None,
        ended: Callable[[UUID], None] = lambda _: None,
    ) -> None:
        self._attempts = attempts
        self._concurrency = concurrency
        self._condition = Condition()
        self._owner_of = owner_of
        self._tell_ended = ended
        self._ask_most_of_one = most_of_one
        self._most_of_one = concurrency
        self._queue: OrderedDict[UUID, str] = OrderedDict()
        self._running: dict[UUID, _Running] = {}
        self._threads: list[Thread] = []
        self._closed = False

    def start(self) -> None:
        """Start the threads."""
        self._threads = [
            Thread(target=self._loop, name=f"flow-{number}", daemon=True)
            for number in range(self._concurrency)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, flow_id: UUID) -> None:
        """Wake up for a flow; never blocks, never raises, safe to repeat."""
        if self._is_known(flow_id):
            return
        owner = self._owner_of(flow_id)
        most_of_one = self._ask_most_of_one() or self._concurrency
        with self._condition:
            if most_of_one != self._most_of_one:
                self._most_of_one = most_of_one
                self._condition.notify_all()
            # Somebody else may have submitted it meanwhile.
            if not self._is_known(flow_id):
                self._queue[flow_id] = owner
                self._condition.notify()

    def _is_known(self, flow_id: UUID) -> bool:
        """True if nothing needs to be queued: it waits already, or its running attempt is followed by one."""
        with self._condition:
            running = self._running.get(flow_id)
            if running is not None:
                # It may have read the row before the change that this wake-up is about.
                running.again = True
            return self._closed or running is not None or flow_id in self._queue

    def stop(self, flow_id: UUID, *, timeout_s: float = 10.0) -> bool:
        """Stop a flow's attempt: flag, sockets shut, threads joined. True once nothing of it runs here."""
        with self._condition:
            self._queue.pop(flow_id, None)
            running = self._running.get(flow_id)
            if running is not None:
                running.again = False
        if running is None:
            return True
        running.stop.set()
        return running.ended.wait(timeout_s)

    def running(self) -> frozenset[UUID]:
        """Flows that this process is working on."""
        with self._condition:
            return frozenset(self._running)

    def close(self, timeout_s: float = 10.0) -> bool:
        """Stop all attempts and join the threads; False if one did not end in time. Safe to repeat."""
        with self._condition:
            self._closed = True
            self._queue.clear()
            stops = [running.stop for running in self._running.values()]
            self._condition.notify_all()
        for stop in stops:
            stop.set()
        for thread in self._threads:
            thread.join(timeout_s)
        return not any(thread.is_alive() for thread in self._threads)

    def _loop(self) -> None:
        """One thread: take a flow, work, and the next."""
        while (taken := self._take()) is not None:
            flow_id, running = taken
            try:
                self._attempts.run(flow_id, running.stop)
            finally:
                self._ended(flow_id, running)

    def _take(self) -> tuple[UUID, _Running] | None:
        """Wait for a flow; None when closed."""
        with self._condition:
            flow_id = self._next()
            while not self._closed and flow_id is None:
                self._condition.wait()
                flow_id = self._next()
            if self._closed or flow_id is None:
                return None
            running = self._running[flow_id] = _Running(owner=self._queue.pop(flow_id))
            return flow_id, running

    def _next(self) -> UUID | None:
        """Choose: the first one of the owner of whom the fewest are at work; None if nobody may have more."""
        at_work = Counter(running.owner for running in self._running.values())
        first: dict[str, UUID] = {}
        for flow_id, owner in self._queue.items():
            if not at_work[owner]:
                return flow_id
            if at_work[owner] < self._most_of_one:
                first.setdefault(owner, flow_id)
        return first[min(first, key=lambda owner: at_work[owner])] if first else None

    def _ended(self, flow_id: UUID, running: _Running) -> None:
        with self._condition:
            del self._running[flow_id]
            if running.again and not self._closed:
                self._queue[flow_id] = running.owner
                self._condition.notify()
        running.ended.set()
        self._tell_ended(flow_id)
