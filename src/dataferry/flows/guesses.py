"""How often somebody may be wrong: a bound on guessing secrets, for each caller apart.

In the memory of this process: it makes guessing slow, and the secrets' length makes it hopeless.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

from dataferry.domain.clock import Clock

MAX_KNOWN = 4096


class Guesses:
    """Counts failures: so many at once, and then one more in each interval. Thread-safe.

    Args:
        clock: Time.
        burst: Failures that are free.
        interval_s: After it, one of them is forgotten.
    """

    def __init__(self, clock: Clock, *, burst: int = 10, interval_s: float = 6.0) -> None:
        self._clock = clock
        self._burst = burst
        self._interval_s = interval_s
        self._lock = threading.Lock()
        # By caller: when all its failures will be forgotten, monotonic.
        self._until: OrderedDict[Hashable, float] = OrderedDict()

    def wait_s(self, caller: Hashable) -> float:
        """Return how long a caller has to wait before it may try again; 0 if it may now."""
        with self._lock:
            until = self._until.get(caller, 0.0)
        return max(0.0, until - self._clock.monotonic() - (self._burst - 1) * self._interval_s)

    def failed(self, caller: Hashable) -> None:
        """Note a failure."""
        now = self._clock.monotonic()
        with self._lock:
            self._until[caller] = max(now, self._until.get(caller, now)) + self._interval_s
            self._until.move_to_end(caller)
            while len(self._until) > MAX_KNOWN:
                self._until.popitem(last=False)

    def succeeded(self, caller: Hashable) -> None:
        """Forget a caller's failures."""
        with self._lock:
            self._until.pop(caller, None)
