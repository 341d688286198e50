"""The crew: an attempt's workers, of whom as many take work as the tuner finds to pay.

The monitor's thread watches it: it ends calls that stall, measures, asks the tuner, and starts threads when
there are too few. Workers that are too many rest without connections; all of them end with the attempt.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Lock

from dataferry.domain.ledger import ObjectRow
from dataferry.engine.attempt.course import Course
from dataferry.engine.workers.feed import Feed
from dataferry.engine.workers.lanes import Lanes
from dataferry.engine.workers.tuner import OBJECT_WORTH_BYTES, Observation, Tuning, tuned
from dataferry.engine.workers.worker import Worker

# Enough for a fast link nearby, where most transfers end before there is anything to tune.
START_WORKERS = 8
INTERVAL_S = 1.0
# After a change, connections are opened and fill: what is seen then tells nothing.
SETTLE_S = 0.5
# Few objects would make a rate by chance: an interval is longer until each worker has ended two.
OBJECTS_A_WORKER = 2
MAX_INTERVAL_S = 5.0
JOIN_S = 0.2
# Of one attempt: a transfer of weeks should not fill its flow's list of events with them.
MAX_NOTED = 60


class Crew:
    """Owns the workers of an attempt and their threads.

    Args:
        course: The attempt.
        feed: Where workers take from; told how many of them may.
        lanes: That workers may have a seat in.
    """

    def __init__(self, course: Course, feed: Feed, lanes: Lanes) -> None:
        most = course.transfer.limits.workers
        self._course = course
        self._feed = feed
        self._lanes = lanes
        self._lock = Lock()
        self._workers: list[Worker] = []
        self._closed = False
        self._tuning = Tuning(most=most, active=min(START_WORKERS, most))
        self._gauge: Gauge | None = None
        self._noted = 0

    def start(self) -> None:
        """Start the first workers; but one where the source is one object, until that proves to be big."""
        if self._course.transfer.source.is_single:
            self._start_one()
        else:
            self._grow()
        self._begin_measuring(0.0)

    def expect(self, rows: Sequence[ObjectRow]) -> None:
        """Start the other first workers if they are needed for these objects."""
        if len(self._workers) < self._tuning.active and any(map(self._course.is_big, rows)):
            self._grow()

    @property
    def thread_ids(self) -> tuple[int, ...]:
        """The system's numbers of the workers' threads, those that have ended left out."""
        threads = [worker.thread for worker in tuple(self._workers)]
        return tuple(thread.native_id for thread in threads if thread.is_alive() and thread.native_id)

    def watch(self) -> None:
        """Called by the monitor at each tick: end calls that stall, and tune."""
        now = self._course.clock.monotonic()
        self._course.look_at_bandwidth()
        for worker in tuple(self._workers):
            worker.hands.look(now)
        if self._course.tally.waiting is not None:
            self._begin_measuring(SETTLE_S)  # what nobody may move tells nothing
        elif self._gauge is not None and self._tuning.most > 1:
            seen = self._gauge.tick(now)
            if seen is not None:
                self._tune(seen)

    def let_go(self) -> None:
        """Start no more workers, and make every blocked call of those there are fail at once. Any thread."""
        with self._lock:
            self._closed = True
        for worker in tuple(self._workers):
            worker.hands.connections.halt()

    def join(self, remind: Callable[[], None]) -> None:
        """Wait until all workers have ended, those started meanwhile too; then no more are started.

        Args:
            remind: Called again and again, for who opened a connection just after being told to let go.
        """
        ended = 0
        while True:
            with self._lock:
                if ended == len(self._workers):
                    self._closed = True
                    return
                thread = self._workers[ended].thread
            while thread.is_alive():
                thread.join(JOIN_S)
                remind()
            ended += 1

    def _grow(self) -> None:
        """Let as many workers take work as the tuner says, if the system gives so many threads."""
        try:
            while len(self._workers) < self._tuning.active and self._start_one():
                pass
        except RuntimeError as error:
            number = len(self._workers)
            if not number:
                raise
            self._tuning = replace(self._tuning, active=number, most=number, before=None)
            self._note(f"{number} workers at most: {error}")
        self._feed.allow(self._tuning.active)
        self._course.tally.workers = self._tuning.active

    def _start_one(self) -> bool:
        """Start one more worker; False if the attempt is ending.

        Raises:
            RuntimeError: The system gives no more threads.
        """
        with self._lock:
            if not self._closed:
                worker = Worker(len(self._workers) + 1, self._course, self._feed, self._lanes)
                worker.thread.start()
                self._workers.append(worker)
            return not self._closed

    def _tune(self, seen: Observation) -> None:
        self._tuning, reason = tuned(self._tuning, seen)
        if reason is None:
            self._begin_measuring(0.0)
            return
        self._note(reason)
        self._grow()
        self._begin_measuring(SETTLE_S)

    def _note(self, reason: str) -> None:
        if self._noted < MAX_NOTED:
            self._noted += 1
            self._course.observer.noted("tuned", reason)

    def _begin_measuring(self, settle_s: float) -> None:
        self._gauge = Gauge(self._course, self._feed, self._lanes, self._tuning.active, settle_s)


class Gauge:
    """Measures one interval.

    Args:
        course: The attempt.
        feed: Says how many workers are at work.
        lanes: Take processors too.
        active: How many may be.
        settle_s: What to leave out at its beginning.
    """

    def __init__(self, course: Course, feed: Feed, lanes: Lanes, active: int, settle_s: float) -> None:
        self._course = course
        self._feed = feed
        self._lanes = lanes
        self._active = active
        self._begin_at = course.clock.monotonic() + settle_s
        self._busy: list[int] = []
        self._start: tuple[float, ...] | None = None
        if not settle_s:
            self._start = self._counts()

    def tick(self, now: float) -> Observation | None:
        """Look; return what was seen once the interval is over."""
        if self._start is None:
            if now >= self._begin_at:
                self._begin_at, self._start = now, self._counts()
            return None
        self._busy.append(self._feed.busy)
        seconds = now - self._begin_at
        if seconds < INTERVAL_S:
            return None
        counts = self._counts()
        moved, objects, processor_s, throttled, failed = (
            after - before for after, before in zip(counts, self._start, strict=True)
        )
        by_objects = objects * OBJECT_WORTH_BYTES > moved
        if by_objects and objects < OBJECTS_A_WORKER * self._active and seconds < MAX_INTERVAL_S:
            return None
        return Observation(
            seconds=seconds,
            bytes=int(moved),
            objects=int(objects),
            busy=min(1.0, sum(self._busy) / len(self._busy) / self._active),
            processors=processor_s / seconds,
            usable=1.0 + self._lanes.count if by_objects else float(os.cpu_count() or 1),
            throttled=int(throttled),
            failed=int(failed),
        )

    def _counts(self) -> tuple[float, ...]:
        tally, retrier = self._course.tally, self._course.retrier
        return (
            tally.bytes_moved + tally.bytes_copied,
            sum(meter.done for meter in tally.meters),
            time.process_time() + self._lanes.processor_s,
            retrier.throttled,
            retrier.failed,
        )
