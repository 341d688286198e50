"""Bandwidth for those who must not block: a place in every bound's queue at which no thread waits."""

from __future__ import annotations

from dataferry.engine.rates.bandwidth import Bandwidth, Share, Waiter


class Passage:
    """One piece on its way past every bound, without a thread that waits; belongs to one task.

    Args:
        share: Whose.
        count_bytes: At most.

    Attributes:
        granted_bytes: How many may flow, once ``look`` has said so.
    """

    def __init__(self, share: Share, count_bytes: int) -> None:
        self._share = share
        self._ahead: list[Bandwidth] = list(share.bounds)
        self._taken: list[Bandwidth] = []
        self._at: tuple[Bandwidth, Waiter] | None = None
        self.granted_bytes = count_bytes

    def look(self) -> float | None:
        """Return None once ``granted_bytes`` may flow, else after how many seconds to look again.

        Raises:
            StoppedError: The share's transfer was told to stop.
            WindowClosedError: Nothing may flow for longer than a body should wait.
        """
        while self._at is not None or self._ahead:
            if self._at is None:
                bound = self._ahead.pop(0)
                self._at = (bound, bound.enter(self._share, self.granted_bytes))
            bound, waiter = self._at
            try:
                wait_s = bound.look(waiter)
            except BaseException:
                self._at = None
                self.leave()
                raise
            if wait_s is not None:
                return wait_s
            for earlier in self._taken:
                earlier.give_back(self.granted_bytes - waiter.granted_bytes)
            self.granted_bytes = waiter.granted_bytes
            self._taken.append(bound)
            self._at = None
        return None

    def leave(self) -> None:
        """Give everything back: nothing will flow. Safe to repeat."""
        at, self._at, self._ahead = self._at, None, []
        if at is not None:
            at[0].leave(at[1])
        taken, self._taken = self._taken, []
        for bound in taken:
            bound.give_back(self.granted_bytes)
