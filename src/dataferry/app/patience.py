"""HTTP connections that must make progress: who sends no whole head, or takes no answer, in time is let go.

uvicorn drops connections that idle between requests, but waits for ever for the first request, and for the
rest of a head that was begun, and for who reads nothing of an answer: even a connection that is closed stays
until the last byte of it was taken. Nor does it bound how many connections there are, other than by
answering 503.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, ClassVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from dataferry.api.access import BrokenOffError


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, with bounds on how long a request's head and each piece of an answer may take.

    Attributes:
        head_timeout_s: From the connection's beginning, or the first byte of a later request.
        send_timeout_s: For each piece of an answer, a quarter of a MiB at most, to be taken.
        max_connections: Most connections of all peers together.
    """

    head_timeout_s: ClassVar[float] = 30.0
    send_timeout_s: ClassVar[float] = 60.0
    max_connections: ClassVar[int] = 512

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.app = self._answering(self.app)
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._look()
        if len(self.connections) > self.max_connections:
            self._make_room()

    @property
    def idle_since(self) -> float | None:
        """The loop's time at which its clock began to run; None while a request is answered, or if closed."""
        if self._head_timer is None or self.transport.is_closing():
            return None
        return self._head_timer.when() - self.head_timeout_s

    @property
    def peer(self) -> str:
        """The address of the other side."""
        return self.client[0] if self.client else ""

    def _make_room(self) -> None:
        """Close what has idled longest, of the peer that has the most connections that idle.

        Clients must be ready for the end of an idle connection; requests that are being answered stay. If all
        are, it is this connection, which has asked nothing yet, that goes.
        """
        idle = [
            protocol
            for protocol in self.connections
            if isinstance(protocol, PatientProtocol) and protocol.idle_since is not None
        ]
        of_peer = Counter(protocol.peer for protocol in idle)
        most = max(of_peer.values())
        crowd = [protocol for protocol in idle if of_peer[protocol.peer] == most]
        oldest = min(crowd, key=lambda protocol: protocol.idle_since or 0.0)
        oldest.transport.close()

    def data_received(self, data: bytes) -> None:
        """Take bytes in."""
        super().data_received(data)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._disarm()
        super().connection_lost(exc)

    def _answering(self, app: ASGIApp) -> ASGIApp:
        """Let go who takes nothing of an answer; of one that is broken off nothing waits to be taken."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_in_time(message: Message) -> None:
                try:
                    async with asyncio.timeout(self.send_timeout_s):
                        await send(message)
                except TimeoutError:
                    raise BrokenOffError("nobody takes the answer") from None

            try:
                await app(scope, receive, send_in_time)
            except BrokenOffError:
                self.transport.abort()
                raise
            except asyncio.CancelledError:
                self.transport.abort()  # the service ends, and has waited for long enough
                raise BrokenOffError("closing") from None

        return answer

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
