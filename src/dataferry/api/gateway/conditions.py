"""Which bytes a request asks for, and on what conditions: ranges and preconditions, as pure functions.

Source: RFC 9110, sections 13 and 14.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus

# One range; several in one request may be answered with the whole (RFC 9110, section 14.2), and are.
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.IGNORECASE)
_ETAGS = re.compile(r'(?:W/)?"[^"]*"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A half-open range ``(offset_bytes, offset_bytes + length_bytes)`` of an object."""

    offset_bytes: int
    length_bytes: int

    def content_range(self, size_bytes: int) -> str:
        """Return the value of ``Content-Range``."""
        return f"bytes {self.offset_bytes}-{self.offset_bytes + self.length_bytes - 1}/{size_bytes}"


class Whole(Enum):
    """No range, or none that binds: the whole object is the answer."""

    WHOLE = "whole"


class RangeError(Exception):
    """No byte of the object lies in the range that was asked for."""


def etag_of(validator: str | None) -> str | None:
    """Return a strong entity tag for a version's name; None if it has none, or it can't be one."""
    if validator is None or not validator.isascii() or not validator.isprintable() or '"' in validator:
        return None
    return f'"{validator}"'


def precondition(headers: Mapping[str, str], etag: str | None) -> HTTPStatus | None:
    """Return 412 or 304 where a precondition says so, None where the request goes on.

    Args:
        headers: Of a GET or HEAD; names in lower case.
        etag: The object's, strong, with quotes; None if it has none.

    Source: RFC 9110, section 13.2.2.
    """
    wanted = headers.get("if-match")
    if wanted is not None and wanted.strip() != "*" and etag not in _ETAGS.findall(wanted):
        return HTTPStatus.PRECONDITION_FAILED
    known = headers.get("if-none-match")
    if known is not None:
        tags = {tag.removeprefix("W/") for tag in _ETAGS.findall(known)}
        if known.strip() == "*" or (etag is not None and etag in tags):
            return HTTPStatus.NOT_MODIFIED
    return None


def span(headers: Mapping[str, str], *, etag: str | None, size_bytes: int) -> Span | Whole:
    """Return which bytes are asked for.

    Args:
        headers: Of a GET; names in lower case.
        etag: As of ``precondition``.
        size_bytes: Of the object.

    Raises:
        RangeError: The range begins behind the end: 416.

    Source: RFC 9110, sections 13.1.5, 14.1.2 and 14.2.
    """
    found = _RANGE.fullmatch(headers.get("range", "").strip())
    if found is None or found.groups() == ("", ""):
        return Whole.WHOLE
    condition = headers.get("if-range")
    if condition is not None and condition.strip() != etag:
        return Whole.WHOLE
    first, last = found.groups()
    if not first:
        length = min(int(last), size_bytes)
        if not length:
            raise RangeError
        return Span(offset_bytes=size_bytes - length, length_bytes=length)
    offset = int(first)
    if last and int(last) < offset:
        return Whole.WHOLE
    if offset >= size_bytes:
        raise RangeError
    end = size_bytes if not last else min(int(last) + 1, size_bytes)
    return Span(offset_bytes=offset, length_bytes=end - offset)
