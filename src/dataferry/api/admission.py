"""Turns for callers: nobody's requests take all the threads, and no control plane is told to come back.

A verb may wait some seconds for a store. Without turns, a caller whose store is slow would have every thread
of the server wait for it. Who has all the places that one caller may have waits for one of them, before the
body is read, and costs no thread; an answer 503 would make control planes give flows up.

Who fetches or sends data is another matter: its requests last as long as it likes, and its token is no
secret of ours.
They are counted by flow, since credentials can be varied at will, and those beyond a bound are told to come
back: what waits holds a connection too.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from http import HTTPStatus

import anyio
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from dataferry.api.authorization import bearer_token, caller_key
from dataferry.api.problems import problem
from dataferry.domain.errors import UnauthorizedError
from dataferry.flows.gateway import DATA_PATH, INGEST_PATH
from dataferry.secrets.claims import unproved

# Of one flow's requests for data, so many times those that are worked on may be there.
_WAITING = 2
_RETRY_AFTER_S = 5
_FLOW_CHARS = 64
_DATA = (f"{DATA_PATH}/", f"{INGEST_PATH}/")

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
            by its address if it shows none; of requests for data by the flow. A JWT is another one with each
            call: there it is the address and whom the token claims to be of, since nothing is proved yet.
        most_data: Requests for data at once, of all flows together.
    """

    def __init__(self, app: ASGIApp, *, per_caller: int, most_data: int = 256) -> None:
        self._app = app
        self._per_caller = per_caller
        self._most_data = most_data
        self._data = 0
        self._callers: dict[bytes, _Caller] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on when it is its turn."""
        if scope["type"] != "http" or scope["path"] in WITHOUT_TURN:
            await self._app(scope, receive, send)
            return
        # Tokens are renewed, and uploads begun and ended (POST), with requests of a moment: they do not wait
        # for bodies that are sent.
        flow = None if scope.get("method") == "POST" else _flow(scope["path"])
        key = _caller_key(HTTPConnection(scope)) if flow is None else b"flow " + flow.encode(errors="replace")
        caller = self._callers.get(key) or _Caller(anyio.Semaphore(self._per_caller))
        if flow is not None and (
            self._data >= self._most_data or caller.requests >= _WAITING * self._per_caller
        ):
            await _come_back(scope, receive, send)
            return
        self._callers[key] = caller
        caller.requests += 1
        self._data += flow is not None
        try:
            async with caller.places:
                await self._app(scope, receive, send)
        finally:
            self._data -= flow is not None
            caller.requests -= 1
            if not caller.requests:
                del self._callers[key]


def _caller_key(connection: HTTPConnection) -> bytes:
    """Name a caller to count by, also one whose token is another with each call."""
    try:
        _, claims = unproved(bearer_token(connection) or "")
    except UnauthorizedError:
        return caller_key(connection)
    peer = connection.client.host if connection.client else ""
    told = json.dumps([peer, claims.get("iss"), claims.get("sub")])
    return b"token " + hashlib.sha256(told.encode()).digest()


def _flow(path: str) -> str | None:
    """Return whose data is asked for or sent; None if it is something else."""
    for root in _DATA:
        if path.startswith(root):
            return path.removeprefix(root).partition("/")[0][:_FLOW_CHARS]
    return None


async def _come_back(scope: Scope, receive: Receive, send: Send) -> None:
    answer = problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "throttled",
        "too much data is moving at once; come back in a moment",
        instance=scope["path"],
        headers={"Retry-After": str(_RETRY_AFTER_S), "Connection": "close"},
    )
    await answer(scope, receive, send)
