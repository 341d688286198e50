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
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from dataferry.domain.location import ControlPlane

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
    return digest_of(f"credentials {credentials}" if credentials else f"peer {peer}")


def control_plane_of_token(token: str, control_planes: Iterable[ControlPlane]) -> ControlPlane | None:
    """Return whose token it is. Every one is compared, so that time does not tell which was near."""
    found: ControlPlane | None = None
    for control_plane in control_planes:
        if control_plane.token and is_same(token, control_plane.token):
            found = control_plane
    return found


def digest_of(key: str) -> bytes:
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
