"""How far pushes to us are: what the ledger has of them, and what is on its way in this process."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from threading import Lock
from uuid import UUID

from dataferry.domain.errors import DataFerryError
from dataferry.domain.objects import Totals
from dataferry.domain.progress import Progress
from dataferry.store.store import Store
from dataferry.telemetry.logs import get_logger

WINDOW_S = 5.0
_log = get_logger("flows.ingest")


@dataclass(slots=True)
class _Live:
    """A flow of which something is on its way.

    Attributes:
        requests: That are open.
        flying_bytes: Of them, not written down yet.
        came_bytes: Since it is here, whatever became of them.
    """

    requests: int = 0
    flying_bytes: int = 0
    came_bytes: int = 0
    samples: deque[tuple[float, int]] = field(default_factory=deque)

    def throughput(self, now: float) -> float:
        """Bytes a second, over the last seconds."""
        self.samples.append((now, self.came_bytes))
        while now - self.samples[0][0] > WINDOW_S:
            self.samples.popleft()
        seconds = now - self.samples[0][0]
        return (self.came_bytes - self.samples[0][1]) / seconds if seconds else 0.0


class IngestProgress:
    """Counts what comes, and writes it down for all flows together when ``tick`` is called. Thread-safe.

    Args:
        store: Where to.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._live: dict[UUID, _Live] = {}

    def began(self, flow_id: UUID) -> None:
        """A request with a body has begun."""
        with self._lock:
            self._live.setdefault(flow_id, _Live()).requests += 1

    def came(self, flow_id: UUID, size_bytes: int) -> None:
        """Bytes of a body came."""
        with self._lock:
            live = self._live[flow_id]
            live.flying_bytes += size_bytes
            live.came_bytes += size_bytes

    def ended(self, flow_id: UUID, size_bytes: int) -> None:
        """A request has ended, of which so many bytes had come: they are written down by now, or gone."""
        with self._lock:
            live = self._live[flow_id]
            live.requests -= 1
            live.flying_bytes -= size_bytes

    def tick(self) -> None:
        """Write how far each flow is; of one of which nothing is on its way any more, a last time."""
        now = time.monotonic()
        with self._lock:
            moments = {
                flow_id: (live.flying_bytes, live.throughput(now) if live.requests else 0.0)
                for flow_id, live in self._live.items()
            }
            for flow_id in [one for one, live in self._live.items() if not live.requests]:
                del self._live[flow_id]
        for flow_id, (flying, rate) in moments.items():
            try:
                self._write(flow_id, flying, rate)
            except DataFerryError as exc:
                _log.warning("progress was not written", flow_id=str(flow_id), error=str(exc))

    def _write(self, flow_id: UUID, flying_bytes: int, rate: float) -> None:
        totals = self._store.ledger.totals(str(flow_id))
        with self._store.transaction() as tx:
            tx.progress.put(flow_id, moment_of(totals, flying_bytes=flying_bytes, rate=rate))


def moment_of(totals: Totals, *, flying_bytes: int = 0, rate: float = 0.0) -> Progress:
    """Return how far a push to us is; totals are what is known of it so far."""
    return Progress(
        objects_total=totals.objects_total,
        objects_done=totals.objects_done,
        objects_skipped=totals.objects_skipped,
        objects_failed=totals.objects_failed,
        objects_unsized=totals.objects_unsized,
        bytes_total=totals.bytes_total,
        bytes_transferred=totals.bytes_done + flying_bytes,
        throughput_bytes_per_s=rate,
        plan_complete=totals.plan_complete,
    )
