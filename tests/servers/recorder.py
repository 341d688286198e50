"""An HTTP server that writes down the headers of every request, and refuses all of them."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.servers.loopback_http import LoopbackHttp


class Recorder(LoopbackHttp):
    """Listens on a free port of loopback; answers 403 to whatever comes."""

    def __init__(self) -> None:
        requests: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

            def _refuse(self) -> None:
                requests.append(f"{self.requestline}\n{self.headers}")
                self.send_response(403)
                self.send_header("Content-Length", "0")
                self.send_header("Connection", "close")
                self.end_headers()

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _refuse  # noqa: N815 - http.server's names

        self.requests = requests
        super().__init__(Handler)

    @property
    def endpoint_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"
