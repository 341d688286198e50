"""A refresh endpoint of a provider, which answers as the test says; a context manager."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs

from tests.servers.loopback_http import LoopbackHttp

Answer = Callable[[dict[str, list[str]]], tuple[int, bytes]]


class RefreshEndpoint(LoopbackHttp):
    """Issues ``access-1`` and ``refresh-1``, then 2, 3, ..., unless told otherwise.

    Attributes:
        asked: The form of every request.
        answer: Returns status and body.
    """

    def __init__(self) -> None:
        self.asked: list[dict[str, list[str]]] = []
        self.answer: Answer = self.issue
        super().__init__(partial(_Handler, self))
        self.url = f"http://localhost:{self.port}/token"

    def forgive(self) -> None:
        """Say nothing of clients that hang up."""
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # it is meant

    def issue(self, _: dict[str, list[str]]) -> tuple[int, bytes]:
        """Issue a pair."""
        number = len(self.asked)
        issued = {"access_token": f"access-{number}", "refresh_token": f"refresh-{number}"}
        return 200, json.dumps({**issued, "token_type": "Bearer", "expires_in": 300}).encode()


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, endpoint: RefreshEndpoint, *arguments: Any) -> None:
        self._endpoint = endpoint
        super().__init__(*arguments)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """Answer."""
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._endpoint.asked.append(form)
        status, body = self._endpoint.answer(form)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
