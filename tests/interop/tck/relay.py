"""A server that hands on what it gets, and writes down every message that passes."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.servers.loopback_http import LoopbackHttp

ANSWER_TIMEOUT_S = 30.0
MAX_MESSAGE_BYTES = 1024 * 1024
_KEPT = frozenset({"content-type", "authorization", "location", "www-authenticate"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request and its answer.

    Attributes:
        location: The answer's header; empty if it has none.
    """

    method: str
    path: str
    request: bytes = field(repr=False)
    status: int
    answer: bytes = field(repr=False)
    location: str = ""


class Relay(LoopbackHttp):
    """Listens on a free port of loopback and forwards to another; a context manager.

    Args:
        target_port: Where it forwards to, on loopback.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._lock = threading.Lock()
        self._exchanges: list[Exchange] = []
        super().__init__(partial(self.handler(), self))

    @property
    def url(self) -> str:
        """Where it listens, as ``http://localhost:PORT``."""
        return f"http://localhost:{self.port}"

    @property
    def exchanges(self) -> list[Exchange]:
        """What was forwarded, in the order of the answers."""
        with self._lock:
            return list(self._exchanges)

    def handler(self) -> type[RelayHandler]:
        """What serves a connection."""
        return RelayHandler

    def note(self, exchange: Exchange) -> None:
        """Write an exchange down."""
        with self._lock:
            self._exchanges.append(exchange)

    def forward(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Hand a request on; return the answer's status, headers and body. 502 while nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self._target_port, timeout=ANSWER_TIMEOUT_S)
        with contextlib.closing(connection):
            try:
                connection.request(method, path, body=body or None, headers=_kept(headers))
                reply = connection.getresponse()
                status, answered, answer = reply.status, _kept(dict(reply.getheaders())), reply.read()
            except (OSError, http.client.HTTPException):
                status, answered, answer = 502, {}, b""
        location = next((value for name, value in answered.items() if name.lower() == "location"), "")
        self.note(
            Exchange(method=method, path=path, request=body, status=status, answer=answer, location=location)
        )
        return status, answered, answer


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() in _KEPT}


class RelayHandler(BaseHTTPRequestHandler):
    """One connection.

    Args:
        relay: Whose.
        arguments: As the server gives them to any handler.
    """

    protocol_version = "HTTP/1.1"

    def __init__(self, relay: Any, *arguments: Any) -> None:
        self.relay = relay
        super().__init__(*arguments)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Hand on."""
        self.forward()

    def do_POST(self) -> None:
        """Hand on."""
        self.forward()

    def do_PUT(self) -> None:
        """Hand on."""
        self.forward()

    @property
    def length(self) -> int:
        """The size of the request's body, bytes."""
        return int(self.headers.get("Content-Length", "0"))

    def message(self) -> bytes:
        """Read the body of a message; one that is too large is cut."""
        return self.rfile.read(min(self.length, MAX_MESSAGE_BYTES))

    def forward(self) -> None:
        """Hand the request on, and its answer back."""
        headers = dict(self.headers.items())
        self.reply(*self.relay.forward(self.command, self.path, headers, self.message()))

    def reply(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
