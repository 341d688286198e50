"""DIDs that are resolved over the web: where a document lies, and which key in it may speak for whom.

Source: W3C Decentralized Identifiers (DIDs) v1.0, sections 5.2 and 5.3; did:web Method Specification.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from dataferry.domain.errors import InputError

MAX_DID_CHARS = 512
MAX_METHODS = 100
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(?::[1-9][0-9]{0,4})?")
_SEGMENT = re.compile(r"[A-Za-z0-9._~-]{1,200}")
_PREFIX = "did:web:"
# Who is only listed under another purpose, such as key agreement, does not speak for the subject.
_PURPOSES = ("authentication", "assertionMethod")


def is_web_did(text: str) -> bool:
    """Return whether this is a DID whose document can be had."""
    try:
        document_url(text)
    except InputError:
        return False
    return True


def document_url(did: str, *, may_be_plain: bool = False) -> str:
    """Return where a DID's document lies.

    Args:
        did: ``did:web:HOST[%3APORT][:SEGMENT...]``.
        may_be_plain: Whether a host that is this machine is asked by plain http: for development.

    Raises:
        InputError: It is no such DID.

    Source: did:web Method Specification, "Read (Resolve)".
    """
    refused = InputError("this is no did:web that can be resolved")
    if not did.startswith(_PREFIX) or len(did) > MAX_DID_CHARS:
        raise refused
    host, *segments = did.removeprefix(_PREFIX).split(":")
    host = unquote(host)
    if not _HOST.fullmatch(host) or ".." in host:
        raise refused
    if any(not _SEGMENT.fullmatch(segment) or set(segment) == {"."} for segment in segments):
        raise refused
    path = "/".join(segments) if segments else ".well-known"
    scheme = "http" if may_be_plain and is_this_machine(host.partition(":")[0]) else "https"
    return f"{scheme}://{host}/{path}/did.json"


def is_this_machine(host: str) -> bool:
    """Return whether a host is loopback by its name or address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class DidDocument:
    """Whose document it is, and the keys that may authenticate that subject, each a JWK.

    Attributes:
        did: The subject.
        keys: By id, written out: ``did:web:example#key-1``.
    """

    did: str
    keys: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, did: str, document: Any) -> DidDocument:
        """Read a document; methods that are no JWK, or another's, are passed over.

        Raises:
            InputError: It is not the document of that DID.
        """
        if not isinstance(document, dict) or document.get("id") != did:
            raise InputError("the DID document is another's, or none")
        allowed, embedded = _authenticating(did, document)
        keys: dict[str, Mapping[str, Any]] = {}
        for method in [*_entries(document.get("verificationMethod")), *embedded]:
            if not isinstance(method, dict) or method.get("controller", did) != did:
                continue
            name, key = method.get("id"), method.get("publicKeyJwk")
            if isinstance(name, str) and isinstance(key, dict) and "d" not in key:
                whole = absolute(did, name)
                if allowed is None or whole in allowed:
                    keys[whole] = key
        return cls(did=did, keys=keys)

    def key(self, kid: str) -> Mapping[str, Any] | None:
        """Return the key that a ``kid`` names: whole, as ``#key-1``, or by the fragment alone."""
        return self.keys.get(absolute(self.did, kid))


def absolute(did: str, name: str) -> str:
    """Write the id of a method out."""
    if name.startswith("did:"):
        return name
    return f"{did}#{name.removeprefix('#')}"


def _authenticating(did: str, document: Mapping[str, Any]) -> tuple[frozenset[str] | None, list[Any]]:
    """Return which methods may authenticate, None for all, and those that stand there in full."""
    named = [entry for purpose in _PURPOSES for entry in _entries(document.get(purpose))]
    if not any(purpose in document for purpose in _PURPOSES):
        return None, []
    embedded = [entry for entry in named if isinstance(entry, dict)]
    ids = [entry.get("id") if isinstance(entry, dict) else entry for entry in named]
    return frozenset(absolute(did, name) for name in ids if isinstance(name, str)), embedded


def _entries(value: Any) -> list[Any]:
    """Return a bounded list; anything else is empty."""
    return value[:MAX_METHODS] if isinstance(value, list) else []
