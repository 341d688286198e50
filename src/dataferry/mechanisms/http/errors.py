"""What HTTP servers answer, as errors of our tree; never in the server's own words.

Source: RFC 9110, section 15, "Status Codes"; RFC 4918, section 11 (423, 507); RFC 6585 (429).
"""

from __future__ import annotations

from http import HTTPStatus

from dataferry.domain.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    DataFerryError,
    DestinationExistsError,
    IntegrityError,
    NoSpaceError,
    ObjectNotFoundError,
    ProtocolError,
    ServerError,
    SourceChangedError,
    ThrottledError,
    UnsupportedError,
    UploadGoneError,
)

_ALWAYS: dict[int, type[DataFerryError]] = {
    401: AccessDeniedError,
    402: AccessDeniedError,
    403: AccessDeniedError,
    407: AccessDeniedError,
    404: ObjectNotFoundError,
    410: ObjectNotFoundError,
    405: UnsupportedError,
    408: ServerError,
    413: UnsupportedError,
    423: ServerError,
    425: ServerError,
    429: ThrottledError,
    501: UnsupportedError,
    503: ThrottledError,
    507: NoSpaceError,
}
_READING: dict[int, type[DataFerryError]] = {412: SourceChangedError, 416: SourceChangedError}
_WRITING: dict[int, type[DataFerryError]] = {
    404: BucketNotFoundError,
    409: BucketNotFoundError,
    410: BucketNotFoundError,
    412: DestinationExistsError,
}
# Of another plane's gateway: an object of any name may be there, and what is missing is an upload.
_PARTS: dict[int, type[DataFerryError]] = {
    404: UploadGoneError,
    409: IntegrityError,
    410: BucketNotFoundError,
}
_ADVICE = {
    401: "the credentials are missing, wrong or expired",
    403: "the credentials do not allow it",
    405: "the server does not take this method there",
    407: "a proxy wants credentials",
    412: "a condition of the request does not hold",
    413: "the server takes no object of this size",
    416: "it has no such range (any more)",
}
_NO_PLACE = "nothing there takes objects, or a directory of the path is missing"


def error_of(
    *,
    operation: str,
    where: str,
    status: int,
    retry_after_s: float | None,
    key: str | None = None,
    takes_parts: bool = False,
) -> DataFerryError:
    """Return the error of a reply that is none of success.

    Args:
        operation: E.g. ``http.GET``.
        where: The URL without its query.
        status: HTTP status.
        retry_after_s: From the reply.
        key: What was to be written; None for a read.
        takes_parts: It is another plane's gateway.
    """
    table = (
        _ALWAYS
        | (_READING if key is None else _WRITING)
        | (_PARTS if takes_parts and key is not None else {})
    )
    kind = table.get(status) or _by_class(status)
    if kind is BucketNotFoundError and "/" in (key or "") and not takes_parts:
        kind = ObjectNotFoundError  # a directory of this one name is missing: others may succeed
    if status == HTTPStatus.FORBIDDEN and retry_after_s is not None:
        kind = ThrottledError  # not allowed now: a transfer that is suspended on the other side may go on
    if kind is ThrottledError and status == HTTPStatus.FORBIDDEN:
        text = f"{where}: {_phrase(status)} (not now: it says when to come back)"
        return kind(text, operation=operation, retry_after_s=retry_after_s)
    nowhere = key is not None and status in {404, 409, 410} and not takes_parts
    advice = _NO_PLACE if nowhere else _ADVICE.get(status, "")
    text = f"{where}: {_phrase(status)}" + (f" ({advice})" if advice else "")
    return kind(text, operation=operation, retry_after_s=retry_after_s)


def _by_class(status: int) -> type[DataFerryError]:
    """Choose by the hundred."""
    return ServerError if status >= HTTPStatus.INTERNAL_SERVER_ERROR else ProtocolError


def _phrase(status: int) -> str:
    """Name a status."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"status {status}"
