"""When a flow's attempt may be tried again, and which flows wait for each other's destination.

Both live in this process only: after a restart everything that is queued is tried at once, which is right,
for the reason of the failure may be gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from uuid import UUID

from dataferry.domain.clock import Clock
from dataferry.flows.policy import Backoff


@dataclass(slots=True)
class _Failures:
    count: int
    due_at: float


class RetrySchedule:
    """Counts the failures of flows in a row, and says when the next try of one is due, failed or held.

    Args:
        clock: Time.
        most: How many failures in a row are followed by another try.
        backoff: How long between them.
    """

    def __init__(self, clock: Clock, *, most: int, backoff: Backoff) -> None:
        self._clock = clock
        self._most = most
        self._backoff = backoff
        self._lock = Lock()
        self._failures: dict[UUID, _Failures] = {}
        self._held: dict[UUID, tuple[float, str]] = {}

    def is_due(self, flow_id: UUID) -> bool:
        """Return whether the flow may be tried now."""
        with self._lock:
            now = self._clock.monotonic()
            failures = self._failures.get(flow_id)
            held_until, _ = self._held.get(flow_id, (now, ""))
            return held_until <= now and (failures is None or failures.due_at <= now)

    def hold(self, flow_id: UUID, delay_s: float, why: str) -> bool:
        """Have the flow wait without having failed; return whether the reason is news."""
        with self._lock:
            _, known = self._held.get(flow_id, (0.0, None))
            self._held[flow_id] = (self._clock.monotonic() + delay_s, why)
            return known != why

    def release(self, flow_id: UUID) -> None:
        """The flow waits no more."""
        with self._lock:
            self._held.pop(flow_id, None)

    def again_in_s(self, flow_id: UUID, *, at_least_s: float = 0.0) -> float | None:
        """Count a failure; return in how many seconds the next try is due, None if there is to be none."""
        with self._lock:
            failures = self._failures.setdefault(flow_id, _Failures(count=0, due_at=0.0))
            failures.count += 1
            if failures.count > self._most:
                del self._failures[flow_id]
                return None
            delay_s = max(self._backoff.delay_s(failures.count), at_least_s)
            failures.due_at = self._clock.monotonic() + delay_s
            return delay_s

    def forget(self, flow_id: UUID) -> None:
        """Forget a flow's failures: it went well, it ended, or somebody asked for a try now."""
        with self._lock:
            self._failures.pop(flow_id, None)
            self._held.pop(flow_id, None)


class Destinations:
    """Who writes where: one flow at a time per destination key (rule 9)."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._held: dict[UUID, str] = {}
        self._waiting: dict[UUID, UUID] = {}

    def take(self, flow_id: UUID, identity: str) -> UUID | None:
        """Claim a destination; return None if it is ours now, else the flow that has it or a part of it."""
        with self._lock:
            for holder, held in self._held.items():
                if holder != flow_id and overlap(held, identity):
                    return holder
            self._held[flow_id] = identity
            self._waiting.pop(flow_id, None)
            return None

    def is_news(self, flow_id: UUID, holder: UUID) -> bool:
        """Return True the first time that a flow waits for that holder: worth an event, once."""
        with self._lock:
            known = self._waiting.get(flow_id) == holder
            self._waiting[flow_id] = holder
            return not known

    def release(self, flow_id: UUID) -> None:
        """Give a destination back; nobody waits for it any more."""
        with self._lock:
            if self._held.pop(flow_id, None) is not None:
                self._waiting = {who: whom for who, whom in self._waiting.items() if whom != flow_id}


def overlap(one: str, other: str) -> bool:
    """Return whether two destinations are the same place, or one lies within the other."""
    one, other = one.rstrip("/"), other.rstrip("/")
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")
