"""Turns for callers: nobody's requests take all the threads, and nobody is told to come back later.

A verb may wait some seconds for a store. Without turns, a caller whose store is slow would have every thread
of the server wait for it. Who has all the places that one caller may have waits for one of them, before the
body is read, and costs no thread; an answer 503 would make control planes give flows up.
"""

from __future__ import annotations

from dataclasses import dataclass

import anyio
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from dataferry.api.authorization import caller_key

# They hold no thread, or are the way to find out why others wait.
WITHOUT_TURN = frozenset({"/healthz", "/readyz", "/management/events"})


@dataclass(slots=True)
class _Caller:
    places: anyio.Semaphore
    requests: int = 0


class Admission:
    """ASGI middleware: of each caller only so many requests are worked on at once, the others wait in order.

    Args:
        app: What is called.
        per_caller: Requests of one caller at once. Who it is, is told by its credentials, right or wrong, or
            by its address if it shows none.
    """

    def __init__(self, app: ASGIApp, *, per_caller: int) -> None:
        self._app = app
        self._per_caller = per_caller
        self._callers: dict[bytes, _Caller] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on when it is its turn."""
        if scope["type"] != "http" or scope["path"] in WITHOUT_TURN:
            await self._app(scope, receive, send)
            return
        key = caller_key(HTTPConnection(scope))
        caller = self._callers.get(key)
        if caller is None:
            caller = self._callers[key] = _Caller(anyio.Semaphore(self._per_caller))
        caller.requests += 1
        try:
            async with caller.places:
                await self._app(scope, receive, send)
        finally:
            caller.requests -= 1
            if not caller.requests:
                del self._callers[key]
