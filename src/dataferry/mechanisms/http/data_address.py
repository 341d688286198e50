"""DataAddresses of HTTP, strict and lax.

An address whose ``endpointType`` is the profile's own URL is read as the profile says it: https only, the
three properties that it defines, everything else ignored. Any other type (``HttpData``, the IDSA's, a bare
``http-push``) is read as its users write it: plain http may be, and EDC's names are understood.

Source: Data Plane Signaling, "HTTP Transfer Profile", section "Endpoint Type and DataAddress".
"""

from __future__ import annotations

import base64
from dataclasses import replace

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import AddressError
from dataferry.domain.location import Provenance
from dataferry.mechanisms.http.address import Headers, Place, Url, joined, parse_url
from dataferry.mechanisms.http.grant import JSON_LINES, LISTING, PARTS, PARTS_OF_CRC64
from dataferry.mechanisms.http.headers import (
    BARE,
    BEARER,
    MAX_HEADERS,
    basic,
    bearer,
    checked_header,
    presented,
)
from dataferry.mechanisms.routes import refuse_route

PROFILE = "https://w3id.org/dspace-sig/profile/http"
STRICT_TYPES = frozenset({f"{PROFILE}-push", f"{PROFILE}-pull"})
METHODS = frozenset({"GET", "PUT", "POST"})
_HEADER = "header:"


def place_of(address: DataAddress) -> Place:
    """Return the place of a DataAddress; its type decides how strictly it is read.

    Raises:
        AddressError: It names no URL, has credentials that can't be used, or breaks the profile.
    """
    place = _strict(address) if address.endpoint_type in STRICT_TYPES else _lax(address)
    if address.get(PARTS) == PARTS_OF_CRC64:
        return replace(place, takes_parts=True)
    if address.get(LISTING) != JSON_LINES:
        return place
    if place.is_single:
        raise AddressError("a listing's URL ends with /: its objects are below it")
    return replace(place, is_listing=True)


def _strict(address: DataAddress) -> Place:
    """Read an address of the published profile."""
    url = parse_url(address.endpoint)
    if url.origin.scheme != "https":
        raise AddressError(f"{address.endpoint_type}: the endpoint must be https")
    token, kind = address.get("authorization"), address.get("authType")
    headers: Headers = ()
    if token is not None:
        if (kind or "").lower() != "bearer":
            raise AddressError("authorization needs authType bearer beside it")
        headers = (bearer(token),)
    return Place(url=url, provenance=Provenance.EXTERNAL, headers=headers)


def _lax(address: DataAddress) -> Place:
    """Read an address as EDC and others write it."""
    refuse_route(address)
    method = (address.get("method") or "").upper() or None
    if method is not None and method not in METHODS:
        raise AddressError("the address's method is none of GET, PUT and POST")
    token, schemes = _bare_token(address)
    shown = _authorization(address) if token is None else (presented(token, schemes[0]),)
    headers = (*shown, *_more_headers(address))
    names = [name.lower() for name, _ in headers]
    if len(set(names)) != len(names):
        raise AddressError("the address sets a header twice")
    return Place(
        url=_url(address),
        provenance=Provenance.EXTERNAL,
        headers=headers,
        method=method,
        token=token,
        schemes=schemes,
    )


def _url(address: DataAddress) -> Url:
    """Put the URL together from the endpoint, or EDC's ``baseUrl``, ``path`` and ``queryParams``."""
    base = address.get("baseUrl")
    if address.endpoint and base and base != address.endpoint:
        raise AddressError("endpoint and baseUrl name different URLs")
    text = address.endpoint or base
    if not text:
        raise AddressError("the address names no URL: set endpoint, or baseUrl")
    path = address.get("path")
    return joined(parse_url(text), [path] if path else [], address.get("queryParams"))


def _bare_token(address: DataAddress) -> tuple[str | None, tuple[str, ...]]:
    """Return the token of an address that may be shown in two ways, None if it may not; and the ways.

    EDC's own data planes say ``bearer`` and take the whole header for the token, as EDC's clients send it;
    others want the scheme of RFC 6750, and do not always say so.

    Source: EDC 0.7 to 0.15, ``DataPlanePublicApiV2Controller``, ``DefaultDataPlaneAccessTokenServiceImpl``.
    """
    token, kind = address.get("authorization") or "", (address.get("authType") or "").lower()
    scheme, _, rest = token.partition(" ")
    if token and kind == BEARER.lower():
        return rest if scheme.lower() == kind and rest else token, (BEARER, BARE)
    return (token, (BARE, BEARER)) if token and not (kind or rest) else (None, (BEARER,))


def _authorization(address: DataAddress) -> Headers:
    """Return the header that carries the address's credential, if that is no bare token."""
    token, kind = address.get("authorization"), (address.get("authType") or "").lower()
    key, code = address.get("authKey"), address.get("authCode")
    if token is not None:
        return (_presented(token, kind),)
    if key is None:
        return ()
    if code is None:
        raise AddressError(
            "authKey without authCode: secretName names a secret of another vault, which can't be read here"
        )
    return (checked_header(key, code),)


def _presented(token: str, kind: str) -> tuple[str, str]:
    """Present what is no bare token as its type says; without one it is the whole header."""
    if kind == "basic":
        user, colon, password = token.partition(":")
        if colon:
            return basic(user, password)
        try:
            base64.b64decode(token, validate=True)
        except ValueError as exc:
            raise AddressError(
                "authorization of authType basic is user:password, in base64 or plain"
            ) from exc
        return checked_header("Authorization", f"Basic {token}")
    if kind:
        raise AddressError("authType must be bearer or basic")
    return checked_header("Authorization", token)


def _more_headers(address: DataAddress) -> Headers:
    """Return EDC's ``header:NAME`` properties."""
    found = [(name[len(_HEADER) :], value) for name, value in address.properties if name.startswith(_HEADER)]
    if len(found) > MAX_HEADERS:
        raise AddressError(f"the address has more than {MAX_HEADERS} headers")
    return tuple(checked_header(name, value) for name, value in found)
