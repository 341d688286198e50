"""``/data/{flow}``: one object, or a listing with its objects below it, by GET and HEAD.

Reading blocks, so it is done in threads of the gateway's own: a slow store or a slow reader keeps no verb of
a control plane waiting. A thread is held only while a piece is read, not while it is sent.

Source: Data Plane Signaling, "HTTP Transfer Profile", section "Pull"; RFC 9110.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from email.utils import format_datetime
from http import HTTPStatus
from typing import Annotated, Protocol

from fastapi import APIRouter, Path, Query, Request, Response, Security
from fastapi.security import HTTPBearer
from starlette.responses import StreamingResponse

from dataferry.api.access import BrokenOffError
from dataferry.api.authorization import bearer_token
from dataferry.api.gateway.conditions import RangeError, Span, Whole, etag_of, precondition, span
from dataferry.api.gateway.objects import ListingPieces, OpenedObject, Pieces, told
from dataferry.api.gateway.pace import take
from dataferry.api.gateway.threads import GatewayThreads
from dataferry.api.problems import problem
from dataferry.api.services import Services, services_of
from dataferry.domain.errors import DataFerryError, UnsupportedError
from dataferry.domain.objects import ObjectInfo
from dataferry.domain.profile import Direction
from dataferry.engine.rates.bandwidth import Share, refuse_closed
from dataferry.flows.gateway import DATA_PATH, Served, Watch
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
    services = services_of(request)
    served = await _let_in(request, flow_id)
    if served.place.endpoint.is_single:
        return await _object(request, services, served, "")
    if request.method == "HEAD":
        return Response(media_type=JSON_LINES)
    with _translated():
        listing = ListingPieces(served, services.gateway, services.network, start_after=start_after)
    return StreamingResponse(_streamed(request, served, listing, listing), media_type=JSON_LINES)


@router.get("/{flow_id}/{name:path}", response_class=Response)
@router.head("/{flow_id}/{name:path}", include_in_schema=False)
async def get_object(
    request: Request, flow_id: FlowId, name: Name, start_after: StartAfter = None
) -> Response:
    """Return one object of a flow of several, by its name in the listing; without a name, the listing."""
    if not name:
        return await get_data(request, flow_id, start_after)
    return await _object(request, services_of(request), await _let_in(request, flow_id), name)


async def _let_in(request: Request, flow_id: str) -> Served:
    """Return what the flow serves, to who shows its token."""
    access, token = services_of(request).gateway, bearer_token(request)
    with _translated():
        served = await threads_of(request).run(None, lambda: access.open(flow_id, token))
        refuse_closed(served.bandwidths)
        return served


async def _object(request: Request, services: Services, served: Served, name: str) -> Response:
    """Answer a GET or HEAD of one object."""
    run = threads_of(request).run
    with _translated():
        opened = OpenedObject(served, name, services.network)  # asks nobody yet
    handed_over = False
    try:
        with _translated():
            info = await run(served.place, opened.look_up, opened.abort)
        if info.size_bytes is None:
            raise UnsupportedError("the source does not say how long its object is, so it can't be served")
        etag = etag_of(info.validator)
        headers = _headers(info, etag)
        if (status := precondition(request.headers, etag)) is not None:
            return Response(status_code=status, headers=headers)
        try:
            asked = span(request.headers, etag=etag, size_bytes=info.size_bytes)
        except RangeError:
            return _not_satisfiable(request, info.size_bytes)
        whole = Span(offset_bytes=0, length_bytes=info.size_bytes)
        part = whole if isinstance(asked, Whole) else asked
        status = HTTPStatus.OK
        if asked is not Whole.WHOLE:
            status, headers["Content-Range"] = HTTPStatus.PARTIAL_CONTENT, part.content_range(info.size_bytes)
        headers["Content-Length"] = str(part.length_bytes)
        if request.method == "HEAD" or not part.length_bytes:
            return Response(status_code=status, headers=headers)
        with _translated():
            watch = services.gateway.watch(served.flow_id, Direction.PULL)
            # With the first piece: of a small object it is the only one.
            pieces = await run(served.place, lambda: _read(opened, info, watch, part), opened.abort)
        handed_over = True
        body = _streamed(request, served, pieces, opened)
        return StreamingResponse(body, status_code=status, headers=headers)
    finally:
        if not handed_over:
            opened.close()


def _read(opened: OpenedObject, info: ObjectInfo, watch: Watch, part: Span) -> Pieces:
    return opened.read(info, watch, offset_bytes=part.offset_bytes, length_bytes=part.length_bytes)


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


def _headers(info: ObjectInfo, etag: str | None) -> dict[str, str]:
    """Describe an object; what a store says and no header can hold is left out."""
    attributes = info.attributes
    found = {
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Last-Modified": info.modified_at and format_datetime(info.modified_at, usegmt=True),
        "Content-Type": (attributes and attributes.content_type) or "application/octet-stream",
        "Content-Disposition": attributes and attributes.content_disposition,
        "Content-Encoding": attributes and attributes.content_encoding,
        "Content-Language": attributes and attributes.content_language,
        # Whose contract it is, decides who may read it: nobody on the way keeps a copy.
        "Cache-Control": "private, no-store",
        "X-Content-Type-Options": "nosniff",
    }
    given = {name: value.strip() for name, value in found.items() if value}
    return {name: value for name, value in given.items() if value and value.isascii() and value.isprintable()}


def _not_satisfiable(request: Request, size_bytes: int) -> Response:
    return problem(
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        "range_not_satisfiable",
        "the object ends before the range begins",
        instance=request.url.path,
        headers={"Content-Range": f"bytes */{size_bytes}"},
    )
