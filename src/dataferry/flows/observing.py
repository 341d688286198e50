"""What an attempt tells about itself while it runs: progress rows and events."""

from __future__ import annotations

from threading import Lock
from types import TracebackType
from typing import Self
from uuid import UUID

from dataferry.domain.clock import Clock
from dataferry.domain.errors import DataFerryError
from dataferry.domain.progress import Progress
from dataferry.store.store import Store
from dataferry.telemetry.logs import get_logger

_log = get_logger("flows.observing")

MOST_EVENTS = 200


class FlowObserver:
    """Writes progress at most once an interval, and a bounded number of events, for one attempt.

    Args:
        store: Where to.
        flow_id: Whose.
        clock: Time.
        interval_s: Seconds between progress rows.
    """

    def __init__(self, store: Store, flow_id: UUID, clock: Clock, interval_s: float) -> None:
        self._store = store
        self._flow_id = flow_id
        self._clock = clock
        self._interval_s = interval_s
        self._lock = Lock()
        self._written_at: float | None = None
        self._unwritten: Progress | None = None
        self._events = 0

    def progressed(self, progress: Progress) -> None:
        """Keep the newest moment; write it when the interval is over."""
        with self._lock:
            now = self._clock.monotonic()
            self._unwritten = progress
            if self._written_at is None or now - self._written_at >= self._interval_s:
                self._written_at = now
                self._write()

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

    def _write(self) -> None:
        if self._unwritten is not None:
            try:
                with self._store.transaction() as tx:
                    tx.progress.put(self._flow_id, self._unwritten)
            except DataFerryError as exc:
                # Bytes matter more than the news of them; the next row makes up for it.
                _log.warning("progress was not written", flow_id=str(self._flow_id), error=str(exc))
            self._unwritten = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is not written yet, so that the last row is the end."""
        with self._lock:
            self._write()
