"""The pause that a throttling store asks for: all workers of an attempt share it."""

from __future__ import annotations

from dataferry.domain.clock import Clock
from dataferry.domain.errors import StoppedError
from dataferry.engine.stop import Stop


class Pause:
    """A moment before which no worker begins a request: one throttled worker slows all of them down."""

    def __init__(self, clock: Clock, stop: Stop) -> None:
        self._clock = clock
        self._stop = stop
        self._until = 0.0

    def extend(self, duration_s: float) -> None:
        """Pause everybody for ``duration_s`` from now, or longer if they pause already."""
        self._until = max(self._until, self._clock.monotonic() + duration_s)

    def wait(self) -> None:
        """Return when the pause is over.

        Raises:
            StoppedError: We were told to stop while waiting.
        """
        while (left := self._until - self._clock.monotonic()) > 0:
            if self._stop.wait(left):
                raise StoppedError("stopped while the store asked us to slow down")
