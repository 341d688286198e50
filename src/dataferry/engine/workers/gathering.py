"""Gathering: while only small objects are sent, the threads that send them share one processor.

Python runs one thread at a time, so they need no second one. With two processors free the system spreads them
all the same, and each request then wakes a thread on the other one, which waits there for the interpreter:
the same objects cost twice the processor time. Large objects are sent without the interpreter and take what
there is, so for them the threads are let loose.

What to do is decided by a pure function from what was seen in the last interval; Linux alone can be told.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from dataferry.domain.clock import Clock
from dataferry.engine.attempt.progress import Tally

# On the average: from about a MiB on, two processors send objects faster than one.
SMALL_BYTES = 256 * 1024
# Objects from which on it is worth a word before anything is seen; fewer are soon sent.
MANY = 64
# Of one processor, in use by the threads: below, they wait for the network and not for each other.
WORTH = 0.5
# Together on one processor, threads that have enough to do use all of it. If they use less than this, and
# wait for it for more than that, others have it.
CROWDED_OUT = 0.75
WAITED = 0.25
CROWDED_OFTEN = 4
# Observations before another try, after others had the processor; doubled each time.
FIRST_PATIENCE = 40
MAX_PATIENCE = 4_096
TASKS = Path("/proc/self/task")


class _Home:
    """The processor of all gathered threads of this process: they share one interpreter. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._users = 0
        self._processor: int | None = None
        self._running: dict[object, float] = {}

    def enter(self, thread: int) -> None:
        """Begin to use it; the first to come chooses the one that its ``thread`` runs on."""
        with self._lock:
            if not self._users:
                self._processor = _processor(thread)
            self._users += 1

    def leave(self) -> None:
        """End using it."""
        with self._lock:
            self._users -= 1

    @property
    def processor(self) -> int | None:
        """Which; None if the system does not tell."""
        return self._processor

    def ran(self, attempt: object, processors: float) -> float:
        """Take in how much an attempt's threads ran; return how much those of all together."""
        with self._lock:
            self._running[attempt] = processors
            return sum(self._running.values())

    def forget(self, attempt: object) -> None:
        """Count an attempt no more: it sends larger objects, or has ended."""
        with self._lock:
            self._running.pop(attempt, None)


_home = _Home()


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the threads did in an interval.

    Attributes:
        is_small: Only small objects were sent.
        ran: Processors that the threads used, on the average, with those of other attempts of this process
            that send small objects: they share the interpreter.
        waited: Threads that could have run and waited for a processor, on the average.
    """

    is_small: bool
    ran: float = 0.0
    waited: float = 0.0

    @property
    def is_crowded_out(self) -> bool:
        """True if threads on one processor share it with somebody else."""
        return self.ran < CROWDED_OUT and self.waited > WAITED


# No object ended: that tells nothing.
QUIET = Load(is_small=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the threads stand.

    Attributes:
        together: On one processor.
        crowded: How many observations in a row others had it.
        rest: Observations until another try.
        patience: The next ``rest``.
    """

    together: bool = False
    crowded: int = 0
    rest: int = 0
    patience: int = FIRST_PATIENCE


def decided(standing: Standing, seen: Load) -> tuple[Standing, str | None]:
    """Decide about the next interval.

    Returns:
        The next state, and one sentence why, if the threads are to be gathered or let loose.
    """
    if not standing.together:
        rested = replace(standing, rest=max(0, standing.rest - 1))
        if not seen.is_small or seen.ran < WORTH or standing.rest:
            return rested, None
        return (
            replace(rested, together=True, crowded=0),
            "threads share one processor: small objects keep the interpreter busy",
        )
    if not seen.is_small:
        return replace(standing, together=False), "threads use all processors: larger objects have come"
    if not seen.is_crowded_out:
        return replace(standing, crowded=0), None
    if standing.crowded + 1 < CROWDED_OFTEN:
        return replace(standing, crowded=standing.crowded + 1), None
    return (
        Standing(rest=standing.patience, patience=min(MAX_PATIENCE, 2 * standing.patience)),
        "threads use all processors: the one that they shared is in use by others",
    )


class Gathering:
    """Gathers an attempt's threads, and lets them loose. Thread-safe.

    Args:
        tally: Says what was sent.
        clock: Measures intervals.
        threads: Returns the system's numbers of the threads that there are now.
        noted: Told why, at each change.
    """

    def __init__(
        self, tally: Tally, clock: Clock, threads: Callable[[], Iterable[int]], noted: Callable[[str], None]
    ) -> None:
        self._tally = tally
        self._clock = clock
        self._threads = threads
        self._noted = noted
        self._standing = Standing()
        self._everywhere = usable()
        self._together: set[int] = set()
        self._seen_at = clock.monotonic()
        self._sent = self._counts()
        self._times: dict[int, tuple[int, int]] = {}
        self._lock = Lock()

    def expect(self, sizes_bytes: Sequence[int | None]) -> None:
        """Called with the first objects to be sent: if all are small, gather before anything is seen.

        Who waits for the network loses nothing by it.
        """
        are_small = all(size is not None and size <= SMALL_BYTES for size in sizes_bytes)
        threads = self._placeable()
        if threads and are_small and len(sizes_bytes) >= MANY:
            reason = "threads share one processor: small objects are to come"
            with self._lock:
                self._change(threads, Standing(together=True), reason)

    def watch(self) -> None:
        """Called at each tick: look, and gather or let loose."""
        threads = self._placeable()
        if threads:
            with self._lock:
                self._change(threads, *decided(self._standing, self._load(threads)))

    def _placeable(self) -> tuple[int, ...]:
        """Return the threads; none where there is nowhere else to put them."""
        return tuple(self._threads()) if len(self._everywhere) > 1 else ()

    def _change(self, threads: Sequence[int], standing: Standing, reason: str | None) -> None:
        """Be as decided, and say why."""
        self._standing = standing
        if reason is not None:
            self._noted(reason)
        if self._standing.together:
            self._gather(threads)
        else:
            self._let_loose()

    def close(self) -> None:
        """Let all threads loose, for good."""
        with self._lock:
            self._let_loose()
            _home.forget(self)

    def _let_loose(self) -> None:
        """Let those loose that are still there: the number of one that has ended may be another's now."""
        if not self._together:
            return
        _home.leave()
        for thread in self._together.intersection(self._threads()):
            _place(thread, self._everywhere)
        self._together.clear()

    def _gather(self, threads: Sequence[int]) -> None:
        """Place all threads: some are new, and the ledger's writer another attempt may have let loose."""
        if not self._together:
            _home.enter(threads[0])
        self._together.update(threads)
        if _home.processor in self._everywhere:
            for thread in threads:
                _place(thread, {_home.processor})

    def _load(self, threads: Iterable[int]) -> Load:
        """Measure what was done since the last look."""
        now = self._clock.monotonic()
        seconds, self._seen_at = max(1e-9, now - self._seen_at), now
        before, self._sent = self._sent, self._counts()
        objects, moved = (after - was for after, was in zip(self._sent, before, strict=True))
        if moved > max(1, objects) * SMALL_BYTES:
            self._times = {}
            _home.forget(self)
            return Load(is_small=False)
        known, self._times = self._times, {thread: _times(thread) for thread in threads}
        ran = waited = 0
        for thread, (ran_now, waited_now) in self._times.items():
            ran_before, waited_before = known.get(thread, (ran_now, waited_now))
            ran, waited = ran + ran_now - ran_before, waited + waited_now - waited_before
        together = _home.ran(self, ran / 1e9 / seconds)
        if not objects:
            return QUIET
        return Load(is_small=True, ran=together, waited=waited / 1e9 / seconds)

    def _counts(self) -> tuple[int, int]:
        """Return how many objects ended, and bytes moved."""
        return sum(meter.done for meter in self._tally.meters), self._tally.bytes_moved


def usable() -> frozenset[int]:
    """Return the processors that this thread may use; one, of any number, where the system does not tell."""
    if not hasattr(os, "sched_getaffinity"):
        return frozenset({0})
    return frozenset(os.sched_getaffinity(0))


def _place(thread: int, processors: Iterable[int]) -> None:
    """Say where a thread may run, unless it is gone, or the system forbids it."""
    with contextlib.suppress(OSError):
        os.sched_setaffinity(thread, processors)


def _processor(thread: int) -> int | None:
    """Return the processor that a thread ran on last. Source: proc(5), "/proc/pid/stat", field 39."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((TASKS / str(thread) / "stat").read_text().rpartition(")")[2].split()[36])
    return None


def _times(thread: int) -> tuple[int, int]:
    """Return how long a thread ran and waited for a processor, ns. Source: Linux, "scheduler statistics"."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        ran, waited = (TASKS / str(thread) / "schedstat").read_text().split()[:2]
        return int(ran), int(waited)
    return 0, 0
