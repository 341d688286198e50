"""Writing objects with PUT or POST, each in one request.

Source: RFC 9110, sections 9.3.3 (POST), 9.3.4 (PUT) and 13.1.2 (If-None-Match).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import NoReturn

from dataferry.domain.errors import (
    AddressError,
    DataFerryError,
    ProtocolError,
    ShortBodyError,
    UnsupportedError,
)
from dataferry.domain.objects import Attributes, Capability, ObjectInfo, PartReceipt, Upload
from dataferry.mechanisms.checksum import crc64nvme
from dataferry.mechanisms.http.address import Place, checked_name
from dataferry.mechanisms.http.calls import Client
from dataferry.mechanisms.http.headers import content_length, strong_etag, to_headers
from dataferry.mechanisms.http.source import HttpReader, described
from dataferry.mechanisms.sink_faults import fault_of_sink, faults_of_sink
from dataferry.net.connections import Network
from dataferry.net.heads import Headers

SINK_CAPABILITIES = frozenset({Capability.INJECTIVE_NAMES, Capability.READ_BACK})
PUT = "PUT"
_DEFAULT_TYPE = "application/octet-stream"
# Many URLs that take a PUT do not let anybody look: then nothing is known of what is there.
_NOT_THERE = frozenset({400, 401, 403, 404, 405, 410, 501})
_ELSEWHERE = range(300, 400)


class HttpSink:
    """A URL that takes one object, or one that ends in ``/`` and takes objects below it.

    Args:
        place: Which.
        network: Dials.
    """

    def __init__(self, place: Place, network: Network) -> None:
        self._place = place
        self._network = network
        self._writer = HttpWriter(Client(place, network))

    @property
    def identity(self) -> str:
        """Origin and directory."""
        return self._place.root_identity

    @property
    def exclusive(self) -> bool:
        """False; there are no uploads to clean up."""
        return False

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Different names are different URLs; what a PUT made can be read there, what a POST made can't."""
        writes_there = self._place.method in {None, PUT}
        return SINK_CAPABILITIES if writes_there else SINK_CAPABILITIES - {Capability.READ_BACK}

    @property
    def max_parts(self) -> int:
        """One: an object is one request."""
        return 1

    @property
    def min_part_size_bytes(self) -> int:
        """One."""
        return 1

    @fault_of_sink
    def probe(self) -> None:
        """Ask with a HEAD, for the connection's sake: what it says of the object decides nothing.

        Raises:
            EgressDeniedError, ConnectionFailedError: The server can't be reached.
        """
        self._writer.reach()

    def place(self, name: str, *, single: bool) -> str:
        """Return the key of a source object: the URL's own, or the name below it.

        Raises:
            AddressError: The URL names one object and the source is several, or the name can't be in a URL.
        """
        if self._place.is_single:
            if single:
                return self._place.own_key
            raise AddressError(
                f"{self._place} names one object, and the source is more than one: end the destination with /"
            )
        return checked_name(name)

    @fault_of_sink
    def find(self, keys: Sequence[str]) -> dict[str, ObjectInfo]:
        """HEAD each key; those not there, or not to be looked at, are left out."""
        found = ((key, self._writer.stat(key)) for key in keys)
        return {key: info for key, info in found if info is not None}

    def writer(self) -> HttpWriter:
        """Open a worker's writer, on a connection of its own."""
        return HttpWriter(Client(self._place, self._network))

    def reader(self) -> HttpReader:
        """Open a worker's reader of what was written, on connections of its own."""
        return HttpReader(Client(self._place, self._network))

    def abort(self) -> None:
        """Make a blocked look-up fail at once. Any thread."""
        self._writer.abort()

    def close(self) -> None:
        """Close the look-ups' connection."""
        self._writer.close()


@faults_of_sink
class HttpWriter:
    """One worker's connection to a sink."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._method = client.place.method or PUT
        # What a POST makes is not what lies at its URL.
        self._asks_head = self._method == PUT

    def put(
        self, key: str, *, length_bytes: int, attributes: Attributes, only_if_absent: bool = False
    ) -> HttpPartWrite:
        """Send a whole object in one request."""
        headers = {"Content-Type": _DEFAULT_TYPE, **to_headers(attributes)}
        if only_if_absent:
            headers["If-None-Match"] = "*"
        return HttpPartWrite(
            self._client, method=self._method, key=key, length_bytes=length_bytes, headers=headers
        )

    def create_upload(self, key: str, *, size_bytes: int | None, attributes: Attributes) -> Upload:
        """Refuse: HTTP has no uploads in parts."""
        _no_parts()

    def put_part(self, upload: Upload, *, number: int, offset_bytes: int, length_bytes: int) -> HttpPartWrite:
        """Refuse."""
        _no_parts()

    def list_parts(self, upload: Upload) -> dict[int, PartReceipt] | None:
        """Return None: it can't tell."""
        return None

    def complete(
        self,
        upload: Upload,
        parts: Sequence[PartReceipt],
        *,
        size_bytes: int,
        crc64nvme: int | None,
        only_if_absent: bool = False,
    ) -> ObjectInfo:
        """Refuse."""
        _no_parts()

    def abort_upload(self, upload: Upload) -> None:
        """Nothing: there are no uploads."""

    def list_uploads(self, key: str, *, since: datetime) -> list[Upload] | None:
        """Return None: it can't tell."""
        return None

    def stat(self, key: str) -> ObjectInfo | None:
        """HEAD an object; None if there is none, or the server does not let us look."""
        if not self._asks_head:
            return None
        response = self._client.ask("HEAD", key, {}, follow=False)
        if response.status in {HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED}:
            self._asks_head = False
        if response.status in _NOT_THERE or response.status in _ELSEWHERE:
            self._client.discard(response)
            return None
        if response.status != HTTPStatus.OK:
            self._client.refuse("HEAD", key, response)
        size = content_length(response.headers, "http.HEAD")
        info = described(ObjectInfo(name=key, key=key, size_bytes=None), response.headers, size_bytes=size)
        self._client.discard(response)
        return dataclasses.replace(info, attributes=None, crc64nvme=self._checksum_of(response.headers))

    def _checksum_of(self, headers: Headers) -> int | None:
        """Return the checksum that a server says of an object; HTTP has none."""
        del headers
        return None

    def reach(self) -> None:
        """Make a request that changes nothing, whatever its reply says."""
        place = self._client.place
        self._client.discard(self._client.ask("HEAD", place.own_key, {}, follow=False))

    def abort(self) -> None:
        """Shut the connection. Any thread."""
        self._client.abort()

    def close(self) -> None:
        """Close the connection."""
        self._client.drop()


@faults_of_sink
class HttpPartWrite:
    """The body of one PUT or POST, streamed; the head is sent with the first bytes."""

    def __init__(
        self,
        client: Client,
        *,
        method: str,
        key: str,
        length_bytes: int,
        headers: dict[str, str],
        query: str = "",
        number: int = 1,
    ) -> None:
        self._client = client
        self._method = method
        self._key = key
        self._length = length_bytes
        self._headers = headers
        self._query = query
        self._number = number
        self._sent = 0
        self._crc = 0
        self._begun = False
        self._checksum = crc64nvme

    def send(self, data: memoryview) -> None:
        """Send the next bytes."""
        if self._sent + len(data) > self._length:
            self.cancel()
            raise ProtocolError(f"{self._where}: more bytes than announced", operation=self._operation)
        self._crc = self._checksum(data, self._crc)
        self._sent += len(data)
        self._begin()
        self._client.send(self._method, self._key, data)

    def finish(self) -> PartReceipt:
        """Read the reply: 200, 201, 202 and 204 are success, and its strong ETag the version that was made.

        Raises:
            StorageError: It was refused.
        """
        if self._sent != self._length:
            self.cancel()
            raise ShortBodyError(
                f"{self._where}: {self._sent} of {self._length} bytes", operation=self._operation
            )
        self._begin()
        response = self._client.answer(self._method, self._key)
        return self._receipt(response.headers)

    def _receipt(self, headers: Headers) -> PartReceipt:
        """Read what was accepted out of the reply's headers."""
        etag = strong_etag(headers) if self._method == PUT else None
        return PartReceipt(number=self._number, size_bytes=self._sent, etag=etag or "", crc64nvme=self._crc)

    def cancel(self) -> None:
        """Drop the connection: a body shorter than announced is no object."""
        try:
            self._client.drop()
        except (OSError, DataFerryError):
            return

    @property
    def _where(self) -> str:
        return self._client.where(self._key)

    @property
    def _operation(self) -> str:
        return f"http.{self._method}"

    def _begin(self) -> None:
        """Send the head, once."""
        if not self._begun:
            self._begun = True
            self._client.begin(
                self._method,
                self._key,
                length_bytes=self._length,
                headers=self._headers,
                query=self._query,
            )


def _no_parts() -> NoReturn:
    raise UnsupportedError(
        "an HTTP server takes an object in one request, not in parts", operation="http.PUT"
    )
