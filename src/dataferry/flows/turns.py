"""One at a time per process: a repeated message waits for the first one that is still being answered.

The unique constraint of the store is the authority; this only spares the work of finding out the hard way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

from dataferry.domain.errors import ConflictError


@dataclass(slots=True)
class _Turn:
    lock: Lock = field(default_factory=Lock)
    holders: int = 0


class Turns:
    """Locks by key that exist only while somebody holds or awaits them."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._turns: dict[tuple[str, ...], _Turn] = {}

    @contextmanager
    def of(self, *key: str, timeout_s: float) -> Iterator[None]:
        """Hold the turn of a key.

        Raises:
            ConflictError: Others held it for longer than ``timeout_s``.
        """
        with self._guard:
            turn = self._turns.setdefault(key, _Turn())
            turn.holders += 1
        try:
            if not turn.lock.acquire(timeout=timeout_s):
                raise ConflictError("an earlier message for this process is still being worked on")
            try:
                yield
            finally:
                turn.lock.release()
        finally:
            with self._guard:
                turn.holders -= 1
                if turn.holders == 0:
                    del self._turns[key]
