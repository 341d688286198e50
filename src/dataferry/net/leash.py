"""A way out whose connections can all be told to let go: for threads that must end when the process does."""

from __future__ import annotations

from threading import Lock
from weakref import WeakSet

from dataferry.domain.location import Provenance
from dataferry.net.connections import Network, PinnedConnection
from dataferry.net.routes import USUAL, Route


class Leash(Network):
    """Another network's policy, trust and proxies, with a hold on every connection that it opened.

    Args:
        network: Whose.
    """

    def __init__(self, network: Network) -> None:
        super().__init__(
            network.guard,
            connect_timeout_s=network.connect_timeout_s,
            stall_timeout_s=network.stall_timeout_s,
            proxies=network.proxies,
        )
        self.authorities = network.authorities
        self._lock = Lock()
        self._opened: WeakSet[PinnedConnection] = WeakSet()
        self._is_over = False

    def connect(
        self,
        *,
        scheme: str,
        host: str,
        port: int | None,
        provenance: Provenance,
        timeout_s: float | None = None,
        route: Route = USUAL,
    ) -> PinnedConnection:
        """As of ``Network``; after ``let_go`` what it returns can't dial."""
        connection = super().connect(
            scheme=scheme, host=host, port=port, provenance=provenance, timeout_s=timeout_s, route=route
        )
        with self._lock:
            self._opened.add(connection)
            over = self._is_over
        if over:
            connection.shut()
        return connection

    def let_go(self) -> None:
        """Make every blocked call fail at once, and every later one. Any thread."""
        with self._lock:
            self._is_over = True
            opened = list(self._opened)
        for connection in opened:
            connection.shut()
