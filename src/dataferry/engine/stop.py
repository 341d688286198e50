"""Stopping: a flag that also tells whoever holds a socket to let go (rule 7)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from threading import Event, Lock


class Stop:
    """A flag that is set once, from any thread.

    Who may block elsewhere than in ``wait`` registers a callback that ends the blocked call. Callbacks run
    in the thread that sets the flag, must be quick and must not raise.
    """

    def __init__(self) -> None:
        self._event = Event()
        self._lock = Lock()
        self._numbers = itertools.count()
        self._callbacks: dict[int, Callable[[], None]] = {}

    @property
    def is_set(self) -> bool:
        """True once it was set."""
        return self._event.is_set()

    def set(self) -> None:
        """Set the flag and run the callbacks; the second time does nothing."""
        with self._lock:
            if self._event.is_set():
                return
            self._event.set()
            callbacks = list(self._callbacks.values())
            self._callbacks.clear()
        for callback in callbacks:
            callback()

    def wait(self, timeout_s: float) -> bool:
        """Sleep until the flag is set or the time is over; return whether it is set."""
        return self._event.wait(timeout_s)

    def on_stop(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have ``callback`` run when the flag is set, at once if it is; return what takes it back."""
        number = next(self._numbers)
        with self._lock:
            if not self._event.is_set():
                self._callbacks[number] = callback
                return lambda: self._forget(number)
        callback()
        return lambda: None

    def _forget(self, number: int) -> None:
        with self._lock:
            self._callbacks.pop(number, None)
