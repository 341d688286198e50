"""Another plane's gateway that answers wrongly: nothing it says is believed without a look."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from tests.servers.loopback_http import LoopbackHttp

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    DataFerryError,
    DestinationExistsError,
    IntegrityError,
    NoSpaceError,
    ProtocolError,
    ServerError,
    ThrottledError,
    UploadGoneError,
)
from dataferry.domain.location import Provenance
from dataferry.domain.objects import Attributes, PartReceipt, Upload
from dataferry.mechanisms.http import MECHANISM
from dataferry.mechanisms.http.parts import PartsWriter, crc_text
from dataferry.net.connections import Network

Answer = tuple[int, dict[str, str], bytes]
UPLOAD = Upload(upload_id="u1", key="x")


class Peer(LoopbackHttp):
    """Answers every request as it is told to, after it has read the body."""

    def __init__(self) -> None:
        self.answer: Answer = (200, {}, b"{}")
        self.asked: list[tuple[str, str, str]] = []
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _all(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                peer.asked.append((self.command, self.path, self.headers.get("Authorization") or ""))
                status, headers, body = peer.answer
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _all  # noqa: N815 - as the server calls them

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        super().__init__(Handler)


@pytest.fixture
def peer() -> Iterator[Peer]:
    """One that is running."""
    with Peer() as running:
        yield running


@pytest.fixture
def writer(peer: Peer) -> Iterator[PartsWriter]:
    """A writer to it."""
    properties = (("authorization", "secret-token"), ("authType", "bearer"), ("parts", "crc64nvme"))
    address = DataAddress(
        endpoint_type="HttpData", endpoint=f"http://127.0.0.1:{peer.port}/ingest/f/", properties=properties
    )
    place = replace(MECHANISM.at_address(address), provenance=Provenance.OPERATOR)
    sink = MECHANISM.open_sink(place, Network())
    with closing(sink), closing(sink.writer()) as opened:
        assert isinstance(opened, PartsWriter)
        yield opened


def part(writer: PartsWriter, data: bytes = b"abc") -> PartReceipt:
    """Send a part."""
    body = writer.put_part(UPLOAD, number=2, offset_bytes=5, length_bytes=len(data))
    body.send(memoryview(data))
    return body.finish()


def test_a_part_names_its_place_and_shows_the_token(peer: Peer, writer: PartsWriter) -> None:
    """Upload, number and offset stand in the query; an answer without a checksum confirms nothing."""
    peer.answer = (201, {}, b"")
    receipt = part(writer)

    assert peer.asked == [
        ("PUT", "/ingest/f/x?uploadId=u1&partNumber=2&offset=5", "Bearer secret-token"),
    ]
    assert not receipt.confirmed


def test_other_bytes_than_were_sent_are_noticed(peer: Peer, writer: PartsWriter) -> None:
    """A checksum that differs is an error that is tried again."""
    peer.answer = (201, {"X-Crc64nvme": crc_text(1)}, b"")

    with pytest.raises(IntegrityError):
        part(writer)


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (403, {}, AccessDeniedError),
        (403, {"Retry-After": "5"}, ThrottledError),
        (404, {}, UploadGoneError),
        (409, {}, IntegrityError),
        (410, {}, BucketNotFoundError),
        (412, {}, DestinationExistsError),
        (422, {}, ProtocolError),
        (503, {}, ThrottledError),
        (500, {}, ServerError),
        (507, {}, NoSpaceError),
        (302, {"Location": "http://127.0.0.1:9/elsewhere"}, ProtocolError),
    ],
)
def test_refusals_are_told_apart(
    peer: Peer, writer: PartsWriter, status: int, headers: dict[str, str], kind: type[DataFerryError]
) -> None:
    """What may pass, what ends the upload, what ends the flow; no redirect is followed."""
    peer.answer = (status, headers, b"the peer says Bearer secret-token")
    with pytest.raises(DataFerryError) as caught:
        part(writer)

    assert type(caught.value) is kind
    assert "secret" not in str(caught.value)
    assert len(peer.asked) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"nonsense",
        b"{}",
        b'{"uploadId": 7}',
        b'{"uploadId": "a&partNumber=1"}',
        b'{"uploadId": "%s"}' % (b"u" * 100),
        b"[" * 100_000,
    ],
)
def test_a_beginning_that_names_no_upload_is_refused(peer: Peer, writer: PartsWriter, body: bytes) -> None:
    """Whatever else it is."""
    peer.answer = (201, {}, body)

    with pytest.raises(ProtocolError):
        writer.create_upload("x", size_bytes=1, attributes=Attributes())


LISTS: list[Callable[[], bytes]] = [
    lambda: b'{"parts": 3}',
    lambda: b'{"parts": [3]}',
    lambda: b'{"parts": [{"number": 1}]}',
    lambda: b'{"parts": [{"number": "1", "sizeBytes": 5, "crc64nvme": "AAAAAAAAAAA="}]}',
    lambda: b'{"parts": [{"number": 1, "sizeBytes": 5, "crc64nvme": "AAAA"}]}',
    lambda: json.dumps({"parts": [], "more": "x" * 9_000_000}).encode(),
]


@pytest.mark.parametrize("body", LISTS)
def test_a_list_of_parts_that_is_none_is_refused(
    peer: Peer, writer: PartsWriter, body: Callable[[], bytes]
) -> None:
    """Malformed, or longer than any list of parts."""
    peer.answer = (200, {}, body())

    with pytest.raises(ProtocolError):
        writer.list_parts(UPLOAD)


def test_what_is_gone_need_not_be_dropped(peer: Peer, writer: PartsWriter) -> None:
    """An upload that is not there, or whose flow or token is over."""
    for status in (404, 410, 401):
        peer.answer = (status, {}, b"")
        writer.abort_upload(UPLOAD)

    assert [method for method, _, _ in peer.asked] == ["DELETE"] * 3
