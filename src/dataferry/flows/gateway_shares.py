"""What each flow has of the bandwidth that it shares, while something of it moves through the gateway.

All requests of a flow are one party, whatever their number: a peer with many connections has no more than
one with few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from uuid import UUID

from dataferry.domain.clock import Clock
from dataferry.domain.schedule import Schedule
from dataferry.engine.rates.bandwidth import Bandwidth, Share
from dataferry.engine.stop import Stop


@dataclass(slots=True)
class _Held:
    share: Share
    requests: int = 0


class GatewayShares:
    """One share a flow, while it has requests. Thread-safe.

    Args:
        clock: Time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._held: dict[UUID, _Held] = {}

    @contextmanager
    def of(self, flow_id: UUID, bounds: Sequence[Bandwidth], own_bytes_per_s: int | None) -> Iterator[Share]:
        """Return a flow's share for one request.

        Args:
            flow_id: Whose.
            bounds: That it shares with others.
            own_bytes_per_s: Its own bound; None is none.

        Raises:
            WindowClosedError: Nothing may flow now, nor soon.
        """
        with self._lock:
            held = self._held.get(flow_id)
            if held is None:
                own: tuple[Bandwidth, ...] = ()
                if own_bytes_per_s is not None:
                    schedule = Schedule(bytes_per_s=own_bytes_per_s)
                    own = (Bandwidth("this transfer", schedule, self._clock),)
                held = self._held[flow_id] = _Held(Share((*own, *bounds), Stop()))
            held.requests += 1
        try:
            held.share.refuse_closed()
            yield held.share
        finally:
            with self._lock:
                held.requests -= 1
                if not held.requests:
                    del self._held[flow_id]
                    held.share.close()
