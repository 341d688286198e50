"""A signer elsewhere: has a key, and signs what it is sent, as the contract says."""

from __future__ import annotations

import base64
import json
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import Any

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from tests.servers.loopback_http import LoopbackHttp

Key = ECKey | OKPKey | RSAKey


class RemoteSigner(LoopbackHttp):
    """Serves on a free port of loopback; a context manager.

    Attributes:
        key: What it signs with.
        token: Bearer token that it wants.
        status: What it answers, if not 200.
        asked: What it was sent.
    """

    def __init__(self, key: Key | None = None) -> None:
        self.key = key or ECKey.generate_key("P-256")
        self.token = "token-of-the-signer-0123456789"
        self.status = 200
        self.body: bytes | None = None
        self.asked: list[dict[str, Any]] = []
        super().__init__(partial(_Handler, self))

    @property
    def url(self) -> str:
        """Where it signs."""
        return f"http://127.0.0.1:{self.port}/sign"

    @property
    def public_pem(self) -> str:
        """The public half of its key."""
        return self.key.as_pem(private=False).decode()

    def sign(self, question: dict[str, Any]) -> bytes:
        """Answer one question."""
        if self.body is not None:
            return self.body
        text = str(question["input"])
        signing_input = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        algorithm = JWSRegistry.algorithms[question["alg"]]
        signature = base64.urlsafe_b64encode(algorithm.sign(signing_input, self.key)).rstrip(b"=").decode()
        return json.dumps({"signature": signature}).encode()


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    def __init__(self, signer: RemoteSigner, *arguments: Any) -> None:
        self._signer = signer
        super().__init__(*arguments)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """Sign."""
        question = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        self._signer.asked.append(question)
        right = self.headers.get("Authorization") == f"Bearer {self._signer.token}"
        status = self._signer.status if right else 401
        body = self._signer.sign(question) if status == 200 else b"{}"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
