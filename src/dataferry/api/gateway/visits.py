"""A request for an object: who asks is let in, the object looked up, its first piece read, in one thread.

What is answered is decided where the object is looked up: each change of threads costs as much as reading a
small object does.

Source: RFC 9110, sections 13 and 14.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import format_datetime
from http import HTTPStatus
from threading import Lock

from dataferry.api.gateway.conditions import RangeError, Span, Whole, etag_of, precondition, span
from dataferry.api.gateway.objects import OpenedObject, Pieces
from dataferry.domain.errors import StoppedError, UnsupportedError
from dataferry.domain.objects import ObjectInfo
from dataferry.domain.profile import Direction
from dataferry.engine.rates.bandwidth import refuse_closed
from dataferry.flows.gateway import GatewayAccess, Served
from dataferry.flows.readers import Readers


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody asks for.

    Attributes:
        flow_id: As in the path.
        token: As shown.
        name: Of the object; empty is the flow's only one, or the listing.
        headers: Of the request; names in lower case.
        wants_body: False for HEAD.
    """

    flow_id: str
    token: str | None
    name: str
    headers: Mapping[str, str]
    wants_body: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is answered.

    Attributes:
        size_bytes: Of the object.
        pieces: The body, open for reading; None if there is none.
    """

    status: HTTPStatus
    headers: dict[str, str]
    size_bytes: int
    pieces: Pieces | None = None


class Visit:
    """One request's; it is in one thread at a time.

    Args:
        access: Lets in.
        readers: Lends connections to stores.
        asked: What for.
    """

    def __init__(self, access: GatewayAccess, readers: Readers, asked: Asked) -> None:
        self._access = access
        self._readers = readers
        self._asked = asked
        self._lock = Lock()
        self._opened: OpenedObject | None = None
        self._aborted = False
        self._served: Served | None = None

    @property
    def served(self) -> Served:
        """What the flow serves; once it was let in."""
        assert self._served is not None  # noqa: S101
        return self._served

    def let_in(self) -> Served:
        """Open the flow to who shows its token.

        Raises:
            DataFerryError: As of ``GatewayAccess.open``; or nothing may flow now.
        """
        served = self._access.open(self._asked.flow_id, self._asked.token)
        refuse_closed(served.bandwidths)
        self._served = served
        return served

    def find(self, served: Served) -> Answer | None:
        """Look the object up, and read the first piece of what was asked for; None: it is the listing.

        Raises:
            DataFerryError: It can't be looked up, or read.
        """
        if not (self._asked.name or served.place.endpoint.is_single):
            return None
        opened = self._open()
        info = opened.look_up()
        if info.size_bytes is None:
            raise UnsupportedError("the source does not say how long its object is, so it can't be served")
        answer = self._answer(opened, info, info.size_bytes)
        if answer.pieces is None:
            opened.release()
        return answer

    def _answer(self, opened: OpenedObject, info: ObjectInfo, size_bytes: int) -> Answer:
        etag, asked = etag_of(info.validator), self._asked
        headers = described(info, etag)
        if (refused := precondition(asked.headers, etag)) is not None:
            return Answer(status=refused, headers=headers, size_bytes=size_bytes)
        try:
            wanted = span(asked.headers, etag=etag, size_bytes=size_bytes)
        except RangeError:
            status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            return Answer(status=status, headers=headers, size_bytes=size_bytes)
        part = Span(offset_bytes=0, length_bytes=size_bytes) if isinstance(wanted, Whole) else wanted
        status = HTTPStatus.OK
        if wanted is part:
            status, headers["Content-Range"] = HTTPStatus.PARTIAL_CONTENT, part.content_range(size_bytes)
        headers["Content-Length"] = str(part.length_bytes)
        pieces = None
        if asked.wants_body and part.length_bytes:
            watch = self._access.watch(self.served.flow_id, Direction.PULL)
            # With the first piece: of a small object it is the only one.
            pieces = opened.read(info, watch, offset_bytes=part.offset_bytes, length_bytes=part.length_bytes)
        return Answer(status=status, headers=headers, size_bytes=size_bytes, pieces=pieces)

    def abort(self) -> None:
        """Make a blocked call fail at once, and later ones too. Any thread."""
        with self._lock:
            self._aborted = True
            if self._opened is not None:
                self._opened.abort()

    def close(self) -> None:
        """Give up what is open, without waiting for any store."""
        if self._opened is not None:
            self._opened.close()

    def _open(self) -> OpenedObject:
        with self._lock:
            if self._aborted:
                raise StoppedError("nobody waits for the answer any more")
            self._opened = OpenedObject(self.served, self._asked.name, self._readers)
            return self._opened


def described(info: ObjectInfo, etag: str | None) -> dict[str, str]:
    """Describe an object in headers; what a store says and no header can hold is left out."""
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
