"""``/data/{flow}``: one object, or a listing with its objects below it, by GET and HEAD.

Reading blocks, so it is done in threads of the gateway's own: a slow store or a slow reader keeps no verb of
a control plane waiting. A thread is held only while a piece is read, not while it is sent.

Source: Data Plane Signaling, "HTTP Transfer Profile", section "Pull"; RFC 9110.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Protocol

from fastapi import APIRouter, Path, Query, Request, Response, Security
from fastapi.security import HTTPBearer
from starlette.responses import StreamingResponse

from dataferry.api.access import BrokenOffError
from dataferry.api.authorization import bearer_token
from dataferry.api.gateway.objects import ListingPieces, told
from dataferry.api.gateway.pace import take
from dataferry.api.gateway.threads import GatewayThreads
from dataferry.api.gateway.visits import Answer, Asked, Visit
from dataferry.api.problems import problem
from dataferry.api.services import services_of
from dataferry.domain.errors import DataFerryError
from dataferry.engine.rates.bandwidth import Share
from dataferry.flows.gateway import DATA_PATH, Served
from dataferry.telemetry.logs import get_logger

JSON_LINES = "application/jsonl"
FlowId = Annotated[str, Path(max_length=64)]
Name = Annotated[str, Path(max_length=4096)]
StartAfter = Annotated[str | None, Query(max_length=4096)]

_TOKEN = HTTPBearer(
    scheme_name="FlowToken", auto_error=False, description="The `authorization` of a flow's data address."
)
router = APIRouter(prefix=DATA_PATH, tags=["data"], dependencies=[Security(_TOKEN)])
_log = get_logger("api.gateway")


class Body(Protocol):
    """What a response reads from."""

    @property
    def at_hand(self) -> bytes | None:
        """What needs no thread to be had now; None if it does."""
        ...

    def next(self) -> bytes:
        """Return the next piece, ``b""`` at the end."""
        ...


class Opened(Protocol):
    """What is open behind a response."""

    def abort(self) -> None:
        """Make a blocked call fail at once. Any thread."""
        ...

    def close(self) -> None:
        """Give it up; never waits."""
        ...


@router.get("/{flow_id}", response_class=Response)
@router.head("/{flow_id}", include_in_schema=False)
async def get_data(
    request: Request,
    flow_id: FlowId,
    start_after: StartAfter = None,
) -> Response:
    """Return the flow's object; of a flow of several, the listing in JSON lines, whole once it sums up."""
    return await _answered(request, flow_id, "", start_after)


@router.get("/{flow_id}/{name:path}", response_class=Response)
@router.head("/{flow_id}/{name:path}", include_in_schema=False)
async def get_object(
    request: Request, flow_id: FlowId, name: Name, start_after: StartAfter = None
) -> Response:
    """Return one object of a flow of several, by its name in the listing; without a name, the listing."""
    return await _answered(request, flow_id, name, start_after)


async def _answered(request: Request, flow_id: str, name: str, start_after: str | None) -> Response:
    """Answer a GET or HEAD of an object, or of the listing of all."""
    services = services_of(request)
    asked = Asked(
        flow_id=flow_id,
        token=bearer_token(request),
        name=name,
        headers=request.headers,
        wants_body=request.method != "HEAD",
    )
    visit = Visit(services.gateway, services.readers, asked)
    handed_over = False
    try:
        with _translated():
            place = services.gateway.last_place(flow_id)
            answer = await threads_of(request).enter(place, visit.let_in, visit.find, visit.abort)
        if answer is None:
            return _listing(request, visit.served, start_after)
        response = _response(request, visit, answer)
        handed_over = isinstance(response, StreamingResponse)
        return response
    finally:
        if not handed_over:
            visit.close()


def _listing(request: Request, served: Served, start_after: str | None) -> Response:
    """Answer with the names of a flow's objects."""
    if request.method == "HEAD":
        return Response(media_type=JSON_LINES)
    services = services_of(request)
    with _translated():
        listing = ListingPieces(served, services.gateway, services.network, start_after=start_after)
    return StreamingResponse(_streamed(request, served, listing, listing), media_type=JSON_LINES)


def _response(request: Request, visit: Visit, answer: Answer) -> Response:
    """Answer with an object, or what is to be said of it."""
    if answer.status is HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return _not_satisfiable(request, answer.size_bytes)
    pieces, served = answer.pieces, visit.served
    if pieces is None:
        return Response(status_code=answer.status, headers=answer.headers)
    if pieces.is_whole and not served.is_bounded:
        return Response(pieces.at_hand, status_code=answer.status, headers=answer.headers)
    body = _streamed(request, served, pieces, visit)
    return StreamingResponse(body, status_code=answer.status, headers=answer.headers)


@contextmanager
def _translated() -> Iterator[None]:
    """Tell strangers what they may know of an error; the log has the rest."""
    try:
        yield
    except DataFerryError as exc:
        shown = told(exc)
        if shown is not exc:
            _log.info("unreadable", kind=exc.kind, reason=str(exc))
        raise shown from None


async def _streamed(request: Request, served: Served, body: Body, opened: Opened) -> AsyncIterator[bytes]:
    """Give a body piece by piece, as fast as it may flow; one that fails is broken off, as all are then."""
    services = services_of(request)
    run = threads_of(request).run
    try:
        with services.shares.of(served.flow_id, served.bandwidths, served.bandwidth_bytes_per_s) as share:
            while True:
                piece = body.at_hand
                if piece is None:
                    piece = await run(served.place, body.next, opened.abort)
                if not piece:
                    return
                async for part in _paced(share, piece):
                    yield part
                    if services.closing.is_set():
                        raise BrokenOffError("closing")
    except DataFerryError as exc:
        _log.info("broken_off", kind=exc.kind, reason=str(exc))
        raise BrokenOffError(exc.kind) from None
    finally:
        opened.close()


async def _paced(share: Share, piece: bytes) -> AsyncIterator[bytes]:
    """Give a piece, or what of it may flow now, and then the rest."""
    if not share.bounds:
        yield piece
        return
    sent = 0
    while sent < len(piece):
        count = await take(share, len(piece) - sent)
        yield piece[sent : sent + count]
        sent += count


def threads_of(request: Request) -> GatewayThreads:
    """Return the threads of the application that a request came to."""
    threads = request.app.state.gateway_threads
    assert isinstance(threads, GatewayThreads)  # noqa: S101  create_application put it there
    return threads


def _not_satisfiable(request: Request, size_bytes: int) -> Response:
    return problem(
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        "range_not_satisfiable",
        "the object ends before the range begins",
        instance=request.url.path,
        headers={"Content-Range": f"bytes */{size_bytes}"},
    )
