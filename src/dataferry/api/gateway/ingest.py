"""``/ingest/{flow}``: objects of a push, by plain PUT, and in parts between planes that have agreed to it.

A plain PUT is as the profile has it: the address itself for one object, names below it for several. An
address with the property ``parts`` takes uploads too: ``?uploads`` begins and lists them, ``?uploadId=``
sends, lists, completes and drops. Every answer to bytes has their CRC-64/NVME as they came.

Source: Data Plane Signaling, "HTTP Transfer Profile", section "Push"; RFC 9110, sections 9.3.4 and 13.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response, Security
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer

from dataferry.api.access import BrokenOffError
from dataferry.api.authorization import bearer_token
from dataferry.api.gateway.ingest_wire import (
    CompletionBody,
    UploadBody,
    attributes_of,
    crc_of,
    crc_text,
    document,
    header_value,
    length_of,
    only_if_absent,
    part_of,
    told_of,
)
from dataferry.api.gateway.receiving import DisconnectedError, drained, pour, told
from dataferry.api.gateway.routes import threads_of
from dataferry.api.problems import of_error, problem, status_of
from dataferry.api.services import services_of
from dataferry.domain.errors import (
    DataFerryError,
    DestinationExistsError,
    InputError,
    IntegrityError,
    NoSpaceError,
    ObjectNotFoundError,
    UploadGoneError,
)
from dataferry.domain.objects import Attributes
from dataferry.engine.rates.bandwidth import refuse_closed
from dataferry.flows import arriving_parts
from dataferry.flows.arrivals import Arriving, receive
from dataferry.flows.arriving_parts import PartArrival, PartSpan
from dataferry.flows.gateway import INGEST_PATH
from dataferry.flows.ingest import Receiving
from dataferry.flows.recipient import Arrived, Recipient
from dataferry.telemetry.logs import get_logger

_STATUSES: dict[type[DataFerryError], HTTPStatus] = {
    DestinationExistsError: HTTPStatus.PRECONDITION_FAILED,
    IntegrityError: HTTPStatus.CONFLICT,
    NoSpaceError: HTTPStatus.INSUFFICIENT_STORAGE,
    ObjectNotFoundError: HTTPStatus.NOT_FOUND,
    UploadGoneError: HTTPStatus.NOT_FOUND,
}
FlowId = Annotated[str, Path(max_length=64)]
Name = Annotated[
    str, Path(max_length=4096, description="Empty, or the object's name with a slash before it.")
]
UploadId = Annotated[str | None, Query(alias="uploadId", max_length=64)]
T = TypeVar("T")
_OBJECT = "/{flow_id}{name:path}"

_TOKEN = HTTPBearer(
    scheme_name="FlowToken", auto_error=False, description="The `authorization` of a flow's data address."
)
router = APIRouter(prefix=INGEST_PATH, tags=["data"], dependencies=[Security(_TOKEN)])
_log = get_logger("api.gateway")


_DOCUMENTS = {
    "requestBody": {
        "content": {
            "application/json": {
                "schema": {"oneOf": [UploadBody.model_json_schema(), CompletionBody.model_json_schema()]}
            }
        }
    }
}


@router.put(_OBJECT, status_code=201, response_class=Response)
async def put_object(
    request: Request,
    flow_id: FlowId,
    name: Name,
    upload_id: UploadId = None,
    part_number: Annotated[int, Query(alias="partNumber", ge=1, le=10_000)] = 1,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """Take an object, or with `uploadId` a part of one. It is there, whole, when the answer is 201 or 204."""

    def begin(recipient: Recipient) -> Arriving:
        length, absent = length_of(request), only_if_absent(request)
        if upload_id is None:
            attributes = attributes_of(request)
            return receive(recipient, length_bytes=length, attributes=attributes, only_if_absent=absent)
        if length is None:
            raise InputError("a part says its length")
        span = PartSpan(number=part_number, offset_bytes=offset, length_bytes=length)
        return PartArrival(recipient, upload_id, span)

    async def work() -> Response:
        return _arrived(await _received(request, flow_id, name, begin))

    return await _answered(request, flow_id, work, closes=True)


@router.head(_OBJECT, include_in_schema=False)
async def head_object(request: Request, flow_id: FlowId, name: Name) -> Response:
    """Tell of an object that this flow has brought; what else lies there is nobody's business here."""

    def look(recipient: Recipient) -> Response:
        row = recipient.row
        if row is None or not recipient.has_come:
            raise ObjectNotFoundError("this flow has brought no object of that name")
        headers = told_of(row.etag, row.crc64nvme)
        return Response(headers={**headers, "Content-Length": str(row.source.size_bytes or 0)})

    return await _asked(request, flow_id, name, look)


@router.get(_OBJECT, response_class=JSONResponse)
async def list_uploads(request: Request, flow_id: FlowId, name: Name, upload_id: UploadId = None) -> Response:
    """List an object's open uploads (`?uploads`), or the parts of one (`?uploadId=`) that are here."""

    def look(recipient: Recipient) -> Response:
        if upload_id is not None:
            parts = arriving_parts.parts(recipient, upload_id)
            return JSONResponse({"parts": [part_of(part) for part in parts]})
        if "uploads" not in request.query_params:
            raise ObjectNotFoundError("what was sent is not read here")
        found = arriving_parts.uploads(recipient)
        content = [{"uploadId": name, "startedAt": at.isoformat()} for name, at in found]
        return JSONResponse({"uploads": content, "objectsDone": recipient.objects_done})

    return await _asked(request, flow_id, name, look)


@router.post(_OBJECT, response_class=JSONResponse, openapi_extra=_DOCUMENTS)
async def post_upload(request: Request, flow_id: FlowId, name: Name, upload_id: UploadId = None) -> Response:
    """Begin to send an object in parts (`?uploads`), or make an object of its parts (`?uploadId=`)."""

    def work(recipient: Recipient) -> Response:
        if upload_id is not None:
            return _complete(request, recipient, upload_id)
        if "uploads" not in request.query_params:
            raise InputError("data is sent with PUT; POST wants uploads or uploadId in its query")
        return _begin(request, recipient)

    return await _asked(request, flow_id, name, work)


def _begin(request: Request, recipient: Recipient) -> Response:
    """Begin to send an object in parts; an upload of it that is open is dropped."""
    body = document(request, UploadBody)
    upload_id = arriving_parts.begin(
        recipient,
        size_bytes=body.size_bytes,
        attributes=Attributes(
            content_type=header_value(body.content_type),
            content_encoding=header_value(body.content_encoding),
            content_language=header_value(body.content_language),
        ),
        only_if_absent=only_if_absent(request),
    )
    return JSONResponse({"uploadId": upload_id}, status_code=HTTPStatus.CREATED)


def _complete(request: Request, recipient: Recipient, upload_id: str) -> Response:
    """Make an object of its parts, if they are what the sender says that it sent."""
    body = document(request, CompletionBody)
    crc = crc_of(body.crc64nvme)
    arrived = arriving_parts.finish(
        recipient,
        upload_id,
        count=body.parts,
        size_bytes=body.size_bytes,
        crc64nvme=crc,
        only_if_absent=only_if_absent(request),
    )
    content = {"sizeBytes": arrived.size_bytes, "etag": arrived.etag, "crc64nvme": crc_text(crc)}
    return JSONResponse(content)


@router.delete(_OBJECT, status_code=204)
async def drop_upload(
    request: Request,
    flow_id: FlowId,
    upload_id: Annotated[str, Query(alias="uploadId", max_length=64)],
    name: Name,
) -> Response:
    """Drop an upload; what has become an object stays."""

    def drop(recipient: Recipient) -> Response:
        arriving_parts.give_up(recipient, upload_id)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    return await _asked(request, flow_id, name, drop)


async def _asked(
    request: Request, flow_id: str, name: str, look: Callable[[Recipient], Response]
) -> Response:
    """Answer what needs no body of data."""
    ingest = services_of(request).ingest

    def go_on(receiving: Receiving) -> Response:
        recipient = Recipient(ingest, receiving, name.removeprefix("/"))
        try:
            answer = look(recipient)
        except BaseException:
            recipient.drop()
            raise
        recipient.release()
        return answer

    async def work() -> Response:
        return await _entered(request, flow_id, go_on)

    return await _answered(request, flow_id, work)


async def _entered(
    request: Request, flow_id: str, go_on: Callable[[Receiving], T], abort: Callable[[], None] = lambda: None
) -> T:
    """Let somebody in who shows the flow's token, and go on at the flow's place."""
    ingest, token = services_of(request).ingest, bearer_token(request)
    place = ingest.access.last_place(flow_id)
    return await threads_of(request).enter(place, lambda: ingest.open(flow_id, token), go_on, abort)


async def _received(
    request: Request, flow_id: str, name: str, begin: Callable[[Recipient], Arriving]
) -> Arrived:
    """Take a body of data to where it goes."""
    ingest = services_of(request).ingest
    begun: list[Recipient] = []

    def prepare(receiving: Receiving) -> Arriving:
        refuse_closed(receiving.bounds)
        recipient = Recipient(ingest, receiving, name.removeprefix("/"))
        begun.append(recipient)
        return begin(recipient)

    def abort() -> None:
        for recipient in begun:
            recipient.lent.writer.abort()

    try:
        arriving = await _entered(request, flow_id, prepare, abort)
        arrived = await pour(request, begun[0].receiving, arriving)
    except BaseException:
        for recipient in begun:
            recipient.drop()
        raise
    for recipient in begun:
        recipient.release()
    return arrived


async def _answered(
    request: Request,
    flow_id: str,
    work: Callable[[], Awaitable[Response]],
    *,
    closes: bool = False,
) -> Response:
    """Answer with what ``work`` says, or with why nothing was done.

    Args:
        request: As it came.
        flow_id: Whose.
        work: What was asked for.
        closes: What is left of a body that is refused would be read as the next request.
    """
    try:
        return await work()
    except DisconnectedError as exc:
        raise BrokenOffError(exc.kind) from None
    except DataFerryError as exc:
        shown = told(exc)
        if shown is not exc:
            _log.info("not_taken", flow=flow_id, kind=exc.kind, reason=str(exc))
        if closes:
            await drained(request)
        return _refusal(request, shown, closes=closes)


def _refusal(request: Request, error: DataFerryError, *, closes: bool) -> Response:
    """Say why something was not taken."""
    status = _STATUSES.get(type(error), status_of(error))
    if type(error) in _STATUSES:
        answer = problem(status, error.kind, str(error), instance=request.url.path)
    else:
        answer = of_error(error, instance=request.url.path)
    if closes:
        answer.headers["Connection"] = "close"
    return answer


def _arrived(arrived: Arrived) -> Response:
    status = HTTPStatus.CREATED if arrived.is_new else HTTPStatus.NO_CONTENT
    return Response(status_code=status, headers=told_of(arrived.etag, arrived.crc64nvme))
