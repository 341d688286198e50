"""Bandwidth that any number of transfers share: each its fair part, whatever its number of threads.

Who wants to send asks every bound that applies, in turn, and waits in none while it keeps something of
another: what was taken is spent. Nothing is booked ahead, so that a bound that changes holds at once.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event, Lock
from weakref import WeakValueDictionary

from dataferry.domain.clock import Clock
from dataferry.domain.errors import DataFerryError, StoppedError
from dataferry.domain.schedule import Schedule
from dataferry.engine.rates.bucket import MAX_PIECE_BYTES, RECHECK_S, Bucket, piece_of
from dataferry.engine.stop import Stop

# A body waits for a window that opens within this time; for a later one connections would be lost anyway.
HOLD_S = 10.0
# Who waits without a thread looks again after this long at most: others queue behind it.
LOOK_S = 0.05
SOON_S = 0.001


class WindowClosedError(DataFerryError):
    """Nothing may flow now, and not soon: no request should lie open until then."""

    def __init__(self, message: str, *, opens_in_s: float | None) -> None:
        super().__init__(message)
        self.opens_in_s = opens_in_s


@dataclass(order=True, slots=True)
class Waiter:
    """One thread that waits; the order is that in which they are served."""

    turn: float
    number: int
    share: Share = field(compare=False)
    count_bytes: int = field(compare=False)
    granted_bytes: int = field(default=0, compare=False)
    woken: Event = field(default_factory=Event, compare=False)


class Bandwidth:
    """One bound, shared by any number of transfers.

    Turns are those of start-time fair queueing: a transfer's next piece comes in as many bytes as it has had
    more than the one that had least, so that of two transfers each has half, with one thread or with eight.

    Args:
        name: What is bounded, for events, e.g. ``location plant-a``.
        schedule: How much.
        clock: Time.
    """

    def __init__(self, name: str, schedule: Schedule, clock: Clock) -> None:
        self.name = name
        self._lock = Lock()
        self._bucket = Bucket(schedule, clock)
        self._clock = clock
        self._queue: list[Waiter] = []
        self._numbers = itertools.count()
        self._now = 0.0
        self._had: dict[Share, float] = {}

    @property
    def piece_bytes(self) -> int:
        """The most bytes worth asking for at once."""
        rate = self._bucket.rate
        return MAX_PIECE_BYTES if rate is None else piece_of(rate)

    def reschedule(self, schedule: Schedule) -> None:
        """Have another schedule hold from now on, also for those who wait already."""
        with self._lock:
            if schedule != self._bucket.schedule:
                self._bucket = Bucket(schedule, self._clock)
                self._kick()

    def state(self) -> tuple[int | None, str | None]:
        """Return the bound now, and when it changes, e.g. ``Mon 06:00 Europe/Berlin``, if ever."""
        with self._lock:
            self._bucket.fill()
            return self._bucket.rate, self._bucket.change_text

    def told(self) -> tuple[int, str] | None:
        """Return the bound now and a sentence about it; None if there is none now."""
        rate, change = self.state()
        if rate is None:
            return None
        if not rate:
            return rate, closed(self.name, change, None).message
        until = f" until {change}" if change else ""
        return rate, f"at most {rate:,} bytes a second by {self.name}{until}"

    def opens_in_s(self) -> float | None:
        """Return in how many seconds something may flow: 0 if now, None if never."""
        with self._lock:
            self._bucket.fill()
            return self._bucket.opens_in_s()

    def shut(self) -> WindowClosedError | None:
        """Return what a transfer has to wait for, if nothing may flow now, nor soon."""
        with self._lock:
            self._bucket.fill()
            opens_in_s = self._bucket.opens_in_s()
            if opens_in_s is not None and opens_in_s <= HOLD_S:
                return None
            return closed(self.name, self._bucket.change_text, opens_in_s)

    def take(self, share: Share, count_bytes: int) -> int:
        """Wait until some of ``count_bytes`` may flow; return how many.

        Raises:
            StoppedError: The share's transfer was told to stop.
            WindowClosedError: Nothing may flow for longer than a body should wait.
        """
        waiter = None
        while True:
            with self._lock:
                waiter = waiter or self._enter(share, count_bytes)
                try:
                    self._serve(waiter)
                except BaseException:
                    self._leave(waiter)
                    raise
                if waiter.granted_bytes:
                    return waiter.granted_bytes
                first = self._queue[0] is waiter
                wait_s = self._bucket.wait_s(count_bytes) if first else None
                waiter.woken.clear()
            waiter.woken.wait(wait_s)

    def enter(self, share: Share, count_bytes: int) -> Waiter:
        """Take a place in the queue that no thread waits at: ``look`` asks, ``leave`` gives it up."""
        with self._lock:
            return self._enter(share, count_bytes)

    def look(self, waiter: Waiter) -> float | None:
        """Return None once something was granted, else after how many seconds to look again.

        Raises:
            StoppedError, WindowClosedError: As of ``take``; the place is given up.
        """
        with self._lock:
            try:
                self._serve(waiter)
            except BaseException:
                self._leave(waiter)
                raise
            if waiter.granted_bytes:
                return None
            wait_s = self._bucket.wait_s(waiter.count_bytes) if self._queue[0] is waiter else None
            return LOOK_S if wait_s is None else min(max(wait_s, SOON_S), LOOK_S)

    def leave(self, waiter: Waiter) -> None:
        """Give up a place, and what was granted there."""
        with self._lock:
            if waiter.granted_bytes:
                self._bucket.give_back(waiter.granted_bytes)
            self._leave(waiter)

    def give_back(self, count_bytes: int) -> None:
        """Return what was taken and will not be sent."""
        with self._lock:
            self._bucket.give_back(count_bytes)
            self._kick()

    def wake(self, share: Share) -> None:
        """Have a share's threads look up: it was told to stop."""
        with self._lock:
            for waiter in self._queue:
                if waiter.share is share:
                    waiter.woken.set()

    def forget(self, share: Share) -> None:
        """The share's transfer has ended."""
        with self._lock:
            self._had.pop(share, None)

    def _enter(self, share: Share, count_bytes: int) -> Waiter:
        turn = max(self._now, self._had.get(share, 0.0))
        self._had[share] = turn + count_bytes
        waiter = Waiter(turn, next(self._numbers), share, count_bytes)
        heapq.heappush(self._queue, waiter)
        return waiter

    def _serve(self, waiter: Waiter) -> None:
        """Serve whoever's turn it is, as long as there is something to have."""
        if waiter.granted_bytes:
            return
        if waiter.share.stop.is_set:
            raise StoppedError("stopped while waiting for bandwidth")
        self._bucket.fill()
        opens_in_s = self._bucket.opens_in_s()
        if opens_in_s is None or opens_in_s > HOLD_S:
            raise closed(self.name, self._bucket.change_text, opens_in_s)
        served = False
        while self._queue and (granted := self._bucket.take(self._queue[0].count_bytes)):
            first = heapq.heappop(self._queue)
            first.granted_bytes = granted
            self._now = max(self._now, first.turn)
            first.woken.set()
            served = True
        if served:
            self._kick()

    def _leave(self, waiter: Waiter) -> None:
        if waiter in self._queue:
            self._queue.remove(waiter)
            heapq.heapify(self._queue)
        self._kick()

    def _kick(self) -> None:
        """Have the first one look up: it is the one that watches the clock."""
        if self._queue:
            self._queue[0].woken.set()


class Share:
    """What one transfer has of every bound that applies to it; made by the engine for each attempt.

    Args:
        bounds: Which apply, the narrowest first.
        stop: Ends every wait.
    """

    def __init__(self, bounds: Sequence[Bandwidth], stop: Stop) -> None:
        self._bounds = tuple(bounds)
        self.stop = stop
        self._unregister = stop.on_stop(self._wake)

    @property
    def piece_bytes(self) -> int:
        """The most bytes worth asking for at once."""
        return min((bound.piece_bytes for bound in self._bounds), default=MAX_PIECE_BYTES)

    def take(self, count_bytes: int) -> int:
        """Wait until some of ``count_bytes`` may flow by every bound; return how many.

        Raises:
            StoppedError: We were told to stop.
            WindowClosedError: Nothing may flow for longer than a body should wait.
        """
        taken: list[Bandwidth] = []
        left = count_bytes
        try:
            for bound in self._bounds:
                granted = bound.take(self, left)
                for earlier in taken:
                    earlier.give_back(left - granted)
                left = granted
                taken.append(bound)
        except BaseException:
            for earlier in taken:
                earlier.give_back(left)
            raise
        return left

    @property
    def bounds(self) -> tuple[Bandwidth, ...]:
        """Which apply, the narrowest first."""
        return self._bounds

    def refuse_closed(self) -> None:
        """Return if something may flow now, or soon.

        Raises:
            WindowClosedError: Not so.
        """
        refuse_closed(self._bounds)

    def wait_open(self) -> None:
        """Return once something may flow by every bound.

        Raises:
            StoppedError: We were told to stop.
        """
        while any(bound.state()[0] == 0 for bound in self._bounds):
            if self.stop.wait(RECHECK_S):
                raise StoppedError("stopped while waiting for a bandwidth window")

    def state(self) -> tuple[bool, str] | None:
        """Tell what holds the transfer now: whether nothing may flow, and a sentence; None: nothing does."""
        told = [sentence for bound in self._bounds if (sentence := bound.told()) is not None]
        if not told:
            return None
        rate, text = min(told)
        return not rate, text

    def close(self) -> None:
        """The attempt has ended."""
        self._unregister()
        for bound in self._bounds:
            bound.forget(self)

    def _wake(self) -> None:
        for bound in self._bounds:
            bound.wake(self)


class Bandwidths:
    """The bounds of this process that transfers share, by name; one lives as long as somebody uses it.

    Args:
        clock: Time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._bounds: WeakValueDictionary[str, Bandwidth] = WeakValueDictionary()

    @property
    def names(self) -> tuple[str, ...]:
        """Those in use."""
        with self._lock:
            return tuple(self._bounds)

    def of(self, name: str, schedule: Schedule) -> tuple[Bandwidth, ...]:
        """Return the one of that name, with this schedule from now on; none if that bounds nothing."""
        with self._lock:
            bound = self._bounds.get(name)
            if bound is None:
                if schedule.is_open:
                    return ()
                bound = self._bounds[name] = Bandwidth(name, schedule, self._clock)
            bound.reschedule(schedule)
            return (bound,)


def refuse_closed(bounds: Sequence[Bandwidth]) -> None:
    """Return if something may flow by every bound now, or soon.

    Raises:
        WindowClosedError: Not so; of several the one that opens last.
    """
    shut = [error for bound in bounds if (error := bound.shut()) is not None]
    if shut:
        raise max(shut, key=lambda error: float("inf") if error.opens_in_s is None else error.opens_in_s)


def closed(name: str, change: str | None, opens_in_s: float | None) -> WindowClosedError:
    """Make the error that says what a transfer waits for."""
    until = f"until {change}" if change else "until its windows are changed"
    return WindowClosedError(f"waiting for the bandwidth window of {name} {until}", opens_in_s=opens_in_s)
