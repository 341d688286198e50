"""Forgets flows that have been over for long, so that the database does not grow for ever."""

from __future__ import annotations

from datetime import timedelta
from threading import Event

from dataferry.domain.clock import Clock
from dataferry.flows.periodic import Periodic
from dataferry.store.store import Store
from dataferry.telemetry.logs import get_logger

INTERVAL_S = 600.0
FLOWS_A_LOOK = 100
# Between two transactions, so that whoever waits to write gets a turn.
PAUSE_S = 0.02

_log = get_logger("flows.retention")


class Retention:
    """Deletes flows in a final state, with all that belongs to them, in a thread that it owns.

    A process id that was forgotten can be used again: whoever repeats a message that old makes a new flow.

    Args:
        store: Where flows are.
        clock: Time.
        days: How long after its last change a flow is kept; 0 is for ever.
    """

    def __init__(self, store: Store, clock: Clock, *, days: int) -> None:
        self._store = store
        self._clock = clock
        self._days = days
        self._closing = Event()
        self._thread = Periodic("retention", self.tick, INTERVAL_S)

    def start(self) -> None:
        """Start forgetting, if anything is ever to be forgotten."""
        if self._days:
            self._thread.start()

    def close(self) -> None:
        """End, also in the middle of many rows, and join the thread; what is left is for the next start."""
        self._closing.set()
        self._thread.close()

    def tick(self) -> int:
        """Forget what is to be forgotten now; return how many flows."""
        before = self._clock.now() - timedelta(days=self._days)
        forgotten = 0
        while not self._closing.is_set():
            with self._store.snapshot() as tx:
                expired = tx.retention.expired(before, FLOWS_A_LOOK)
            if not expired:
                break
            for flow_id in expired:
                done = False
                while not done:
                    with self._store.transaction() as tx:
                        done = tx.retention.forget(flow_id, before)
                    if self._closing.wait(PAUSE_S):
                        return forgotten
                forgotten += 1
        if forgotten:
            _log.info("forgotten", flows=forgotten, unchanged_for_days=self._days)
        return forgotten
