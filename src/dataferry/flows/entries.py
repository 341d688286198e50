"""Entries of the catalogue, of whatever kind: what the configuration file holds, over what the API made.

The configuration wins over a row of the same name, and can't be changed over the API: the file would bring it
back with the next start, and the answer would have been a lie.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from dataferry.domain.errors import ForbiddenError, InputError

# What stands for a secret wherever an entry is shown.
HIDDEN = "***"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Generic[T]):
    """One entry of the catalogue; ``configured`` ones are read-only over the API."""

    value: T
    configured: bool


def merged(configured: Mapping[str, T], rows: Sequence[T], key: Callable[[T], str]) -> list[Entry[T]]:
    """Lay the configuration over the rows."""
    entries = {key(row): Entry(value=row, configured=False) for row in rows}
    entries.update({name: Entry(value=entry, configured=True) for name, entry in configured.items()})
    return [entries[name] for name in sorted(entries)]


def refuse_configured(name: str, configured: Mapping[str, object], what: str) -> None:
    """Refuse to change over the API what the configuration file decides.

    Raises:
        ForbiddenError: It decides this entry.
    """
    if name in configured:
        raise ForbiddenError(f"{what} {name} stands in the configuration file: change it there")


def check_name(name: str) -> None:
    """Refuse names that can't stand before the colon of ``name:path``.

    Raises:
        InputError: It is such a name.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"{name[:100]!r} is not a name: letters, digits, '.', '_' and '-', at most 100")
