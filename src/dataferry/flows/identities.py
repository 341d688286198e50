"""Who partners are: the keys in their DID documents, fetched by did:web through the egress guard."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from dataferry.domain.errors import InputError, UnauthorizedError
from dataferry.domain.location import Provenance
from dataferry.net.answers import fetch_json
from dataferry.net.connections import Network
from dataferry.net.httpx_transport import guarded_client
from dataferry.secrets.did import DidDocument, document_url

MAX_DOCUMENT_BYTES = 64 * 1024
FETCH_TIMEOUT_S = 5.0
# A key that was withdrawn is believed this long; one that is not there yet is asked for at once, which only
# who holds a good refresh token of that very partner can cause.
KEPT_S = 300.0
MAX_KEPT = 256


@dataclass(frozen=True, slots=True)
class _Kept:
    document: DidDocument
    at: float


class Identities:
    """Finds keys of partners. Thread-safe.

    Args:
        network: Whose egress guard and certificates are used.
        may_be_plain: Whether documents on this machine are asked for by plain http: for development.
    """

    def __init__(self, network: Network, *, may_be_plain: bool = False) -> None:
        self._client = guarded_client(network, Provenance.EXTERNAL, timeout_s=FETCH_TIMEOUT_S)
        self._may_be_plain = may_be_plain
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def key(self, did: str, kid: str) -> Mapping[str, Any]:
        """Return the key, a JWK, by which a partner may authenticate.

        Raises:
            UnauthorizedError: Its document has no such key, or it has none.
            ConnectionFailedError, ServerError, EgressDeniedError: The document can't be had.

        Source: Data Plane Signaling, "Token Renewal", section "Provider Request Validation".
        """
        with self._lock:
            kept = self._kept.get(did)
        is_fresh = kept is not None and time.monotonic() - kept.at < KEPT_S
        key = kept.document.key(kid) if kept is not None and is_fresh else None
        if key is None:
            key = self._fetched(did).key(kid)
        if key is None:
            raise UnauthorizedError("the client's DID document has no key of that kid to authenticate with")
        return key

    def _fetched(self, did: str) -> DidDocument:
        """Fetch a document, and keep it."""
        try:
            url = document_url(did, may_be_plain=self._may_be_plain)
            what = f"the DID document of {urlsplit(url).hostname}"
            found = fetch_json(self._client, url, what=what, max_bytes=MAX_DOCUMENT_BYTES)
            document = DidDocument.of(did, found)
        except InputError as exc:
            raise UnauthorizedError(exc.message) from None
        with self._lock:
            self._kept[did] = _Kept(document, time.monotonic())
            self._kept.move_to_end(did)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return document
