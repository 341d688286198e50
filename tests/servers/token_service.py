"""A token service for S3 that enforces: JuiceFS's gateway, a MinIO front end, with a user and moving time.

The gateway verifies signatures and session tokens, and evaluates session policies. It serves AssumeRole to
users, not to its root, so that a user is made by MinIO's administration API. Its own time can't be moved:
``Ageing`` stands before it, notes when the credentials that it gave end, and refuses them from then on as
Amazon does, by a clock that tests set.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlencode

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from tests.servers.loopback_http import LoopbackHttp

from dataferry.demo.servers import JuiceFs

_GIVEN = re.compile(rb"<AccessKeyId>([^<]+)</AccessKeyId>.*?<Expiration>([^<]+)</Expiration>", re.DOTALL)
_ASKS = re.compile(r"Credential=([^/,]+)/")
_HOP = frozenset({"connection", "transfer-encoding", "keep-alive"})
_EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"


class GatewayUser:
    """A user of a gateway, who may do what a policy says, and may assume a role.

    Args:
        server: The gateway.
        name: The user's access key.
        policy: What it may do; None is everything.
    """

    def __init__(self, server: JuiceFs, name: str, policy: Mapping[str, Any] | None = None) -> None:
        self.server = server
        self.access_key_id = name
        self.secret_access_key = f"secret-of-{name}-{os.urandom(8).hex()}"
        sealed = _sealed(
            json.dumps({"secretKey": self.secret_access_key, "status": "enabled"}).encode(),
            server.secret_access_key,
        )
        self._ask("add-user", {"accessKey": name}, sealed)
        if policy is not None:
            self._ask("add-canned-policy", {"name": name}, json.dumps(policy).encode())
        named = "readwrite" if policy is None else name
        self._ask("set-user-or-group-policy", {"policyName": named, "userOrGroup": name, "isGroup": "false"})

    @property
    def endpoint_url(self) -> str:
        """Of the gateway."""
        return self.server.endpoint_url

    def _ask(self, verb: str, query: Mapping[str, str], body: bytes = b"") -> None:
        """Send a request of the administration API, signed by the root."""
        target = f"/minio/admin/v3/{verb}?{urlencode(query)}"
        headers = {"x-amz-content-sha256": hashlib.sha256(body).hexdigest()}
        request = AWSRequest("PUT", self.server.endpoint_url + target, data=body, headers=headers)
        root = Credentials(self.server.access_key_id, self.server.secret_access_key)
        SigV4Auth(root, "s3", "us-east-1").add_auth(request)
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        try:
            connection.request("PUT", target, body, dict(request.headers))
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, (verb, answer.status, text)
        finally:
            connection.close()


def _sealed(data: bytes, password: str) -> bytes:
    """Encrypt a body as the administration API takes it.

    Salt, kind of cipher, nonce, and one sealed piece: its nonce ends in the piece's number, and what it is
    bound to is the tag of nothing under number 0, after a mark that it is the last piece.
    """
    salt, nonce = os.urandom(32), os.urandom(8)
    key = Argon2id(salt=salt, length=32, iterations=1, lanes=4, memory_cost=64 * 1024).derive(
        password.encode()
    )
    cipher = AESGCM(key)
    bound = b"\x80" + cipher.encrypt(nonce + bytes(4), b"", b"")
    return salt + b"\0" + nonce + cipher.encrypt(nonce + b"\1\0\0\0", data, bound)


class Ageing(LoopbackHttp):
    """Stands before a gateway, whose temporary credentials end by the clock of ``now``.

    Args:
        server: The gateway.

    Attributes:
        later: How far its clock is ahead of ours.
        asked: The bodies of the requests for credentials that passed, as texts.
        refused: How many requests came with credentials that had ended.
    """

    def __init__(self, server: JuiceFs) -> None:
        super().__init__(lambda *parts: _Passing(self, *parts))
        self.server = server
        self.access_key_id = server.access_key_id
        self.secret_access_key = server.secret_access_key
        self.later = timedelta()
        self.asked: list[str] = []
        self.refused = 0
        self._ends: dict[str, datetime] = {}
        self._lock = threading.Lock()

    @property
    def endpoint_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def end_all(self) -> None:
        """End what was given until now; what is given from now on is good."""
        with self._lock:
            self._ends = dict.fromkeys(self._ends, datetime.min.replace(tzinfo=UTC))

    def note(self, request: bytes, reply: bytes) -> None:
        """Remember when the credentials of a reply end."""
        if b"Action=AssumeRole" not in request:
            return
        with self._lock:
            self.asked.append(request.decode())
            for key, ends in _GIVEN.findall(reply):
                self._ends[key.decode()] = datetime.fromisoformat(ends.decode())

    def has_ended(self, authorization: str) -> bool:
        """Say if a request's credentials have ended."""
        found = _ASKS.search(authorization)
        with self._lock:
            ends = self._ends.get(found[1]) if found else None
            over = ends is not None and ends <= datetime.now(UTC) + self.later
            self.refused += over
            return over


class _Passing(BaseHTTPRequestHandler):
    """Hands a request on, with its ``Host``, as that is signed."""

    protocol_version = "HTTP/1.1"

    def __init__(self, ageing: Ageing, *parts: Any) -> None:
        self.ageing = ageing
        super().__init__(*parts)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        """Hand on, or refuse."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.ageing.has_ended(self.headers.get("Authorization", "")):
            self._answer(400, {"Content-Type": "application/xml"}, _EXPIRED)
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.ageing.server.port, timeout=30)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            reply = upstream.getresponse()
            data = reply.read()
        finally:
            upstream.close()
        self.ageing.note(body, data)
        self._answer(reply.status, dict(reply.headers), data)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 - as the library calls them

    def _answer(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in _HOP and not (name.lower() == "content-length" and self.command != "HEAD"):
                self.send_header(name, value)
        if self.command != "HEAD" and status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
