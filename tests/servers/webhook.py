"""A receiver of webhooks, with faults on request; it looks at signatures as Standard Webhooks says.

with Receiver(secret) as receiver:
    receiver.answers[:] = [503, 204]
    ...
    assert [one.is_signed for one in receiver.notices] == [True, True]
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any

from tests.servers.loopback_http import LoopbackHttp

TOLERANCE_S = 300
HANG = 0
HANG_UP = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One request as it came."""

    id: str
    body: dict[str, Any]
    headers: dict[str, str]
    is_signed: bool
    answered: int


class Receiver(LoopbackHttp):
    """The server, as a context manager; it takes every notice but those for which ``answers`` has another.

    Args:
        secret: With which it is signed, ``whsec_...``; None looks at no signature.
    """

    def __init__(self, secret: str | None = None) -> None:
        self.notices: list[Notice] = []
        self.answers: list[int] = []
        self.headers: dict[str, str] = {}
        # Called with each notice before it is answered.
        self.on_notice: Callable[[Notice], None] = lambda _: None
        self.released = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

            def do_POST(self) -> None:
                receiver.take(self, secret)

        super().__init__(Handler)

    @property
    def url(self) -> str:
        """What is configured."""
        return f"http://127.0.0.1:{self.port}/hooks/dataferry"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        super().__exit__(kind, error, trace)

    def take(self, request: BaseHTTPRequestHandler, secret: str | None) -> None:
        """Write a notice down, and answer it."""
        raw = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = self.answers.pop(0) if self.answers else 204
        notice = Notice(
            id=headers.get("webhook-id", ""),
            body=json.loads(raw),
            headers=headers,
            is_signed=secret is not None and is_signed(secret, headers, raw),
            answered=answer,
        )
        self.notices.append(notice)
        self.on_notice(notice)
        if answer in {HANG, HANG_UP}:
            if answer == HANG:
                self.released.wait(60)
            request.close_connection = True
            return
        request.send_response(answer)
        for name, value in self.headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def wait(self, count: int, *, timeout_s: float = 30.0) -> list[Notice]:
        """Return the notices once there are so many."""
        deadline = time.monotonic() + timeout_s
        while len(self.notices) < count:
            assert time.monotonic() < deadline, self.notices
            time.sleep(0.02)
        return self.notices


def is_signed(secret: str, headers: dict[str, str], raw: bytes) -> bool:
    """Look at a signature, and whether it is of now."""
    moment = headers.get("webhook-timestamp", "0")
    if abs(time.time() - int(moment)) > TOLERANCE_S:
        return False
    key = b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{moment}.".encode() + raw
    expected = "v1," + b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return expected in headers.get("webhook-signature", "").split(" ")
