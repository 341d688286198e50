"""``/management/events``: what happens to flows, and how far they are, as it happens (Server-Sent Events).

A stream looks into the store for news instead of being told: so it also sees what another process wrote,
needs no queue, and a slow reader costs nothing but its own connection.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from dataferry.api.authorization import caller_key
from dataferry.api.management.views import event_view
from dataferry.api.operators import MayRead
from dataferry.api.problems import problem
from dataferry.api.progress import progress_view
from dataferry.api.services import Services, services_of
from dataferry.domain.dataflow import Run
from dataferry.domain.errors import DatabaseUnavailableError, ForbiddenError, UnauthorizedError
from dataferry.domain.purview import Scope as OperatorScope
from dataferry.flows.management import Management

router = APIRouter(tags=["data flows"])

MAX_EVENTS = 500
MAX_FLOWS = 100


class Streams:
    """Counts open streams against their bounds. Thread-safe.

    Args:
        bound: Most streams at once; one caller has at most half of them.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._of_one = max(1, bound // 2)
        self._open: Counter[bytes] = Counter()
        self._lock = threading.Lock()

    def enter(self, caller: bytes) -> bool:
        """Take a place; False if there is none for that caller."""
        with self._lock:
            if self._open.total() >= self._bound or self._open[caller] >= self._of_one:
                return False
            self._open[caller] += 1
            return True

    def leave(self, caller: bytes) -> None:
        """Give it back."""
        with self._lock:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]


class EventStream(StreamingResponse):
    """A stream that gives its place back however it ends, also if it never began.

    Args:
        streams: Where it has a place.
        caller: Whose place it is.
        frames: What it says.
    """

    def __init__(self, streams: Streams, caller: bytes, frames: AsyncIterator[str]) -> None:
        super().__init__(
            frames,
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        self._streams = streams
        self._caller = caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the client leaves or the service ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.leave(self._caller)


class News:
    """What is new since one stream looked last.

    Args:
        management: Where to look.
        after: Id of the last event that the client knows.
    """

    def __init__(self, management: Management, after: int) -> None:
        self._management = management
        self._after = after
        self._told: dict[str, str] = {}

    def look(self) -> str:
        """Return new events and changed progress as SSE text; empty if there is nothing new."""
        return "".join((*self._events(), *self._progress()))

    def _events(self) -> list[str]:
        events, self._after = self._management.events_since(self._after, MAX_EVENTS)
        return [_frame("flow", event_view(event), id=event.id) for event in events]

    def _progress(self) -> list[str]:
        """Tell the progress of running flows and of pushes to us, and once more of those that have ended."""
        running, _ = self._management.list(run=Run.RUNNING, limit=MAX_FLOWS)
        views = (*running, *self._management.taking_in(MAX_FLOWS))
        frames: list[str] = []
        told: dict[str, str] = {}
        for view in views:
            key = str(view.flow.id)
            told[key] = _progress_frame(view.flow.data_flow_id, key, progress_view(view.flow, view.progress))
            if told[key] != self._told.get(key):
                frames.append(told[key])
        for key in self._told.keys() - told.keys():
            view = self._management.view(key)
            frames.append(
                _progress_frame(view.flow.data_flow_id, key, progress_view(view.flow, view.progress))
            )
        self._told = told
        return frames


@router.get(
    "/events",
    summary="Follow all data flows live",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "`flow` and `progress` events."}},
)
async def follow(
    request: Request,
    operator: MayRead,
    last_event_id: Annotated[str | None, Header(description="Where a broken stream goes on.")] = None,
    after: Annotated[int | None, Query(ge=0, le=2**62, description="As `Last-Event-ID`.")] = None,
) -> Response:
    """Stream ``flow`` events (with ids) and ``progress`` of running flows until the client leaves."""
    services = services_of(request)
    streams: Streams = request.app.state.streams
    caller = caller_key(request)
    if not streams.enter(caller):
        return problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            "too_many_streams",
            f"of {services.max_event_streams} places to follow from, none is free for this caller",
            instance=request.url.path,
            headers={"Retry-After": "30"},
        )
    try:
        start = await _start(services, last_event_id, after)
    except BaseException:
        streams.leave(caller)
        raise
    news = News(services.management.within(operator.purview), start)
    return EventStream(streams, caller, _frames(services, news, request))


async def _start(services: Services, last_event_id: str | None, after: int | None) -> int:
    """Return the event after which to begin: as the client asks, else now."""
    if last_event_id is not None and last_event_id.isascii() and last_event_id.isdecimal():
        return int(last_event_id[:18])
    if after is not None:
        return after
    return await run_in_threadpool(services.management.last_event_id)


async def _frames(services: Services, news: News, request: Request) -> AsyncIterator[str]:
    """Yield news, and a comment when there was none for a while, until the service or the key ends."""

    def look() -> str | None:
        try:
            services.api_keys.require(request, OperatorScope.READ)
        except (UnauthorizedError, ForbiddenError):
            return None
        return news.look()

    yield "retry: 2000\n\n"
    spoke_at = time.monotonic()
    while not services.closing.is_set():
        try:
            text = await run_in_threadpool(look)
        except DatabaseUnavailableError:
            text = ""  # what is missed now is told when it is back
        if text is None:
            return
        if not text and time.monotonic() - spoke_at >= services.keep_alive_s:
            text = ": keep-alive\n\n"
        if text:
            spoke_at = time.monotonic()
            yield text
        await anyio.sleep(services.event_interval_s)


def _frame(event: str, data: dict[str, Any], *, id: int | None = None) -> str:
    """Write one event. JSON has no line breaks, so that one ``data`` line does.

    Source: WHATWG HTML, "Server-sent events".
    """
    lines = [f"event: {event}", f"data: {json.dumps(data)}"]
    if id is not None:
        lines.insert(0, f"id: {id}")
    return "\n".join(lines) + "\n\n"


def _progress_frame(data_flow_id: str, id: str, progress: dict[str, Any]) -> str:
    return _frame("progress", {"id": id, "dataFlowId": data_flow_id, **progress})
