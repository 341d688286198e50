"""Who calls: control planes by bearer token, operators by API key, or anybody on this machine.

Without tokens two control planes can't be told apart, so then there is exactly one, and only this machine
may call. "This machine" means more than the address of the peer: a proxy on it, or a web page in a browser
on it, speaks for others, so forwarded requests, foreign ``Host``, foreign ``Origin`` and what a browser says
another site made it fetch do not count.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from dataferry.domain.errors import ForbiddenError, UnauthorizedError
from dataferry.domain.location import ControlPlane

LOCAL_OPERATOR = "operator"
# The orchestrator's description has it as default, and everybody knows it.
DEFAULT_KEY = "password"
# By its own word, e.g. an image of a page, which has no ``Origin``. "none" is what a person typed.
OWN_FETCHES = frozenset({"same-origin", "none"})
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


def is_local(connection: HTTPConnection) -> bool:
    """True if the request comes from this machine, and from nobody else through it.

    Source: W3C Fetch Metadata Request Headers, "Sec-Fetch-Site".
    """
    peer = connection.client
    if peer is None or not _is_loopback(peer.host):
        return False
    if any(name in connection.headers for name in FORWARDED):
        return False
    host = connection.headers.get("host", "")
    if not _is_loopback(urlsplit(f"//{host}").hostname or ""):
        return False
    if connection.headers.get("sec-fetch-site", "none") not in OWN_FETCHES:
        return False
    origin = connection.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == host


def bearer_token(connection: HTTPConnection) -> str | None:
    """Return the token of ``Authorization: Bearer <token>``; None without one.

    Source: RFC 6750, section 2.1.
    """
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def is_same(one: str, other: str) -> bool:
    """Compare two secrets without telling by the time how much of them agrees."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def caller_key(connection: HTTPConnection) -> bytes:
    """Name a caller, known or not, to count by: its credentials hashed, or its address if it shows none."""
    headers = connection.headers
    credentials = headers.get("x-api-key") or headers.get("authorization")
    peer = connection.client.host if connection.client else ""
    return _digest(f"credentials {credentials}" if credentials else f"peer {peer}")


def control_plane_of_token(token: str, control_planes: Iterable[ControlPlane]) -> ControlPlane | None:
    """Return whose token it is. Every one is compared, so that time does not tell which was near."""
    found: ControlPlane | None = None
    for control_plane in control_planes:
        if control_plane.token and is_same(token, control_plane.token):
            found = control_plane
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One operator's key.

    Attributes:
        name: Whose it is; events name it as the actor.
        digest: SHA-256 of the key.
    """

    name: str
    digest: bytes = field(repr=False)

    @classmethod
    def of(cls, name: str, key: str) -> ApiKey:
        """Make one of a key in plain."""
        return cls(name=name, digest=_digest(key))

    @classmethod
    def of_sha256(cls, name: str, hexadecimal: str) -> ApiKey:
        """Make one of a key's SHA-256 in hexadecimal."""
        return cls(name=name, digest=bytes.fromhex(hexadecimal))


class ApiKeys:
    """The operators' keys.

    Args:
        keys: None at all: only this machine may call.
    """

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self._keys = tuple(keys)

    @property
    def are_configured(self) -> bool:
        """True if there is one."""
        return bool(self._keys)

    def require(self, connection: HTTPConnection) -> str:
        """Let operators pass (key in ``X-Api-Key`` or as bearer token), and return who it is.

        Raises:
            UnauthorizedError: It is none.
        """
        if not self._keys:
            if is_local(connection):
                return LOCAL_OPERATOR
            raise UnauthorizedError("no API keys are configured: only this machine may call")
        presented = connection.headers.get("x-api-key") or bearer_token(connection) or ""
        digest = _digest(presented)
        names = [key.name for key in self._keys if hmac.compare_digest(digest, key.digest)]
        if not names:
            raise UnauthorizedError("send an API key in X-Api-Key")
        return names[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientKey:
    """The key that clients show.

    Attributes:
        value: The default one is taken from this machine only.
    """

    value: str = field(default=DEFAULT_KEY, repr=False)

    @property
    def is_default(self) -> bool:
        """True if everybody knows it."""
        return is_same(self.value, DEFAULT_KEY)

    def require(self, connection: HTTPConnection) -> None:
        """Let a client pass.

        Raises:
            ForbiddenError: Its key is missing or wrong, or the default one and it is another machine.
        """
        shown = connection.headers.get("x-api-key", "")
        if not shown or not is_same(shown, self.value) or (self.is_default and not is_local(connection)):
            raise ForbiddenError("Invalid API key")


def _digest(key: str) -> bytes:
    """Hash a key; keys are long and random, so one round does."""
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()


def _is_loopback(host: str) -> bool:
    """True for 127.0.0.0/8, ::1 and ``localhost``."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
