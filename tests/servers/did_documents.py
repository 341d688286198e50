"""A web server with the DID documents of partners, and their keys."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import Any

from joserfc.jwk import ECKey
from tests.servers.loopback_http import LoopbackHttp

KEY = "#key-1"


@dataclass(frozen=True)
class Partner:
    """A participant of a dataspace, with its private key."""

    did: str
    key: ECKey

    @property
    def pem(self) -> str:
        """The key, as its operator's configuration has it."""
        return self.key.as_pem(private=True).decode()

    @property
    def document(self) -> dict[str, Any]:
        """Its DID document."""
        method = {
            "id": f"{self.did}{KEY}",
            "type": "JsonWebKey2020",
            "controller": self.did,
            "publicKeyJwk": self.key.as_dict(private=False),
        }
        return {"id": self.did, "verificationMethod": [method], "authentication": [f"{self.did}{KEY}"]}


class DidDocuments(LoopbackHttp):
    """Serves documents on a free port of loopback, by plain http; a context manager.

    Attributes:
        asked: The path of every request.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._documents: dict[str, dict[str, Any]] = {}
        super().__init__(partial(_Handler, self))

    def partner(self, name: str) -> Partner:
        """Make a participant whose document is served; one of that name gets another key."""
        did = f"did:web:localhost%3A{self.port}:{name}"
        made = Partner(did, ECKey.generate_key("P-256"))
        self._documents[f"/{name}/did.json"] = made.document
        return made

    def take(self, path: str) -> dict[str, Any] | None:
        """Note a request, and return what lies there."""
        self.asked.append(path)
        return self._documents.get(path)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    def __init__(self, documents: DidDocuments, *arguments: Any) -> None:
        self._documents = documents
        super().__init__(*arguments)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer with a document."""
        document = self._documents.take(self.path)
        body = json.dumps(document or {}).encode()
        self.send_response(200 if document else 404)
        self.send_header("Content-Type", "application/did+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
