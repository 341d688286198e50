"""A thread that does one thing again and again until its owner closes it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

from dataferry.domain.errors import DatabaseUnavailableError
from dataferry.telemetry.logs import get_logger

_log = get_logger("flows.periodic")


class Periodic:
    """Owns a thread that calls ``tick`` every ``interval_s`` seconds, or sooner when woken.

    Args:
        name: Of the thread.
        tick: What to do; what it raises is logged, and the next tick comes all the same. That the database is
            away is logged once.
        interval_s: Seconds between two, or who says how many it is to be this time.
    """

    def __init__(
        self, name: str, tick: Callable[[], object], interval_s: float | Callable[[], float]
    ) -> None:
        self._name = name
        self._tick = tick
        self._interval_s = interval_s if callable(interval_s) else lambda: interval_s
        self._wake = Event()
        self._closed = Event()
        self._thread: Thread | None = None
        self._database_away = False

    def start(self) -> None:
        """Start the thread; the first tick is at once."""
        self._thread = Thread(target=self._loop, name=self._name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Have the next tick now. Any thread."""
        self._wake.set()

    def _loop(self) -> None:
        while not self._closed.is_set():
            self._wake.clear()
            try:
                self._tick()
                if self._database_away:
                    self._database_away = False
                    _log.info("the database answers again", thread=self._name)
            except DatabaseUnavailableError as exc:
                if not self._database_away:
                    self._database_away = True
                    _log.warning("waiting for the database", thread=self._name, error=str(exc))
            except Exception:  # noqa: BLE001 - a thread's boundary: one bad tick must not end all later ones
                _log.exception("tick failed", thread=self._name)
            if not self._closed.is_set():
                self._wake.wait(self._interval_s())

    def close(self, timeout_s: float = 30.0) -> None:
        """End the loop and join the thread; safe to repeat."""
        self._closed.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
