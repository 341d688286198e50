"""Tags: asked for where an object has some and both ends keep them, and left out where an end refuses them.

Tags need permissions of their own, which those who may read or write bytes often lack. An object never fails
for them: it goes without, and the attempt says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from typing import TypeVar

from dataferry.domain.errors import (
    AccessDeniedError,
    CredentialsExpiredError,
    DataFerryError,
    ProtocolError,
    UnsupportedError,
)
from dataferry.domain.objects import Attributes, Capability, ObjectInfo
from dataferry.engine.transfer import Observer, Transfer
from dataferry.mechanisms.abilities import TagReader
from dataferry.mechanisms.base import Reader

T = TypeVar("T")
AttributesOf = Callable[[ObjectInfo], Attributes]
REFUSALS = (AccessDeniedError, UnsupportedError, ProtocolError)


class Tags:
    """What becomes of tags in one attempt; any thread.

    Args:
        transfer: Whose ends say whether they keep tags.
        observer: Told of the first object that goes without, and at the end how many did.
    """

    def __init__(self, transfer: Transfer, observer: Observer) -> None:
        self._kept = Capability.TAGS in transfer.source.capabilities & transfer.sink.capabilities
        self._observer = observer
        self._lock = Lock()
        self._refused: DataFerryError | None = None
        self._without = 0

    def sent(self, reader: Callable[[], Reader], action: Callable[[AttributesOf], T]) -> T:
        """Run what creates an object; once more, without tags, if the sink refuses it with them.

        Args:
            reader: Gives the source's reader.
            action: Creates the object from a source as it finds it; what it is given returns the attributes
                to send, tags included.

        Raises:
            DataFerryError: The action's.
        """
        if not self._kept:
            return action(_plain)
        told = _Told(reader, self._refused)
        try:
            done = action(told.attributes)
        except REFUSALS as error:
            if not told.has_tags or isinstance(error, CredentialsExpiredError):
                raise
            done = action(_plain)
            self._refused = told.missing = error
        if told.missing is not None:
            self._lose(told)
        return done

    def tell(self) -> None:
        """Say how many objects went without their tags, if it was more than the one that was told."""
        if self._without > 1:
            self._observer.noted("tags_not_kept", f"{self._without} objects arrived without their tags")

    def _lose(self, told: _Told) -> None:
        with self._lock:
            self._without += 1
            first = self._without == 1
        if first:
            self._observer.noted("tags_not_kept", f"{told.name} arrived without its tags: {told.missing}")


class _Told:
    """What is known of one object's tags.

    Args:
        reader: Gives the source's reader.
        refused: Why the sink takes none; then they are not asked for.

    Attributes:
        name: The object's.
        has_tags: Some were told, and were sent.
        missing: Why the object went without those that it has; None if it did not.
    """

    def __init__(self, reader: Callable[[], Reader], refused: DataFerryError | None) -> None:
        self._reader = reader
        self._refused = refused
        self.name = ""
        self.has_tags = False
        self.missing: DataFerryError | None = None

    def attributes(self, info: ObjectInfo) -> Attributes:
        """Return an object's attributes with its tags, if they are to be had; may be called again."""
        self.name, self.has_tags = info.name, False
        self.missing = self._refused if info.tag_count else None
        reader = self._reader()
        if not info.tag_count or self._refused is not None or not isinstance(reader, TagReader):
            return _plain(info)
        try:
            tags = reader.tags(info)
        except CredentialsExpiredError:
            raise
        except REFUSALS as error:
            self.missing = error
            return _plain(info)
        self.has_tags = bool(tags)
        return replace(_plain(info), tags=tags)


def _plain(info: ObjectInfo) -> Attributes:
    return info.attributes or Attributes()
