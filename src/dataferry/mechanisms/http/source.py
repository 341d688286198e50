"""Reading one object with GET: looking it up, and ranges of exactly one version.

Source: RFC 9110, sections 13 (conditional requests) and 14 (range requests).
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from http import HTTPStatus

from dataferry.domain.errors import (
    SourceChangedError,
    UnsupportedError,
    WrongRangeError,
)
from dataferry.domain.objects import Capability, ObjectInfo
from dataferry.mechanisms.http.address import Place
from dataferry.mechanisms.http.calls import Client
from dataferry.mechanisms.http.headers import content_length, from_headers, http_date, strong_etag
from dataferry.mechanisms.http.listing import objects
from dataferry.net.bodies import ReplyBody
from dataferry.net.connections import Network
from dataferry.net.heads import Headers
from dataferry.net.ranges import AskedRange
from dataferry.net.replies import PinnedResponse

SOURCE_CAPABILITIES = frozenset({Capability.RANGES, Capability.VALIDATORS, Capability.ATTRIBUTES})
_GET = "http.GET"
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
_EMPTY_RANGE = re.compile(r"bytes \*/0", re.ASCII)
# Servers and signed URLs that allow GET only answer HEAD so; a GET then tells the truth.
_HEAD_REFUSED = frozenset({400, 401, 403, 404, 405, 501})


def described(info: ObjectInfo, headers: Headers, *, size_bytes: int | None) -> ObjectInfo:
    """Return an object as a reply's headers describe it; a time alone names no version."""
    return ObjectInfo(
        name=info.name,
        key=info.key,
        size_bytes=size_bytes,
        validator=strong_etag(headers),
        modified_at=http_date(headers.get("Last-Modified")),
        attributes=from_headers(headers),
    )


class HttpSource:
    """One object behind a URL, also if that ends in ``/``; several where the address says it is a listing.

    Args:
        place: Which.
        network: Dials.
    """

    def __init__(self, place: Place, network: Network) -> None:
        self._place = place
        self._network = network
        self._reader = HttpReader(Client(place, network))

    @property
    def identity(self) -> str:
        """As of the place."""
        return self._place.identity

    @property
    def is_single(self) -> bool:
        """True unless the address says that it is a listing: nothing else tells what lies behind a URL."""
        return not self._place.is_listing

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Ranges, versions and attributes, as far as the server says them; what a listing names."""
        return SOURCE_CAPABILITIES if self.is_single else SOURCE_CAPABILITIES | {Capability.LIST}

    def probe(self) -> None:
        """Look the object up, or ask for the listing's head."""
        if self.is_single:
            self._reader.stat(self._single())
        else:
            self._reader.is_there(self._single())

    def list(self, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """List the one object, under the last segment of its URL; or what the listing names.

        Raises:
            ProtocolError, ShortBodyError: It is no listing, or not whole.
        """
        if self._place.is_listing:
            after = start_after or ""
            yield from (info for info in self._reader.listed(self._single()) if info.name > after)
            return
        single = self._single()
        if start_after is None or single.name > start_after:
            yield self._reader.stat(single)

    def reader(self) -> HttpReader:
        """Open a worker's reader, on connections of its own."""
        return HttpReader(Client(self._place, self._network))

    def abort(self) -> None:
        """Make a blocked look-up fail at once. Any thread."""
        self._reader.abort()

    def close(self) -> None:
        """Close the look-ups' connections."""
        self._reader.close()

    def _single(self) -> ObjectInfo:
        """The object, before it is looked up. Its name is the URL's, never one that a reply proposes."""
        return ObjectInfo(name=self._place.name, key=self._place.own_key, size_bytes=None)


class HttpReader:
    """One worker's connections to a source."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._asks_head = True

    def stat(self, info: ObjectInfo) -> ObjectInfo:
        """HEAD; where that is refused or leaves a question, GET of the first byte.

        An object that has a length and can't be read in ranges has no validator here: the engine would read
        parts by it. One without a length is read in one stream, of exactly the version that was looked up.
        """
        if not self._asks_head:
            return self._first_byte(info)
        response = self._client.ask("HEAD", info.key, {})
        if response.status != HTTPStatus.OK:
            if response.status not in _HEAD_REFUSED:
                self._client.refuse("HEAD", info.key, response)
            self._client.discard(response)
            found = self._first_byte(info)
            self._asks_head = False
            return found
        size = content_length(response.headers, "http.HEAD")
        found = described(info, response.headers, size_bytes=size)
        ranges = _ranges(response.headers)
        self._client.discard(response)
        if size is None or (ranges is None and size and found.validator is not None):
            return self._first_byte(info)
        return found if ranges is not False else dataclasses.replace(found, validator=None)

    def _first_byte(self, info: ObjectInfo) -> ObjectInfo:
        """GET the first byte: the reply says the size, and if the server knows ranges."""
        response = self._client.ask("GET", info.key, {"Range": "bytes=0-0"})
        headers = response.headers
        content_range = headers.get("Content-Range") or ""
        if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and _EMPTY_RANGE.fullmatch(
            content_range
        ):
            self._client.discard(response)
            return dataclasses.replace(described(info, headers, size_bytes=0), attributes=None)
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            match = _CONTENT_RANGE.fullmatch(content_range)
            self._client.discard(response)
            if match is None or (match[1], match[2]) != ("0", "0"):
                raise WrongRangeError(
                    f"{self._client.where(info.key)}: another range than the first byte answers",
                    operation=_GET,
                )
            return described(info, headers, size_bytes=None if match[3] == "*" else int(match[3]))
        if response.status != HTTPStatus.OK:
            self._client.refuse("GET", info.key, response)
        size = content_length(headers, _GET)
        if size is None:
            # Nobody knows how much would have to be read before the connection is good for another request.
            response.close()
            self._client.drop()
            _refuse_open_end(self._client.where(info.key), response)
            return described(info, headers, size_bytes=None)
        self._client.discard(response)
        return dataclasses.replace(described(info, headers, size_bytes=size), validator=None)

    def is_there(self, info: ObjectInfo) -> None:
        """HEAD, for no more than its status.

        Raises:
            StorageError: What the server says instead of 200.
        """
        response = self._client.ask("HEAD", info.key, {})
        if response.status != HTTPStatus.OK:
            self._client.refuse("HEAD", info.key, response)
        self._client.discard(response)

    def listed(self, info: ObjectInfo) -> Iterator[ObjectInfo]:
        """GET a listing, and return its objects while it is read."""
        response = self._client.ask("GET", info.key, {})
        if response.status != HTTPStatus.OK:
            self._client.refuse("GET", info.key, response)
        with contextlib.closing(self._body(response, info, None)) as body:
            yield from objects(body.readinto)

    def open(self, info: ObjectInfo, *, offset_bytes: int = 0, length_bytes: int | None = None) -> ReplyBody:
        """GET a range of the version that ``info`` names; the reply is compared with what was asked.

        Raises:
            SourceChangedError: Another version answers.
            WrongRangeError: Another range answers.
        """
        asked = _Asked.of(info, offset_bytes, length_bytes)
        response = self._client.ask("GET", info.key, asked.headers)
        if response.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            self._client.refuse("GET", info.key, response)
        try:
            found, length = asked.compare(self._client.where(info.key), response)
        except BaseException:
            response.close()
            self._client.drop()
            raise
        return self._body(response, found, length)

    def _body(self, response: PinnedResponse, info: ObjectInfo, length_bytes: int | None) -> ReplyBody:
        return ReplyBody(response, info, length_bytes, operation=_GET, drop=self._client.drop)

    def abort(self) -> None:
        """Shut the connections. Any thread."""
        self._client.abort()

    def close(self) -> None:
        """Close the connections."""
        self._client.drop()


class _Asked(AskedRange):
    """What was asked for, to compare the reply with."""

    __slots__ = ()

    @property
    def headers(self) -> dict[str, str]:
        """``If-Match`` refuses another version; ``If-Range`` makes it plain where the first is not known."""
        headers = {} if self.range_header is None else {"Range": self.range_header}
        if self.info.validator is not None:
            headers["If-Match"] = f'"{self.info.validator}"'
            if headers.get("Range"):
                headers["If-Range"] = f'"{self.info.validator}"'
        return headers

    def compare(self, where: str, response: PinnedResponse) -> tuple[ObjectInfo, int | None]:
        """Compare a reply with what was asked; return the object it describes and the body's length.

        Raises:
            SourceChangedError: Another ETag or total size.
            WrongRangeError: Another range or length.
        """
        was = self.info
        if was.validator is not None and strong_etag(response.headers) != was.validator:
            raise SourceChangedError(f"{where}: the ETag is another one than when it began", operation=_GET)
        length = content_length(response.headers, _GET)
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            if str(response.headers.get("Content-Type")).lower().startswith("multipart/byteranges"):
                raise WrongRangeError(
                    f"{where}: several ranges answer where one was asked for", operation=_GET
                )
            total, length = self._compare_range(where, response.headers.get("Content-Range"), length)
        else:
            total = length
            if total is None and was.size_bytes is None:
                _refuse_open_end(where, response)
            self._compare_whole(where, response.headers.get("Content-Range"), length)
        if was.size_bytes is not None and total is not None and total != was.size_bytes:
            raise SourceChangedError(
                f"{where}: it has {total} bytes now and had {was.size_bytes}", operation=_GET
            )
        return described(was, response.headers, size_bytes=total), length

    def _compare_whole(self, where: str, content_range: str | None, length: int | None) -> None:
        """Compare a reply that claims to be the whole object."""
        asked_whole = self.range_header is None or (
            self.offset_bytes == 0 and length is not None and self.end_bytes in {None, length}
        )
        if content_range is not None or not asked_whole:
            raise WrongRangeError(f"{where}: the server ignored the range asked for", operation=_GET)

    def _compare_range(
        self, where: str, content_range: str | None, length: int | None
    ) -> tuple[int | None, int]:
        """Compare a reply that is a range; return the object's total size, and the body's."""
        match = _CONTENT_RANGE.fullmatch(content_range or "")
        if self.range_header is None or match is None:
            raise WrongRangeError(f"{where}: a range that was not asked for answers", operation=_GET)
        first, last = int(match[1]), int(match[2])
        total = None if match[3] == "*" else int(match[3])
        end = total if self.end_bytes is None else self.end_bytes
        if first != self.offset_bytes or end != last + 1 or length not in {None, end - first}:
            raise WrongRangeError(
                f"{where}: asked for {self.range_header}, got {match[0]} with {length} bytes", operation=_GET
            )
        return total, end - first


def _refuse_open_end(where: str, response: PinnedResponse) -> None:
    """Refuse a body that ends when the connection does: so it does if the server or the way to it breaks.

    Source: RFC 9112, section 8, "Handling Incomplete Messages".

    Raises:
        UnsupportedError: The reply is neither in chunks nor says its length.
    """
    if not response.is_chunked:
        raise UnsupportedError(
            f"{where}: the server neither says the length of the object nor marks its end (an answer as of "
            "HTTP/1.0), so that a whole one and one that broke off look the same",
            operation=_GET,
        )


def _ranges(headers: Headers) -> bool | None:
    """Read ``Accept-Ranges``; None where the server does not say."""
    text = headers.get("Accept-Ranges")
    return None if not text else "bytes" in str(text).lower()
