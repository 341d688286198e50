"""An authority that issues real JWTs, to clients and for exchanges, and rotates its keys."""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from collections.abc import Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from tests.servers.loopback_http import LoopbackHttp

Key = ECKey | OKPKey | RSAKey
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


class IdentityProvider(LoopbackHttp):
    """Serves on a free port of loopback, by plain http; a context manager.

    Attributes:
        clients: Secrets by client id.
        subjects: What ``sub`` of a client's tokens is; its id if it is not here.
        audience: What ``aud`` is where a request names none.
        workloads: Which credentials may be exchanged.
        lifetime_s: Of its tokens.
        extra: Claims that every token has.
        leaves_out: Claims that no token has.
        status: What the token endpoint answers, if not 200; then it issues nothing.
        keys_status: What the JWKS document is answered with.
        gate: While it is closed, the JWKS document is not answered.
        location: Where redirects lead, with a status of 3xx.
        asked: Path and form of every request.
        issued: The tokens that were issued, in order.
    """

    def __init__(self) -> None:
        self.clients: dict[str, str] = {}
        self.subjects: dict[str, str] = {}
        self.audience = "plane-under-test"
        self.workloads: set[str] = set()
        self.lifetime_s = 300
        self.extra: dict[str, Any] = {}
        self.leaves_out: tuple[str, ...] = ()
        self.status = 200
        self.keys_status = 200
        self.gate = threading.Event()
        self.gate.set()
        self.location = ""
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.issued: list[str] = []
        self.lock = threading.Lock()
        self._number = 0
        self.signing: Key
        self.published: list[Key] = []
        super().__init__(partial(_Handler, self))
        self.rotate()

    @property
    def issuer(self) -> str:
        """What ``iss`` is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def token_endpoint(self) -> str:
        """Where tokens are had."""
        return f"{self.issuer}/token"

    @property
    def jwks_uri(self) -> str:
        """Where keys are published."""
        return f"{self.issuer}/jwks.json"

    @property
    def jwks(self) -> dict[str, Any]:
        """The keys that are published."""
        return {"keys": [{**key.as_dict(private=False), "use": "sig"} for key in self.published]}

    def rotate(self, *, keeps_old: bool = False, key: Key | None = None) -> None:
        """Sign with another key from now on, and publish that."""
        self._number += 1
        made = key or ECKey.generate_key("P-256", {"kid": f"key-{self._number}"})
        self.published = [*(self.published if keeps_old else []), made]
        self.signing = made

    def count(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(asked == path for asked, _ in self.asked)

    def sign(self, claims: Mapping[str, Any], *, key: Key | None = None, **header: Any) -> str:
        """Sign any claims."""
        key = key or self.signing
        algorithm = {"EC": "ES256", "RSA": "RS256", "OKP": "EdDSA"}[key.key_type]
        head = {"alg": algorithm, "kid": key.kid, "typ": "JWT", **header}
        head = {name: value for name, value in head.items() if value is not None}
        return jwt.encode(head, dict(claims), key, algorithms=[head["alg"]])

    def claims(self, subject: str, **changes: Any) -> dict[str, Any]:
        """The claims of a token, as the specification wants them; None leaves one out."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "sub": subject,
            "aud": self.audience,
            "iat": now,
            "exp": now + self.lifetime_s,
            "jti": str(uuid.uuid4()),
            **self.extra,
            **changes,
        }
        return {
            name: value for name, value in claims.items() if value is not None and name not in self.leaves_out
        }

    def token(self, subject: str, **changes: Any) -> str:
        """Sign a token for a subject."""
        return self.sign(self.claims(subject, **changes))

    def answer(self, form: Mapping[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """Answer a token request. Source: RFC 6749, section 4.4; RFC 8693, section 2."""
        if self.status != 200:
            return self.status, {"error": "temporarily_unavailable"}
        if form.get("grant_type") == EXCHANGE:
            return self._exchange(form)
        client, secret = form.get("client_id", ""), form.get("client_secret", "")
        if authorization.startswith("Basic "):
            pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
            client, secret = (unquote_plus(part) for part in pair.split(":", 1))
        if form.get("grant_type") != "client_credentials" or self.clients.get(client) != secret:
            return 401, {"error": "invalid_client", "error_description": f"no client {client} {secret}"}
        changes = {"aud": form["audience"]} if "audience" in form else {}
        return self._issue(self.token(self.subjects.get(client, client), **changes))

    def _exchange(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        if form.get("subject_token") not in self.workloads or "client_secret" in form:
            return 400, {"error": "invalid_grant"}
        text = self.token(
            form["resource"],
            aud=form["audience"],
            scope=form.get("scope", ""),
            participant_context="default",
        )
        return self._issue(text)

    def _issue(self, text: str) -> tuple[int, dict[str, Any]]:
        with self.lock:
            self.issued.append(text)
        return 200, {"access_token": text, "token_type": "Bearer", "expires_in": self.lifetime_s}


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    def __init__(self, provider: IdentityProvider, *arguments: Any) -> None:
        self._provider = provider
        super().__init__(*arguments)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer with the keys."""
        self._provider.asked.append((self.path, {}))
        self._provider.gate.wait(20)
        self._send(self._provider.keys_status, self._provider.jwks)

    def do_POST(self) -> None:
        """Answer a token request."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        form = dict(parse_qsl(body))
        self._provider.asked.append((self.path, form))
        self._send(*self._provider.answer(form, self.headers.get("Authorization", "")))

    def _send(self, status: int, document: Mapping[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", self._provider.location)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
