"""One of each: a lock that lives as long as the process, so that two never do the same work."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from dataferry.domain.errors import ConfigError, ConflictError


class FileLock:
    """An advisory lock on a file; the system frees it when the process ends, however it ends.

    Args:
        path: The file; made if absent, with mode 0600.
        refusal: What to tell whoever comes second.
    """

    def __init__(self, path: Path, *, refusal: str) -> None:
        self._path = path
        self._refusal = refusal
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock, or refuse at once.

        Raises:
            ConflictError: Another process has it.
            ConfigError: The file can't be made.
        """
        while self._descriptor is None:
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise ConfigError(f"{self._path} can't be made: {error.strerror}") from error
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                raise ConflictError(self._refusal) from None
            if self._is_current(descriptor):
                self._descriptor = descriptor
            else:
                os.close(descriptor)  # its last owner removed the file between our two calls

    def release(self, *, remove: bool = False) -> None:
        """Give it back; ``remove`` the file too, while it is still ours."""
        if self._descriptor is None:
            return
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None

    def _is_current(self, descriptor: int) -> bool:
        """True if the path still names the file that we locked."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        ours = os.fstat(descriptor)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
