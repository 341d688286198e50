"""Whether a file system takes several spellings for one name, and in which one what is there was written."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from threading import Lock
from unicodedata import normalize

from dataferry.domain.errors import AddressError, ObjectNotFoundError
from dataferry.domain.names import is_text, quoted
from dataferry.mechanisms.file.collisions import ADVICE, folded
from dataferry.mechanisms.file.temporary import new_upload_id, temporary_name
from dataferry.mechanisms.file.tree import directory, shown, translated

# The second where a file system does not take the first: it has an accent apart from its letter.
_PROBES = ("DataFerry-Cafe\N{COMBINING ACUTE ACCENT}", "DataFerry")
# Directories whose names are kept: workers are in several at once.
_MOST_LISTINGS = 64


def folds_names(directory: int) -> bool:
    """Find out whether a directory folds names, by an empty temporary file that is removed again.

    Args:
        directory: Its descriptor.

    Returns:
        False also if nothing can be written there.
    """
    upload_id = new_upload_id()
    for label in _PROBES:
        name = temporary_name(label, upload_id)
        try:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory))
        except OSError:
            continue
        try:
            others = {temporary_name(label.lower(), upload_id), normalize("NFC", name)} - {name}
            return any(_is_there(directory, other) for other in others)
        finally:
            with suppress(OSError):
                os.unlink(name, dir_fd=directory)
    return False


def _is_there(directory: int, name: str) -> bool:
    try:
        os.lstat(name, dir_fd=directory)
    except OSError:
        return False
    return True


class Spelling:
    """Refuses to write under a name for which the file system takes another one that is there. Thread-safe.

    Directories are listed only once something is found under a name, and what is found in a listing is not
    listed again. Names that differ in nothing but composition (NFC, NFD) are the same here: some systems
    write them down in a form of their own.

    Args:
        root: Keys are relative to it.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._listings: OrderedDict[tuple[str, ...], Mapping[str, set[str]]] = OrderedDict()
        self._lock = Lock()

    def refuse_other(self, key: str, *, last: int) -> None:
        """Return if what is there of a key is spelled as the key is, or nothing is.

        Args:
            key: A final key.
            last: How many of its steps are looked at, from the end: the others are the operator's words.

        Raises:
            AddressError: Something of another spelling is there.
        """
        steps = tuple(key.split("/"))
        with (
            suppress(ObjectNotFoundError),
            translated("file.place", shown(self._root, key)),
            self._lock,
        ):
            for depth in range(len(steps) - last, len(steps)):
                self._refuse_step(steps[:depth], steps[depth])

    def _refuse_step(self, above: tuple[str, ...], step: str) -> None:
        with directory(self._root, above) as opened:
            os.lstat(step, dir_fd=opened)
        spellings = self._listings.get(above, {}).get(folded(step))
        if spellings is None:
            spellings = self._list(above).get(folded(step), set())
        if normalize("NFC", step) not in spellings:
            ours = quoted("/".join((*above, step)))
            theirs = quoted("/".join((*above, min(spellings)))) if spellings else "something"
            raise AddressError(
                f"{ours} can't be beside {theirs}, which is there: the destination's file system takes them "
                f"for one name: {ADVICE}",
                operation="file.place",
            )

    def _list(self, steps: tuple[str, ...]) -> Mapping[str, set[str]]:
        """Return the names in a directory as they are spelled, by what they fold to."""
        names: dict[str, set[str]] = {}
        with directory(self._root, steps, listable=True) as opened, os.scandir(opened) as entries:
            for entry in entries:
                if is_text(entry.name):
                    names.setdefault(folded(entry.name), set()).add(normalize("NFC", entry.name))
        self._listings[steps] = names
        self._listings.move_to_end(steps)
        while len(self._listings) > _MOST_LISTINGS:
            self._listings.popitem(last=False)
        return names
