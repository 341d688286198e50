"""What a JSON value may be: small checks that say where a value differs and how, to be put together."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

Check = Callable[[Any, str], Iterator[str]]


def text(value: Any, where: str) -> Iterator[str]:
    """Any text that is not empty."""
    if not isinstance(value, str):
        yield f"{where}: must be text"
    elif not value:
        yield f"{where}: is empty"


def any_text(value: Any, where: str) -> Iterator[str]:
    """Text, be it empty."""
    if not isinstance(value, str):
        yield f"{where}: must be text"


def uuid(value: Any, where: str) -> Iterator[str]:
    """A UUID as it is usually written."""
    try:
        good = isinstance(value, str) and str(UUID(value)) == value
    except ValueError:
        good = False
    if not good:
        yield f"{where}: must be a UUID"


def url(value: Any, where: str) -> Iterator[str]:
    """An absolute http or https URL."""
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        good = parts is not None and parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        yield f"{where}: must be an http or https URL"


def one_of(*words: str) -> Check:
    """One of these."""

    def check(value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, str) or value not in words:
            yield f"{where}: must be one of {', '.join(words)}"

    return check


def matching(pattern: str) -> Check:
    """Text that a pattern matches as a whole."""

    def check(value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            yield f"{where}: must match {pattern}"

    return check


def list_of(item: Check, *, least: int = 0) -> Check:
    """A list, each item of which passes."""

    def check(value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, list):
            yield f"{where}: must be a list"
            return
        if len(value) < least:
            yield f"{where}: must have at least {least}"
        for number, one in enumerate(value):
            yield from item(one, f"{where}[{number}]")

    return check


def anything_in_it(value: Any, where: str) -> Iterator[str]:
    """An object, whatever it holds."""
    if not isinstance(value, dict):
        yield f"{where}: must be an object"


def thing(
    required: Mapping[str, Check],
    optional: Mapping[str, Check] | None = None,
    *,
    never: Collection[str] = (),
    closed: bool = False,
) -> Check:
    """An object.

    Args:
        required: Fields that must be there.
        optional: Fields that may be there; null is not as absent.
        never: Fields that may not.
        closed: Whether there may be no other field.
    """
    fields = {**required, **(optional or {})}

    def check(value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{where}: must be an object"
            return
        for name in required:
            if name not in value:
                yield f"{where}.{name}: is missing"
        for name, one in value.items():
            if name in fields:
                yield from fields[name](one, f"{where}.{name}")
            elif closed or name in never:
                yield f"{where}.{name}: does not belong here"

    return check


def faults(check: Check, value: Any) -> list[str]:
    """Return where a value differs; empty if nowhere."""
    return list(check(value, "$"))
