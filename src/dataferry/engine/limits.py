"""Bounds that all workers of an attempt share: bandwidth, and the pause that a throttling store asks for."""

from __future__ import annotations

from threading import Lock

from dataferry.domain.clock import Clock
from dataferry.domain.errors import StoppedError
from dataferry.engine.stop import Stop

MAX_PIECE_BYTES = 256 * 1024
MIN_PIECE_BYTES = 4 * 1024
# A piece is at most a twentieth of a second's bytes, so that the flow is smooth also where the bound is low.
PIECES_PER_SECOND = 20
# What an idle moment may be made up for with; more would be a burst.
CREDIT_S = 0.05


class Bandwidth:
    """A token bucket: each piece takes its place in a queue of time.

    Args:
        bytes_per_s: All workers together.
        clock: For monotonic time.
        stop: Ends every wait.
    """

    def __init__(self, bytes_per_s: int, clock: Clock, stop: Stop) -> None:
        self._rate = bytes_per_s
        self._clock = clock
        self._stop = stop
        self._lock = Lock()
        self._free_at = clock.monotonic()
        self.piece_bytes = max(MIN_PIECE_BYTES, min(MAX_PIECE_BYTES, bytes_per_s // PIECES_PER_SECOND))

    def take(self, count_bytes: int) -> None:
        """Wait until ``count_bytes`` more may flow.

        Raises:
            StoppedError: We were told to stop while waiting.
        """
        with self._lock:
            now = self._clock.monotonic()
            turn = max(self._free_at, now - CREDIT_S)
            self._free_at = turn + count_bytes / self._rate
        if turn > now and self._stop.wait(turn - now):
            raise StoppedError("stopped while waiting for bandwidth")


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
