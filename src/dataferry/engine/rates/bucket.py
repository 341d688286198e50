"""A token bucket whose rate follows a schedule. No threads and no waiting: see ``bandwidth`` for these."""

from __future__ import annotations

from dataferry.domain.clock import Clock
from dataferry.domain.schedule import Schedule

MAX_PIECE_BYTES = 256 * 1024
# A piece is at most a twentieth of a second's bytes, so that the flow is smooth also where the bound is low.
PIECES_PER_SECOND = 20
# What a moment too late may be made up for with, beside one piece; more would be a burst.
CREDIT_S = 0.05
# How often the time of day is looked at while waiting: windows may change, and clocks be set.
RECHECK_S = 0.5
# Sums of floats: so little of a byte is no reason to wait.
_EPSILON = 1e-6


def piece_of(rate: int) -> int:
    """Return the most bytes that are taken at once, at a rate in bytes a second."""
    return max(1, min(MAX_PIECE_BYTES, rate // PIECES_PER_SECOND))


def most_of(rate: int) -> float:
    """Return the most bytes that are kept for who comes late: these and ``rate`` a second may flow."""
    return piece_of(rate) + rate * CREDIT_S


class Bucket:
    """Bytes that may flow; not thread-safe.

    Args:
        schedule: The rate.
        clock: Monotonic time for bytes, the time of day for windows.
    """

    def __init__(self, schedule: Schedule, clock: Clock) -> None:
        self.schedule = schedule
        self._clock = clock
        self._bytes = 0.0
        self._filled_at_s = clock.monotonic()
        self._look()

    def _look(self) -> None:
        """Look at the schedule."""
        self._seen = moment = self._clock.now()
        self.rate = self.schedule.at(moment)
        self._until = self.schedule.next_change(moment)
        self.change_text = self.schedule.change_text(moment) if self.schedule.windows else None

    def fill(self) -> None:
        """Let in what has come since the last time; where the rate changed, at each for its time."""
        now_s = self._clock.monotonic()
        passed_s, self._filled_at_s = now_s - self._filled_at_s, now_s
        if not self.schedule.windows:
            self._pour(passed_s)
            return
        moment = self._clock.now()
        ended = self._until is not None and moment >= self._until
        if not ended and moment >= self._seen:
            self._seen = moment
            self._pour(passed_s)
            return
        # Either the rate changed, or the clock was set back.
        after_s = 0.0
        if ended and self._until is not None:
            after_s = min(passed_s, (moment - self._until).total_seconds())
        self._pour(passed_s - after_s)
        self._look()
        self._pour(after_s)

    def _pour(self, passed_s: float) -> None:
        rate = self.rate or 0
        self._bytes = min(most_of(rate), self._bytes + rate * passed_s)

    def take(self, count_bytes: int) -> int:
        """Take up to ``count_bytes``, no more than a piece; return how many, 0 if none may flow yet."""
        if self.rate is None:
            return count_bytes
        piece = min(count_bytes, piece_of(self.rate))
        if not self.rate or self._bytes + _EPSILON < piece:
            return 0
        self._bytes -= piece
        return piece

    def give_back(self, count_bytes: int) -> None:
        """Return what was taken and will not be sent."""
        self._bytes += count_bytes

    def wait_s(self, count_bytes: int) -> float | None:
        """Return how long until ``take`` may succeed, or is worth asking again; None if neither will be."""
        ready_s: float | None = 0.0
        if self.rate is not None:
            lacking = min(count_bytes, piece_of(self.rate)) - self._bytes
            ready_s = max(0.0, lacking / self.rate) if self.rate else None
        if not self.schedule.windows:
            return ready_s
        return RECHECK_S if ready_s is None else min(ready_s, RECHECK_S)

    def opens_in_s(self) -> float | None:
        """Return in how many seconds something may flow: 0 if now, None if never."""
        if self.rate != 0:
            return 0.0
        return None if self._until is None else max(0.0, (self._until - self._clock.now()).total_seconds())
