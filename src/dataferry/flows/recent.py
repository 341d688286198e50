"""What was found a moment ago: requests of one flow come by the hundred, and its places seldom change."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

# What the operator changes holds for requests within this time.
KEPT_S = 1.0
MOST = 1000
T = TypeVar("T")


class Recent(Generic[T]):
    """Keeps what was found for a second. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: dict[Hashable, tuple[float, T]] = {}

    def get(self, key: Hashable) -> T | None:
        """Return what was found for a key a moment ago."""
        with self._lock:
            kept = self._kept.get(key)
        return kept[1] if kept is not None and time.monotonic() - kept[0] < KEPT_S else None

    def of(self, key: Hashable, find: Callable[[], T]) -> T:
        """Return what was found for a key, or find it; what can't be found is looked for again."""
        kept = self.get(key)
        if kept is not None:
            return kept
        now, found = time.monotonic(), find()
        with self._lock:
            if len(self._kept) >= MOST:
                self._kept.clear()
            self._kept[key] = (now, found)
        return found
