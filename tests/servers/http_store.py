"""A small HTTP/1.1 server that keeps objects, knows ranges and conditions, and misbehaves on request.

    with HttpStore(token="secret") as server:
        server.objects["/a b"] = Kept(b"hello")                # by decoded path
        server.inject("GET", Fault.STALL)                      # the next GET, or times= of them
        server.redirects["/old"] = (302, f"{server.url}/a%20b")
        server.refuse_head = 405
        ...
        assert [request.method for request in server.requests] == ["GET"]

A request needs the token behind ``scheme``, and the query ``?sig=SIGNATURE`` if there is a ``signature``.
``ETag`` is strong unless ``etags`` says ``weak`` or is None. ``ranges=False`` knows no ranges; a server that
does says so unless ``says_ranges`` is False. ``if_match`` and ``conditional_writes``
say which conditions are looked at. ``raw`` answers GETs
of a path with exactly these bytes. ``chunked`` sends bodies without a length, and so does an object that
``is_chunked``; the body of one that ``breaks_off`` ends in the middle. What is PUT or POSTed
is kept once it is whole; what a POST brings is also in ``posted``.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import re
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

PIECE_BYTES = 64 * 1024
BIG_BYTES = 1024 * 1024
_HANG_S = 60.0


class Fault(StrEnum):
    """How a request is answered."""

    STATUS = "status"  # an error: status, retry_after; the body of a PUT is read first
    REFUSE = "refuse"  # as STATUS, but the body is not read and the connection closes
    TRUNCATE = "truncate"  # half of the body, then the connection closes
    STALL = "stall"  # half of the body, then nothing
    IGNORE_RANGE = "ignore range"
    SHIFT_RANGE = "shift range"
    IGNORE_CONDITION = "ignore condition"  # another version answers, whatever was asked for
    STALL_WRITE = "stall write"  # the body is not read
    HANG_UP = "hang up"  # the connection closes without an answer
    GARBAGE = "garbage"  # an answer that is no HTTP
    CLOSE_IDLE = "close idle"  # a right answer, then the connection closes without a word


@dataclass(slots=True)
class Kept:
    """An object; a big one that was written lies outside the heap, which tests of memory measure."""

    body: bytes | mmap.mmap
    headers: dict[str, str] = field(default_factory=dict)
    is_chunked: bool = False
    breaks_off: bool = False

    etag: str = field(init=False, default="")

    def __post_init__(self) -> None:
        """Compute its version once: every request asks for it."""
        self.etag = hashlib.sha256(self.body).hexdigest()[:24]


@dataclass(slots=True)
class Request:
    """One request, as it came."""

    method: str
    target: str
    headers: dict[str, str]


@dataclass(slots=True)
class _Injection:
    method: str
    fault: Fault
    times: int
    status: int = 500
    retry_after: str | None = None


class HttpStore:
    """The server, as a context manager.

    Args:
        token: What a request's bearer token must be; None lets everybody in.
        tls: Certificate and key, to serve https.
    """

    def __init__(self, *, token: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.token = token
        self.scheme = "Bearer "
        self.signature: str | None = None
        self.refuses_with = 401
        self.objects: dict[str, Kept] = {}
        self.redirects: dict[str, tuple[int, str]] = {}
        self.raw: dict[str, bytes] = {}
        self.posted: list[bytes] = []
        self.requests: list[Request] = []
        self.etags: str | None = "strong"
        self.ranges = True
        self.says_ranges = True
        self.chunked = False
        self.refuse_head: int | None = None
        self.if_match = True
        self.conditional_writes = True
        self.released = threading.Event()
        self._injections: list[_Injection] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.store = self
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "http" if tls is None else "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def port(self) -> int:
        """Its port on 127.0.0.1."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its root, without a slash at the end."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def inject(
        self, method: str, fault: Fault, *, times: int = 1, status: int = 500, retry_after: str | None = None
    ) -> None:
        """Let the next requests of a method (``*``: of any) fail."""
        with self._lock:
            self._injections.append(_Injection(method, fault, times, status, retry_after))

    def clear(self) -> None:
        """Take faults back that no request met."""
        with self._lock:
            self._injections.clear()

    def due(self, method: str) -> _Injection | None:
        """Take the fault that waits for a method."""
        with self._lock:
            for injection in self._injections:
                if injection.method in {"*", method}:
                    injection.times -= 1
                    if injection.times <= 0:
                        self._injections.remove(injection)
                    return injection
        return None

    def methods(self) -> list[str]:
        """The methods of all requests so far."""
        return [request.method for request in self.requests]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    store: HttpStore

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up are what tests do."""


class _HungUpError(Exception):
    """The connection closes."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        store = self.server.store
        store.requests.append(Request(self.command, self.path, dict(self.headers.items())))
        self.fault = store.due(self.command)
        self.name = unquote(self.path.partition("?")[0])
        try:
            with contextlib.suppress(_HungUpError, OSError):
                self._answer()
                return
        finally:
            if self._is(Fault.CLOSE_IDLE):
                self.close_connection = True
        self.close_connection = True

    do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815 - the interface's names

    @property
    def store(self) -> HttpStore:
        return self.server.store

    def _is(self, *faults: Fault) -> bool:
        return self.fault is not None and self.fault.fault in faults

    def _instead(self) -> None:
        """Do what a fault does in the place of an answer."""
        if self._is(Fault.HANG_UP):
            raise _HungUpError
        if self.name in self.store.raw and self.command == "GET":
            self.wfile.write(self.store.raw[self.name])
            raise _HungUpError
        if self._is(Fault.STALL_WRITE):
            self.store.released.wait(_HANG_S)
            raise _HungUpError
        if self._is(Fault.GARBAGE):
            self.wfile.write(b"HELLO " + str(self.headers.get("Authorization")).encode() + b"\r\n\r\n")
            raise _HungUpError
        if self._is(Fault.REFUSE):
            self._status(self.fault.status if self.fault else 500)
            raise _HungUpError

    def _answer(self) -> None:
        self._instead()
        writes = self.command in {"PUT", "POST"}
        body = self._body() if writes else b""
        if self._is(Fault.STATUS) and self.fault is not None:
            more = {} if self.fault.retry_after is None else {"Retry-After": self.fault.retry_after}
            self._status(self.fault.status, more)
        elif self._is_denied():
            self._status(self.store.refuses_with, {"WWW-Authenticate": "Bearer"})
        elif self.name in self.store.redirects:
            status, location = self.store.redirects[self.name]
            self._status(status, {"Location": location})
        elif writes:
            self._write(body)
        elif self.command == "HEAD" and self.store.refuse_head is not None:
            self._status(self.store.refuse_head)
        else:
            self._read()

    def _is_denied(self) -> bool:
        store = self.store
        shown = f"{store.scheme}{store.token}"
        if store.token and self.headers.get("Authorization") != shown:
            return True
        return store.signature is not None and self.path.partition("?")[2] != f"sig={store.signature}"

    def _body(self) -> bytes | mmap.mmap:
        length = int(self.headers.get("Content-Length", "0"))
        if not length:
            return b""
        body = mmap.mmap(-1, length)
        while (at := body.tell()) < length:
            piece = self.rfile.read(min(PIECE_BYTES, length - at))
            if not piece:
                raise _HungUpError
            body.write(piece)
        return body if length > BIG_BYTES else body[:]

    def _write(self, body: bytes | mmap.mmap) -> None:
        store = self.store
        there = store.objects.get(self.name)
        if there is not None and store.conditional_writes and self.headers.get("If-None-Match") == "*":
            self._status(412)
            return
        if self.command == "POST":
            store.posted.append(body[:])
        kept = Kept(body, {"Content-Type": self.headers.get("Content-Type", "")})
        store.objects[self.name] = kept
        self._status(201 if there is None else 204, self._etag(kept))

    def _etag(self, kept: Kept) -> dict[str, str]:
        weak = {"strong": "", "weak": "W/"}
        etags = self.store.etags
        return {} if etags is None else {"ETag": f'{weak[etags]}"{kept.etag}"'}

    def _read(self) -> None:
        kept = self.store.objects.get(self.name)
        if kept is None:
            self._status(404)
            return
        etag = '"another"' if self._is(Fault.IGNORE_CONDITION) else f'"{kept.etag}"'
        obeys = self.store.if_match and not self._is(Fault.IGNORE_CONDITION)
        if obeys and self.headers.get("If-Match", etag) != etag:
            self._status(412)
            return
        body, headers = kept.body, {**self._etag(kept), **kept.headers}
        if self._is(Fault.IGNORE_CONDITION):
            headers["ETag"] = etag
        status = 200
        ranges = self.store.ranges and not kept.is_chunked
        if ranges and self.store.says_ranges:
            headers["Accept-Ranges"] = "bytes"
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if (
            match
            and ranges
            and not self._is(Fault.IGNORE_RANGE)
            and self.headers.get("If-Range", etag) == etag
            and self.command == "GET"
        ):
            first, last = int(match[1]), min(int(match[2] or len(body)), len(body) - 1)
            if first > last:
                self._status(416, {"Content-Range": f"bytes */{len(body)}"})
                return
            if self._is(Fault.SHIFT_RANGE):
                first, last = first + 1, last + 1
            headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
            body, status = body[first : last + 1].ljust(last - first + 1, b"\0"), 206
        self._send(kept, status, body, headers)

    def _send(self, kept: Kept, status: int, body: bytes | mmap.mmap, headers: dict[str, str]) -> None:
        chunked = self.store.chunked or kept.is_chunked
        breaks = kept.breaks_off or self._is(Fault.TRUNCATE, Fault.STALL)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        sent = body[: len(body) // 2] if breaks else body
        for piece in _pieces(sent):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if self._is(Fault.STALL):
            self.store.released.wait(_HANG_S)
        if breaks:
            raise _HungUpError
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _status(self, status: int, headers: dict[str, str] | None = None) -> None:
        body = b"" if status in {204, 304} else f"as told: {self.headers.get('Authorization')}\n".encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status not in {204, 304}:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _pieces(body: bytes | mmap.mmap) -> Iterator[bytes]:
    """Cut a body up."""
    view = memoryview(body)
    for offset in range(0, len(body), PIECE_BYTES):
        yield bytes(view[offset : offset + PIECE_BYTES])
