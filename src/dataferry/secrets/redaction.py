"""Redaction: the last net under every log line. Code must not log secrets; if it does, they end here."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable
from urllib import parse

MASK = "***"
# Shorter values would cut ordinary words out of the logs, and are no secrets worth the name.
MIN_SECRET_CHARS = 6

_HEADERS = re.compile(
    r"""(?isx)
    (?P<name> \b (?: (?: proxy- )? authorization | (?: set- )? cookie | x-api-key
      | x-amz- (?: security-token | signature | credential | server-side-encryption-customer-key ) ) )
    (?P<sign> \\? ["']? \s* [:=,] \s* b? )
    (?: (?P<quote> ["'] ) (?: \\. | (?! (?P=quote) ) . )* (?P=quote)   # in JSON or a repr: the quotes stay
      | (?P<escaped> \\ ["'] ) (?: (?! (?P=escaped) ) . )* (?P=escaped) # in JSON within JSON
      | (?! null | none ) [^\s"'\\\[\](){},&] [^\r\n"'\\}\])&]* )       # in a message: to the line's end
    """
)
_QUERY = re.compile(
    r"""(?ix)
    (?P<name> [?&;] (?: x-amz-signature | x-amz-credential | x-amz-security-token | signature | sig |
    awsaccesskeyid
      | access_token | refresh_token | token | api[_-]?key | code | password ) = )
    [^&\s"'<>#]+
    """
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{6,}")
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^/\s:@]*):[^/\s@]+@")


def redact_patterns(text: str) -> str:
    """Mask what looks like a credential: headers, signed query strings, URLs with passwords."""
    masked = _HEADERS.sub(_masked_header, text)
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
        """Register secrets in all their spellings; None and short ones are passed over."""
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


def _masked_header(found: re.Match[str]) -> str:
    """Keep a header's name and quotes, so that JSON stays JSON."""
    quote = found["quote"] or found["escaped"] or ""
    return f"{found['name']}{found['sign']}{quote}{MASK}{quote}"


def _spellings(value: str) -> set[str]:
    """The forms in which a value turns up in URLs, JSON and reprs."""
    return {
        value,
        parse.quote(value, safe=""),
        parse.quote(value),
        parse.quote_plus(value),
        json.dumps(value)[1:-1],
        repr(value)[1:-1],
    }
