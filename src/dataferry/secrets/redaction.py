"""Redaction: the last net under every log line. Code must not log secrets; if it does, they end here."""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any
from urllib import parse

MASK = "***"
# Shorter values would cut ordinary words out of the logs, and are no secrets worth the name.
MIN_SECRET_CHARS = 6
# Of values that came by; more are let go, as every line is searched for every one: some 0.1 ms for all.
MAX_REMEMBERED = 512
MIN_STRANGERS_CHARS = 8
MAX_STRANGERS_CHARS = 4096

_SECRET = re.compile(
    r"(?i)secret|token|passw|credential|signature|authorization|auth_?code|(api|access|private|account|shared)[-_]?key"
)
_PLACE_OR_KIND = re.compile(r"(?i)(ur[il]|endpoint|type|name|expir\w*)$")

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
# By it our own keys are known, wherever they turn up: in a log here, or in somebody's repository.
API_KEY_PREFIX = "dfk_"
_API_KEY = re.compile(rf"\b{API_KEY_PREFIX}[A-Za-z0-9_-]{{20,}}")
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^/\s:@]*):[^/\s@]+@")

# Whatever a pattern masks has one of these, in lower case: the names of headers, and marks of the others.
_SIGNS = (
    "authorization", "cookie", "x-api-key", "x-amz-", "bearer", "basic", "?", "&", ";", API_KEY_PREFIX, "://",
)  # fmt: skip


def redact_patterns(text: str) -> str:
    """Mask what looks like a credential: headers, signed query strings, URLs with passwords."""
    if _is_plain(text):
        return text
    masked = _HEADERS.sub(_masked_header, text)
    masked = _QUERY.sub(rf"\g<name>{MASK}", masked)
    masked = _BEARER.sub(rf"\1 {MASK}", masked)
    masked = _API_KEY.sub(f"{API_KEY_PREFIX}{MASK}", masked)
    return _USERINFO.sub(rf"\1:{MASK}@", masked)


def _is_plain(text: str) -> bool:
    """Return True where no pattern can match, which is soon seen; most of what is logged is so.

    Text beyond ASCII is never plain: patterns that look at no case take some of its letters for ours.
    """
    if not text.isascii():
        return False
    lower = text.lower()
    return not any(sign in lower for sign in _SIGNS)


class SecretValues:
    """The secrets that this process knows; ``redact`` is what logging runs every record through.

    Those of the configuration stay; those that come by, in addresses and over the API, stay until others came
    by more recently: an attempt at a flow reads its row, and with it come its secrets again.

    Thread-safe. ``repr`` shows how many there are, not which.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._kept: set[str] = set()
        self._remembered: OrderedDict[str, set[str]] = OrderedDict()
        # Not one pattern: it would be compiled anew with every secret, and tries its branches at every place.
        self._longest_first: tuple[str, ...] = ()
        self._shortest_chars = 0
        self.add(*values)

    def __repr__(self) -> str:
        return f"SecretValues({len(self._longest_first)} spellings)"

    def add(self, *values: str | None) -> None:
        """Register secrets for good, in all their spellings; None and short ones are passed over."""
        spellings = {
            spelling
            for value in values
            if value is not None and len(value) >= MIN_SECRET_CHARS
            for spelling in _spellings(value)
        }
        with self._lock:
            if not spellings <= self._kept:
                self._kept |= spellings
                self._order()

    def remember(self, *values: str | None) -> None:
        """Register secrets that came by; the ones that came by longest ago are forgotten.

        Passed over are None, short ones, which strangers could cut words out of the logs with, and very long
        ones.
        """
        with self._lock:
            changed = False
            for value in values:
                if value is None or not MIN_STRANGERS_CHARS <= len(value) <= MAX_STRANGERS_CHARS:
                    continue
                if value in self._remembered:
                    self._remembered.move_to_end(value)
                    continue
                self._remembered[value] = _spellings(value)
                changed = True
            while len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
            if changed:
                self._order()

    def _order(self) -> None:
        """Longest first: a secret that begins with another one must go as a whole."""
        every = self._kept.union(*self._remembered.values())
        self._longest_first = tuple(sorted(every, key=len, reverse=True))
        self._shortest_chars = len(self._longest_first[-1]) if self._longest_first else 0

    def redact(self, text: str) -> str:
        """Return ``text`` with every registered secret and everything that looks like one masked."""
        if len(text) < self._shortest_chars:
            return redact_patterns(text)
        masked = text
        for spelling in self._longest_first:
            if spelling in masked:
                masked = masked.replace(spelling, MASK)
        return redact_patterns(masked)


def secrets_in(value: Any) -> Iterator[str]:
    """Yield the texts in a JSON value whose names say that they are secrets, at any depth.

    A name is a key of an object, or the ``name`` beside a ``value``, as DataAddresses have it.
    """
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, list | tuple):
            pending.extend(item)
        elif isinstance(item, dict):
            named = [*item.items(), (item.get("name"), item.get("value"))]
            yield from (text for name, text in named if isinstance(text, str) and _is_secret(name))
            pending.extend(item.values())


def _is_secret(name: object) -> bool:
    """Return whether a name is that of a secret; what says where one is had is none."""
    return isinstance(name, str) and bool(_SECRET.search(name)) and not _PLACE_OR_KIND.search(name)


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
