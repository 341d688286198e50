"""Where the conformance kit says that its data goes, and its callbacks: one address for both.

The kit names its own callback server as the endpoint to push to, and that server answers 404 to everything
but the callbacks of the test that runs. So the address that it names is this server: it takes the data, and
hands on what is meant for the kit.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

FORWARDED = ("/transfers/", "/.well-known/did.json")
PIECE_BYTES = 256 * 1024
KIT_TIMEOUT_S = 20.0


class ForwardingSink:
    """Listens on a free port of loopback; a context manager.

    Args:
        kit_port: Where the kit's callback server listens, on loopback.
    """

    def __init__(self, kit_port: int) -> None:
        self._kit_port = kit_port
        self._lock = threading.Lock()
        self._received: list[int] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="sink")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Where it listens, as ``http://localhost:PORT``: the kit makes its ``did:web`` of this name."""
        return f"http://localhost:{self._server.server_address[1]}"

    @property
    def received(self) -> list[int]:
        """The size of each object that arrived whole, bytes."""
        with self._lock:
            return list(self._received)

    def take(self, size_bytes: int) -> None:
        """Note an object that arrived whole."""
        with self._lock:
            self._received.append(size_bytes)

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Hand a request to the kit; 502 while it does not listen."""
        connection = http.client.HTTPConnection("127.0.0.1", self._kit_port, timeout=KIT_TIMEOUT_S)
        with contextlib.closing(connection):
            try:
                connection.request(method, path, body=body, headers=headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException):
                return 502, b""


class _Handler(BaseHTTPRequestHandler):
    """One connection.

    Args:
        sink: Whose.
        arguments: As the server gives them to any handler.
    """

    protocol_version = "HTTP/1.1"

    def __init__(self, sink: ForwardingSink, *arguments: Any) -> None:
        self._sink = sink
        super().__init__(*arguments)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """The kit's DID document."""
        self._forward(b"")

    def do_HEAD(self) -> None:
        """Nothing lies here."""
        self._answer(404, b"")

    def do_POST(self) -> None:
        """A callback for the kit, or data."""
        if self.path.startswith(FORWARDED):
            self._forward(self.rfile.read(self._length))
        else:
            self._take()

    def do_PUT(self) -> None:
        """Data."""
        self._take()

    @property
    def _length(self) -> int:
        return int(self.headers.get("Content-Length", "0"))

    def _take(self) -> None:
        """Read an object away; one that breaks off is none."""
        left = self._length
        while left > 0:
            piece = self.rfile.read(min(left, PIECE_BYTES))
            if not piece:
                self.close_connection = True
                return
            left -= len(piece)
        self._sink.take(self._length)
        self._answer(201, b"")

    def _forward(self, body: bytes) -> None:
        kept = {"Content-Type", "Authorization"}
        headers = {name: value for name, value in self.headers.items() if name.title() in kept}
        self._answer(*self._sink.forward(self.command, self.path, headers, body))

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
