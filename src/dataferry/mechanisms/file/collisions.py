"""Keys of one plan that can't be files beside each other: one a directory for another, or both one name.

Some file systems fold names: APFS, SMB shares and directories of ext4 that were made so take ``README`` for
``readme``, or a letter with its accent for the two written apart. Each in a way of its own; ``folded`` takes
for one what any of them may.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from unicodedata import normalize

from dataferry.domain.errors import AddressError, NoSpaceError
from dataferry.domain.names import quoted

ADVICE = "rename one, leave one out (exclude), or choose a place that keeps them apart"

# Characters that some file systems do not look at: ext4 leaves out what Unicode calls default-ignorable.
# Source: Unicode, DerivedCoreProperties.txt, Default_Ignorable_Code_Point.
_IGNORED = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# What Windows and vfat drop from the end of a name.
_DROPPED = ". "


def folded(name: str) -> str:
    """Return a text that two names share if some file system may take one for the other, step by step.

    Source: Unicode, section 3.13, D145 (canonical caseless matching).
    """
    return "/".join(map(_folded_step, name.split("/")))


def _folded_step(step: str) -> str:
    if step.isascii():
        return step.lower().rstrip(_DROPPED)
    seen = _IGNORED.sub("", step).rstrip(_DROPPED)
    return normalize("NFC", normalize("NFD", seen).casefold())


def refuse_nested(keys: Iterable[tuple[str, str]]) -> None:
    """Refuse keys of which one is a file where another needs a directory: ``a`` and ``a/b``.

    Args:
        keys: Each as it is compared, and as it is written; in the order of the former.

    Raises:
        AddressError: Two of them can't be there together.
    """
    before: list[tuple[str, str]] = []
    for compared, key in keys:
        # What sorts between "a" and "a/b" begins with "a", so only beginnings of this key are kept.
        while before and not compared.startswith(before[-1][0]):
            before.pop()
        for other, other_key in before:
            if compared.startswith(f"{other}/"):
                raise AddressError(
                    f"{quoted(other_key)} and {quoted(key)} can't both be files: "
                    "one is a directory for the other",
                    operation="file.place",
                )
        before.append((compared, key))


def refuse_folded(keys: Iterable[str]) -> None:
    """Refuse keys that can't be there together where names fold: also ``a`` and ``A``, ``a/b`` and ``A/c``.

    Args:
        keys: Different ones, in any order.

    Raises:
        AddressError: Two of them can't be there together.
        NoSpaceError: There is no room to sort them.
    """
    try:
        # In a file without a name, which SQLite makes once they are many.
        with closing(sqlite3.connect("")) as table:
            table.execute("CREATE TABLE keys (folded TEXT, key TEXT)")
            table.executemany("INSERT INTO keys VALUES (?, ?)", ((folded(key), key) for key in keys))
            refuse_nested(_spelled_alike(table.execute("SELECT folded, key FROM keys ORDER BY folded, key")))
    except sqlite3.Error as exc:
        raise NoSpaceError(
            f"names could not be sorted in the directory for temporary files (TMPDIR): {exc}",
            operation="file.place",
        ) from exc


def _spelled_alike(keys: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Let keys through whose steps are the same where they fold to the same: such keys follow each other."""
    before_steps: list[str] = []
    before_folded: list[str] = []
    before = ""
    for compared, key in keys:
        steps, folded_steps = key.split("/"), compared.split("/")
        for step, other, here, there in zip(steps, before_steps, folded_steps, before_folded, strict=False):
            if here != there:
                break
            if step != other:
                raise AddressError(
                    f"{quoted(before)} and {quoted(key)}: the destination's file system takes {other!r} and "
                    f"{step!r} for one name: {ADVICE}",
                    operation="file.place",
                )
        before, before_steps, before_folded = key, steps, folded_steps
        yield compared, key
