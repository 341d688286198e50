"""Redaction: the last net under every log line. Code must not log secrets; if it does, they are cut out here."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "***"
# Shorter values would cut ordinary words out of the logs, and are no secrets worth the name.
MIN_SECRET_CHARS = 6

_HEADERS = re.compile(
    r"""(?ix)
    (?P<name> ["']? \b (?: proxy- )? authorization | ["']? \b (?: set- )? cookie
      | ["']? \b x-amz-security-token | ["']? \b x-amz-signature | ["']? \b x-amz-credential
      | ["']? \b x-amz-server-side-encryption-customer-key | ["']? \b x-api-key )
    (?P<sign> ["']? \s* [:=] \s* | ["'] \s* , \s* b? (?= ["'] ) )
    (?P<value> b? " [^"]* " | b? ' [^']* ' | (?: (?: bearer | basic | aws4-hmac-sha256 ) \s+ )? [^\s"'}\])]+ [^\r\n"'}\])]* )
    """
)
_QUERY = re.compile(
    r"""(?ix)
    (?P<name> [?&;] (?: x-amz-signature | x-amz-credential | x-amz-security-token | signature | sig | awsaccesskeyid
      | access_token | refresh_token | token | api[_-]?key | code | password ) = )
    [^&\s"'<>#]+
    """
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{6,}")
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^/\s:@]*):[^/\s@]+@")


def redact_patterns(text: str) -> str:
    """Mask what looks like a credential wherever it stands: headers, signed query strings, URLs with passwords."""
    masked = _HEADERS.sub(rf"\g<name>\g<sign>{MASK}", text)
    masked = _QUERY.sub(rf"\g<name>{MASK}", masked)
    masked = _BEARER.sub(rf"\1 {MASK}", masked)
    return _USERINFO.sub(rf"\1:{MASK}@", masked)


class SecretValues:
    """The secrets that this process knows; ``redact`` is what logging runs every record through.

    Thread-safe. ``repr`` shows how many there are, not which.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._spellings: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.add(*values)

    def __repr__(self) -> str:
        return f"SecretValues({len(self._spellings)} spellings)"

    def add(self, *values: str | None) -> None:
        """Register secrets, with their URL-encoded and JSON spellings; None and short ones are passed over."""
        spellings = {
            spelling
            for value in values
            if value is not None and len(value) >= MIN_SECRET_CHARS
            for spelling in _spellings(value)
        }
        with self._lock:
            if spellings <= self._spellings:
                return
            self._spellings |= spellings
            # Longest first: a secret that begins with another one must go as a whole.
            ordered = sorted(self._spellings, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, ordered)))

    def redact(self, text: str) -> str:
        """Return ``text`` with every registered secret and everything that looks like one masked."""
        pattern = self._pattern
        masked = text if pattern is None else pattern.sub(MASK, text)
        return redact_patterns(masked)


def redact(text: str, values: SecretValues | None = None) -> str:
    """Mask ``text``, with the registered secrets too where a registry is given."""
    return redact_patterns(text) if values is None else values.redact(text)


def _spellings(value: str) -> set[str]:
    """The forms in which a value turns up in URLs, JSON and reprs."""
    return {
        value,
        quote(value, safe=""),
        quote(value),
        quote_plus(value),
        json.dumps(value)[1:-1],
        repr(value)[1:-1],
    }
