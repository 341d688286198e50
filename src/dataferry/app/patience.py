"""HTTP connections that must make progress: whoever sends no whole request head in time is let go.

uvicorn drops connections that idle between requests, but waits for ever for the first request, and for the
rest of a head that was begun.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, with a bound on how long a request's head may take.

    Attributes:
        head_timeout_s: From the connection's beginning, or the first byte of a later request.
    """

    head_timeout_s: ClassVar[float] = 30.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._look()

    def data_received(self, data: bytes) -> None:
        """Take bytes in."""
        super().data_received(data)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._disarm()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Let the clock run exactly while no request is being answered; it runs on while bytes drip in."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._disarm()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_timeout_s, self._let_go)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _let_go(self) -> None:
        """Close, unless a request that was answered meanwhile stopped the clock in between."""
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()
