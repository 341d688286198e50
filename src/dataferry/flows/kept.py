"""Connections to stores that idle between the requests of a flow: dialling costs more than a small object."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar
from uuid import UUID

from dataferry.flows.resolution import Place

# One that nobody has used for so long is closed.
IDLE_S = 20.0
MOST_IDLE = 64
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class _Idle(Generic[T]):
    flow_id: UUID
    place: Place
    connection: T
    since_s: float

    def leads_to(self, flow_id: UUID, place: Place) -> bool:
        """Say if it is still to where the flow's data is now, with the credentials that hold now."""
        return (
            self.flow_id == flow_id
            and self.place.endpoint == place.endpoint
            and self.place.location == place.location
        )


class Kept(Generic[T]):
    """Connections of one kind. Thread-safe.

    Args:
        close: Closes one, and never waits for a store.
    """

    def __init__(self, close: Callable[[T], None]) -> None:
        self._close = close
        self._lock = Lock()
        self._idle: deque[_Idle[T]] = deque()
        self._closed = False

    def take(self, flow_id: UUID, place: Place) -> T | None:
        """Return one that leads to a flow's place, which nobody else has then; None if there is none."""
        with self._lock:
            for idle in reversed(self._idle):
                if idle.leads_to(flow_id, place):
                    self._idle.remove(idle)
                    return idle.connection
        return None

    def keep(self, flow_id: UUID, place: Place, connection: T) -> None:
        """Keep one for the flow's next request; the one that idles longest makes room."""
        over: T | None = connection
        with self._lock:
            if not self._closed:
                self._idle.append(_Idle(flow_id, place, connection, time.monotonic()))
                over = self._idle.popleft().connection if len(self._idle) > MOST_IDLE else None
        if over is not None:
            self._close(over)

    def tick(self) -> None:
        """Close what idles; called every moment."""
        before = time.monotonic() - IDLE_S
        over = []
        with self._lock:
            while self._idle and self._idle[0].since_s < before:
                over.append(self._idle.popleft().connection)
        for connection in over:
            self._close(connection)

    def close(self) -> None:
        """Close all, and keep none from now on."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, deque()
        for each in idle:
            self._close(each.connection)
