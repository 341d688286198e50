"""One copy at a time writes to a place, to a part of it, or to what it is a part of (rule 9).

Two copies from different sources have different ledgers; at the destination they would overwrite each other's
objects, and one could take the other's open uploads for lost ones.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from dataferry.domain.errors import ConfigError, ConflictError

_OFFSETS = 2**62


class PlaceLock:
    """A lock on a place among the copies of this account; it ends with the process, however that ends.

    One file serves all places: each has a byte of its own in it, far beyond its end. The place's own byte is
    locked for us alone, and those of the places around it are shared with copies to other parts of them.
    The locks are the process's, so there is at most one ``PlaceLock`` of a file in it.

    Args:
        path: The file; made if absent, with mode 0600.
        identity: Of the place, with ``/`` between its parts.
        refusal: What to tell whoever comes second.
    """

    def __init__(self, path: Path, identity: str, *, refusal: str) -> None:
        self._path = path
        self._parts = identity.rstrip("/").split("/")
        self._refusal = refusal
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        """Take the lock, or refuse at once.

        Raises:
            ConflictError: Another process writes there.
            ConfigError: The file can't be made.
        """
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"{self._path} can't be made: {error.strerror}") from error
        try:
            for count in range(1, len(self._parts) + 1):
                kind = fcntl.LOCK_EX if count == len(self._parts) else fcntl.LOCK_SH
                place = "/".join(self._parts[:count])
                fcntl.lockf(self._descriptor, kind | fcntl.LOCK_NB, 1, _offset(place))
        except OSError:
            self.__exit__(None, None, None)
            raise ConflictError(self._refusal) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _offset(place: str) -> int:
    """The byte of a place."""
    return int.from_bytes(hashlib.sha256(place.encode()).digest()[:8], "big") % _OFFSETS
