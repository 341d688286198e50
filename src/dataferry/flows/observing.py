"""What an attempt tells about itself while it runs: progress rows and events."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from types import TracebackType
from typing import Self
from uuid import UUID

from dataferry.domain.clock import Clock
from dataferry.domain.errors import DatabaseUnavailableError, DataFerryError
from dataferry.domain.progress import Progress
from dataferry.store.store import Store
from dataferry.telemetry.logs import get_logger

_log = get_logger("flows.observing")

MOST_EVENTS = 200


class ProgressWriter:
    """Writes the progress of all running flows together, at most once an interval.

    A transaction for each flow would wait for the disk, and keep the verbs of control planes waiting.
    There is no thread: whoever brings news when the interval is over writes for all.

    Args:
        store: Where to.
        clock: Time.
        interval_s: Seconds between two writes.
    """

    def __init__(self, store: Store, clock: Clock, interval_s: float) -> None:
        self._store = store
        self._clock = clock
        self._interval_s = interval_s
        self._lock = Lock()
        # Held while moments are taken and written, so that an old one never comes after a new one.
        self._writing = Lock()
        self._written_at: float | None = None
        self._unwritten: dict[UUID, Progress] = {}

    def put(self, flow_id: UUID, moment: Progress) -> None:
        """Keep a flow's newest moment; write all when the interval is over, unless somebody does so now."""
        now = self._clock.monotonic()
        with self._lock:
            self._unwritten[flow_id] = moment
            due = self._written_at is None or now - self._written_at >= self._interval_s
        if due and self._writing.acquire(blocking=False):
            try:
                self._write(now)
            finally:
                self._writing.release()

    def flush(self) -> None:
        """Write what is not written yet."""
        with self._writing:
            self._write(self._clock.monotonic())

    def _write(self, now: float) -> None:
        with self._lock:
            moments, self._unwritten = self._unwritten, {}
            self._written_at = now
        if not moments:
            return
        try:
            self._put(moments)
        except DatabaseUnavailableError as exc:
            _log.warning("progress was not written", flows=len(moments), error=str(exc))
        except DataFerryError:
            for flow_id, moment in moments.items():
                self._put_alone(flow_id, moment)

    def _put(self, moments: Mapping[UUID, Progress]) -> None:
        with self._store.transaction() as tx:
            for flow_id, moment in moments.items():
                tx.progress.put(flow_id, moment)

    def _put_alone(self, flow_id: UUID, moment: Progress) -> None:
        """One flow's fault is not the others'."""
        try:
            self._put({flow_id: moment})
        except DataFerryError as exc:
            # Bytes matter more than the news of them; the next row makes up for it.
            _log.warning("progress was not written", flow_id=str(flow_id), error=str(exc))


class FlowObserver:
    """Hands progress on, and writes a bounded number of events, for one attempt.

    Args:
        store: Where events go.
        flow_id: Whose.
        writer: Where progress goes.
    """

    def __init__(self, store: Store, flow_id: UUID, writer: ProgressWriter) -> None:
        self._store = store
        self._flow_id = flow_id
        self._writer = writer
        self._lock = Lock()
        self._events = 0

    def progressed(self, progress: Progress) -> None:
        """Hand the newest moment on."""
        self._writer.put(self._flow_id, progress)

    def noted(self, kind: str, message: str) -> None:
        """Write an event; a storm of them ends at a bound, which is noted too."""
        with self._lock:
            self._events += 1
            if self._events > MOST_EVENTS:
                return
            last = self._events == MOST_EVENTS
            with self._store.transaction() as tx:
                tx.events.add(self._flow_id, kind, message)
                if last:
                    tx.events.add(self._flow_id, "events", "further events of this attempt are not kept")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is not written yet, so that the last row is the end."""
        self._writer.flush()
