"""Headers: what an address may add to requests, and what replies say about an object.

Source: RFC 9110, sections 5.5 (field values), 7.6.1 (Connection), 8.8.3 (ETag), 14.3 (Accept-Ranges).
"""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from dataferry.domain.errors import AddressError, ProtocolError
from dataferry.domain.objects import Attributes
from dataferry.net.heads import Headers

MAX_HEADERS = 32
# How a token is shown: behind this word, or as the whole header.
BEARER = "Bearer"
BARE = ""
MAX_VALUE_CHARS = 8_192
_MAX_RETRY_AFTER_S = 3_600.0
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_STRONG_ETAG = re.compile(r'"([\x21\x23-\x7e]{1,512})"')
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
# What frames, routes or conditions a request is ours to say. An address that could set it might make two
# servers on the way see different requests, or make a reply mean something else than we think.
_OURS = frozenset(
    {
        "accept-encoding",
        "accept-ranges",
        "connection",
        "content-encoding",
        "content-length",
        "content-location",
        "content-range",
        "date",
        "expect",
        "forwarded",
        "host",
        "http2-settings",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "keep-alive",
        "max-forwards",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
    }
)
_OURS_BEGIN = ("proxy-", "x-forwarded-")
_FIELDS = {
    "content_type": "Content-Type",
    "cache_control": "Cache-Control",
    "content_disposition": "Content-Disposition",
    "content_encoding": "Content-Encoding",
    "content_language": "Content-Language",
    "expires": "Expires",
}
# What describes the bytes themselves; Cache-Control and Expires of a request would speak of the request.
_SENT = ("content_type", "content_encoding", "content_language")


def checked_header(name: str, value: str) -> tuple[str, str]:
    """Return a header that an address or a location adds.

    Raises:
        AddressError: The name or value can't be one, or the header is ours to say; the value is not shown.
    """
    if not _TOKEN.fullmatch(name):
        raise AddressError("the name of a header has characters that it can't have")
    if name.lower() in _OURS or name.lower().startswith(_OURS_BEGIN):
        raise AddressError(f"the header {name} is not for addresses to set")
    if len(value) > MAX_VALUE_CHARS or not _VALUE.fullmatch(value):
        raise AddressError(
            f"the value of the header {name} is too long, or has characters that it can't have"
        )
    return name, value


def bearer(token: str) -> tuple[str, str]:
    """Return the ``Authorization`` of a bearer token. Source: RFC 6750, section 2.1."""
    return presented(token, BEARER)


def presented(token: str, scheme: str) -> tuple[str, str]:
    """Return the ``Authorization`` of a token behind its scheme, ``BARE`` for none."""
    if " " in token:
        raise AddressError("a bearer token has no blanks")
    return checked_header("Authorization", f"{scheme} {token}" if scheme else token)


def basic(username: str, password: str) -> tuple[str, str]:
    """Return the ``Authorization`` of a user and password. Source: RFC 7617, section 2."""
    if ":" in username or not f"{username}{password}".isprintable():
        raise AddressError("a user name has no colon, and neither it nor a password control characters")
    pair = f"{username}:{password}".encode()
    return checked_header("Authorization", f"Basic {base64.b64encode(pair).decode()}")


def to_headers(attributes: Attributes) -> dict[str, str]:
    """Write what describes a body as request headers; what can't stand in one is left out."""
    values = {_FIELDS[field]: getattr(attributes, field) or "" for field in _SENT}
    return {name: value for name, value in values.items() if _VALUE.fullmatch(value)}


def from_headers(headers: Headers) -> Attributes:
    """Read attributes from a reply; ``identity`` is no encoding."""
    found = {field: _text(headers.get(header)) for field, header in _FIELDS.items()}
    if (found["content_encoding"] or "").lower() == "identity":
        found["content_encoding"] = None
    return Attributes(**found, user_metadata=(), tags=())


def _text(value: str | None) -> str | None:
    """Read a value: control characters of folded lines are blanks, and bytes above ASCII are UTF-8."""
    if not value:
        return None
    with suppress(UnicodeError):
        value = value.encode("latin-1").decode()
    return _CONTROL.sub(" ", value)


def strong_etag(headers: Headers) -> str | None:
    """Return a reply's ETag without its quotes; None for a weak, malformed or doubled one."""
    values = headers.get_all("ETag")
    match = _STRONG_ETAG.fullmatch(str(values[0]).strip()) if len(values) == 1 else None
    return match[1] if match else None


def content_length(headers: Headers, operation: str) -> int | None:
    """Return how long a reply says that its body is; None if it does not.

    Raises:
        ProtocolError: It says several things, or its body is coded in a way that we did not ask for.
    """
    coding = str(headers.get("Transfer-Encoding") or "").strip().lower()
    lengths = {str(value).strip() for value in headers.get_all("Content-Length")}
    if coding not in {"", "chunked"} or len(headers.get_all("Transfer-Encoding")) > 1:
        raise ProtocolError(
            "the reply's body has a transfer coding that was not asked for", operation=operation
        )
    if len(lengths) > 1 or (coding and lengths):
        raise ProtocolError("the reply says two lengths of its body", operation=operation)
    if not lengths:
        return None
    [text] = lengths
    if not (text.isascii() and text.isdigit() and len(text) < 20):  # noqa: PLR2004 - 64 bits
        raise ProtocolError("the reply's length is no number", operation=operation)
    return int(text)


def retry_after(headers: Headers) -> float | None:
    """Read ``Retry-After``: seconds or a date, bounded."""
    text = str(headers.get("Retry-After") or "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:  # noqa: PLR2004 - seconds
        return min(float(text), _MAX_RETRY_AFTER_S)
    when = http_date(text)
    if when is None:
        return None
    return min(max((when - datetime.now(UTC)).total_seconds(), 0.0), _MAX_RETRY_AFTER_S)


def http_date(text: str | None) -> datetime | None:
    """Read an HTTP date; None if it is none."""
    try:
        return parsedate_to_datetime(text).astimezone(UTC) if text else None
    except (ValueError, TypeError, OverflowError):
        return None
