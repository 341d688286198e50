"""What a hostile S3 server answers: its words, its XML, its listings and its pace."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import ConnectionFailedError, DataFerryError, ProtocolError, StallError
from dataferry.domain.objects import ObjectInfo
from dataferry.mechanisms.base import ByteStream
from dataferry.mechanisms.s3 import MECHANISM, source
from dataferry.mechanisms.s3.attributes import strong_etag
from dataferry.mechanisms.s3.source import S3Source
from dataferry.net.connections import Network
from dataferry.net.egress import EgressGuard, EgressPolicy

ACCESS_KEY = "AKIAPLANTED000000001"
SECRET = "planted-secret-access-key-0123456789"
SESSION = "planted-session-token-0123456789"
STALL_S = 0.2
Answer = Callable[[socket.socket, bytes], None]


class HostileS3:
    """Hands each request's head to ``answer``, which writes what it likes."""

    def __init__(self) -> None:
        self.answer: Answer = lambda _sock, _head: None
        self.requests = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(sock)
            self._threads.append(threading.Thread(target=self._serve, args=(sock,)))
            self._threads[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            while head := sock.recv(65536):
                self.requests += 1
                self.answer(sock, head)
        except OSError:
            return

    def open_source(self) -> S3Source:
        """Open a prefix of it, as a DataAddress names it."""
        properties = {
            "endpointOverride": f"http://127.0.0.1:{self._listener.getsockname()[1]}",
            "accessKeyId": ACCESS_KEY,
            "secretAccessKey": SECRET,
            "sessionToken": SESSION,
        }
        address = DataAddress(
            endpoint_type="AmazonS3", endpoint="s3://bucket/p/", properties=tuple(properties.items())
        )
        guard = EgressGuard(EgressPolicy(allow_private_networks=True))
        return S3Source(MECHANISM.at_address(address), Network(guard, stall_timeout_s=STALL_S))

    def close(self) -> None:
        """Close what is open, and join."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for sock in self._sockets:
            sock.close()


@pytest.fixture
def server() -> Iterator[HostileS3]:
    server = HostileS3()
    yield server
    server.close()


def reply(body: bytes | str, status: str = "200 OK", headers: str = "") -> bytes:
    """Write a whole reply."""
    raw = body.encode() if isinstance(body, str) else body
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(raw)}\r\n\r\n".encode() + raw


def page(keys: list[str], token: str | None) -> bytes:
    """Write a page of a listing."""
    contents = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
    more = "" if token is None else f"<NextContinuationToken>{token}</NextContinuationToken>"
    truncated = "false" if token is None else "true"
    return reply(
        f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{more}{contents}</ListBucketResult>"
    )


def failure(server: HostileS3, answer: Answer) -> DataFerryError:
    """List with these answers; return what it fails with."""
    server.answer = answer
    with contextlib.closing(server.open_source()) as opened, pytest.raises(DataFerryError) as caught:
        list(opened.list())
    return caught.value


@pytest.mark.parametrize("place", ["Code", "Message"])
@pytest.mark.parametrize(
    "quoted", [ACCESS_KEY, SECRET, SESSION, "the whole head"], ids=["key", "secret", "session", "head"]
)
def test_what_the_server_quotes_of_a_request_is_in_no_error(
    server: HostileS3, place: str, quoted: str
) -> None:
    """Errors travel to logs, callbacks and operators: no credential may come back in them."""

    def answer(sock: socket.socket, head: bytes) -> None:
        words = head.decode().replace("&", "") if quoted == "the whole head" else f"you sent {quoted}"
        sock.sendall(reply(f"<Error><{place}>{words}</{place}></Error>", "400 Bad Request"))

    text = str(failure(server, answer))
    assert [one for one in (ACCESS_KEY, SECRET, SESSION, "Signature") if one in text] == []


@pytest.mark.parametrize("code", ["\u009b31mred", "a\nfake line", "A" * 1_000_000])
def test_a_code_that_is_none_is_not_repeated(server: HostileS3, code: str) -> None:
    """Nor does a terminal obey it, nor a row or callback grow by it."""

    def answer(sock: socket.socket, _head: bytes) -> None:
        sock.sendall(reply(f"<Error><Code>{code}</Code></Error>", "400 Bad Request"))

    assert str(failure(server, answer)) == "s3.ListObjectsV2: bucket bucket: HTTP 400"


@pytest.mark.parametrize(
    "body", [b"<a>" + b"<b/>" * 1_000_000 + b"</a>", b"<a>" * 1000 + b"</a>" * 1000], ids=["wide", "deep"]
)
def test_xml_of_too_many_elements_is_refused(server: HostileS3, body: bytes) -> None:
    """Four bytes of XML are hundreds in memory: elements have a bound of their own."""
    error = failure(server, lambda sock, _head: sock.sendall(reply(body)))
    assert isinstance(error, ProtocolError)
    assert "XML elements" in error.message


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_listing_that_goes_in_circles_ends(server: HostileS3, length: int) -> None:
    """Also where the circle has several pages, each with a token of its own."""
    pages = [page([f"p/{number}"], f"token-{number}") for number in range(length)]
    error = failure(server, lambda sock, _head: sock.sendall(pages[server.requests % length]))
    assert "circles" in error.message
    assert server.requests <= 2 * length


@pytest.mark.parametrize("names", [["p/b", "p/a"], ["p/a", "p/a"], ["p/a", "p/c", "p/b", "p/d"]])
def test_a_listing_out_of_order_is_refused(server: HostileS3, names: list[str]) -> None:
    """What is planned is told by the last name: others would be left out, and nobody would know."""
    error = failure(server, lambda sock, _head: sock.sendall(page(names, None)))
    assert isinstance(error, ProtocolError)
    assert "order" in error.message


def test_a_listing_of_empty_pages_ends(server: HostileS3, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh token on each is no progress."""
    monkeypatch.setattr(source, "MAX_EMPTY_PAGES", 20)
    error = failure(server, lambda sock, _head: sock.sendall(page([], f"token-{server.requests}")))
    assert "circles" in error.message
    assert server.requests == 21


def test_a_key_without_end_is_refused(server: HostileS3) -> None:
    """Keys become rows: a server must not fill the disk with some of them."""
    error = failure(server, lambda sock, _head: sock.sendall(page(["p/" + "k" * 5000], None)))
    assert "5002 characters" in error.message


def test_an_etag_without_end_is_none() -> None:
    """It would travel in each request's head."""
    assert strong_etag('"' + "e" * 5000 + '"') is None


def test_a_redirect_is_not_followed(server: HostileS3) -> None:
    """Neither the request nor its credentials go where the server points."""
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0.1)
        headers = f"Location: http://127.0.0.1:{elsewhere.getsockname()[1]}/\r\n"
        moved = reply(b"", "307 Temporary Redirect", headers)
        failure(server, lambda sock, _head: sock.sendall(moved))
        with pytest.raises(TimeoutError):
            elsewhere.accept()


def drip(sock: socket.socket, text: bytes) -> None:
    """Send a byte at a time, each well before the stall time-out, until nobody listens."""
    for byte in text:
        sock.send(bytes([byte]))
        time.sleep(STALL_S / 4)


@pytest.mark.parametrize(
    "lead", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"], ids=["head", "body"]
)
def test_a_reply_that_drips_ends(server: HostileS3, lead: bytes) -> None:
    """A byte now and then is no stall, but a reply has to end: else it would hold a worker for ever."""

    def answer(sock: socket.socket, _head: bytes) -> None:
        sock.sendall(lead)
        drip(sock, b"HTTP/1.1 200 OK\r\nX-Long: " if not lead else b"")
        drip(sock, b"x" * 1000)

    began = time.monotonic()
    assert isinstance(failure(server, answer), StallError)
    assert time.monotonic() - began < 20 * STALL_S


def drained(stream: ByteStream) -> None:
    """Read a stream to its end."""
    while stream.readinto(memoryview(bytearray(1000))):
        pass


def test_data_that_drips_ends(server: HostileS3) -> None:
    """A source that sends a byte now and then must not hold a worker for ever."""

    def answer(sock: socket.socket, _head: bytes) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        drip(sock, b"x" * 1000)

    server.answer = answer
    began = time.monotonic()
    with (
        contextlib.closing(server.open_source()) as opened,
        contextlib.closing(opened.reader()) as reader,
        contextlib.closing(reader.open(ObjectInfo(name="a", key="p/a", size_bytes=1000))) as stream,
        pytest.raises(StallError),
    ):
        drained(stream)
    assert time.monotonic() - began < 20 * STALL_S


def test_interim_replies_without_end_are_ended(server: HostileS3) -> None:
    """``100 Continue`` again and again is no reply."""

    def answer(sock: socket.socket, _head: bytes) -> None:
        while True:
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)

    assert isinstance(failure(server, answer), ConnectionFailedError)
