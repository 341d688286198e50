"""Writes each step of every flow into the log, once it is committed.

Events are what a flow's story is told from; the log is where operators' collectors read it. Reading them back
from the store means that the log never says what a rolled-back transaction would have done.
"""

from __future__ import annotations

import contextlib

from dataferry.domain.errors import DatabaseUnavailableError
from dataferry.flows.periodic import Periodic
from dataferry.store.store import Store
from dataferry.telemetry.logs import get_logger

PAGE = 500
INTERVAL_S = 0.5

_log = get_logger("flows")


class Journal:
    """Logs events in the order in which they were written, in a thread that it owns.

    Args:
        store: Where events are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._after = 0
        self._thread = Periodic("journal", self.tick, INTERVAL_S)

    def start(self) -> None:
        """Start with what happens from now on."""
        with self._store.snapshot() as tx:
            self._after = tx.events.last_id()
        self._thread.start()

    def tick(self) -> int:
        """Log what was committed since the last tick; return how many events."""
        with self._store.snapshot() as tx:
            events = tx.events.since(self._after, PAGE)
            names = tx.flows.names({event.flow_id for event in events}) if events else {}
        for event in events:
            data_flow_id = names.get(event.flow_id) or str(event.flow_id)
            _log.info(
                event.kind, data_flow=data_flow_id, reason=event.reason, actor=event.actor, event_id=event.id
            )
            self._after = event.id
        return len(events)

    def close(self) -> None:
        """Log what is left, and join the thread."""
        self._thread.close()
        with contextlib.suppress(DatabaseUnavailableError):
            while self.tick():
                pass
