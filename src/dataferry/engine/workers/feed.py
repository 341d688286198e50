"""The feed: a bounded number of objects and parts, handed out so that neither size starves the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition, RLock

from dataferry.domain.errors import DataFerryError
from dataferry.domain.ledger import ObjectRow
from dataferry.domain.objects import PartPlan
from dataferry.engine.objects.work import BigObject, MultipartObject, Part, WholeObject, Work


class Feed:
    """What workers take from; ``offer`` fills it, ``close`` says that nothing more comes.

    Args:
        workers: How many may take; ``allow`` changes it.
        is_big: Whether an object goes in parts.
        capacity: Objects held; the ledger keeps the rest.
    """

    def __init__(self, workers: int, is_big: Callable[[ObjectRow], bool], capacity: int = 1000) -> None:
        self._workers = workers
        self._is_big = is_big
        self._capacity = capacity
        lock = RLock()
        self._work_ready = Condition(lock)
        self._hungry = Condition(lock)
        self._small: deque[ObjectRow] = deque()
        self._big: deque[BigObject] = deque()
        self._open: deque[MultipartObject] = deque()
        self._opening = 0
        self._busy_small = 0
        self._busy_big = 0
        self._closed = False
        self._ended = False

    @property
    def busy(self) -> int:
        """How many workers are at work."""
        return self._busy_small + self._busy_big

    @property
    def _max_open(self) -> int:
        """Enough that parts of several objects mix, few enough that uploads do not lie open for long."""
        return self._workers // 2 + 1

    def allow(self, workers: int) -> None:
        """Let workers of numbers from 1 to ``workers`` take; those above rest once they ask again."""
        with self._work_ready:
            self._workers = workers
            self._work_ready.notify_all()

    def is_resting(self, number: int) -> bool:
        """True if a worker may not take now."""
        return number > self._workers

    def offer(self, rows: Sequence[ObjectRow]) -> None:
        """Add objects to move."""
        with self._work_ready:
            for row in rows:
                if self._is_big(row):
                    self._big.append(BigObject(row))
                else:
                    self._small.append(row)
            self._work_ready.notify_all()

    def wait_for_room(self, timeout_s: float) -> bool:
        """Return True once less than half the capacity is held, False after ``timeout_s`` or at the end."""
        with self._hungry:
            if not self._has_room():
                self._hungry.wait(timeout_s)
            return self._has_room() and not self._ended

    def close(self) -> None:
        """Nothing more comes: workers end when all is done."""
        with self._work_ready:
            self._closed = True
            self._work_ready.notify_all()

    def end(self) -> None:
        """Workers end now."""
        with self._work_ready:
            self._ended = True
            self._work_ready.notify_all()
            self._hungry.notify_all()

    def take(self, number: int) -> Work | None:
        """Wait for work for the worker of that number; None when there is no more."""
        with self._work_ready:
            while True:
                if self._ended:
                    return None
                work = None if self.is_resting(number) else self._next()
                if work is not None:
                    return work
                if self._is_exhausted():
                    self._work_ready.notify_all()
                    return None
                self._work_ready.wait()

    def poll(self, number: int) -> Work | None:
        """Take work for the worker of that number if there is some now."""
        with self._work_ready:
            return None if self._ended or self.is_resting(number) else self._next()

    def more_small(self, most: int, most_bytes: int, suits: Callable[[ObjectRow], bool]) -> list[ObjectRow]:
        """Take small objects beside a ``WholeObject`` that was taken; its ``done`` gives all of them back.

        Args:
            most: Of them; never more than this worker's share of what is there.
            most_bytes: Together.
            suits: Says which may be taken; the first that does not ends it.
        """
        taken: list[ObjectRow] = []
        with self._work_ready:
            most = 0 if self._ended else min(most, len(self._small) // self._workers)
            while len(taken) < most and suits(self._small[0]):
                most_bytes -= self._small[0].source.size_bytes or 0
                if most_bytes < 0:
                    break
                taken.append(self._small.popleft())
            if self._has_room():
                self._hungry.notify_all()
        return taken

    def done(self, work: Work) -> None:
        """Give back a ``WholeObject`` or ``BigObject`` that has ended, or could not be begun."""
        with self._work_ready:
            if isinstance(work, WholeObject):
                self._busy_small -= 1
            else:
                self._opening -= 1
                self._busy_big -= 1
            self._wake_waiting()

    def opened(self, owner: MultipartObject) -> bool:
        """Let the parts of an object be taken; True if there are none, so that the caller settles it.

        The ``BigObject`` counts as done with this; the object stays open until ``settled``.
        """
        with self._work_ready:
            self._opening -= 1
            self._busy_big -= 1
            self._open.append(owner)
            self._work_ready.notify_all()
            if owner.todo:
                return False
            owner.in_flight += 1
            self._busy_big += 1
            return True

    def part_done(self, part: Part, error: DataFerryError | None) -> bool:
        """Give a part back; True if it was the object's last, so that the caller settles it now."""
        owner = part.owner
        with self._work_ready:
            if error is not None:
                owner.error = owner.error or error
                owner.todo.clear()
            if owner.in_flight > 1 or owner.todo:
                owner.in_flight -= 1
                self._busy_big -= 1
                return False
            return True

    def reopened(self, owner: MultipartObject, parts: Sequence[PartPlan]) -> bool:
        """Let the parts of an object that is visible be taken, to read them back; True if there are none."""
        with self._work_ready:
            owner.todo.extend(parts)
            if not owner.todo:
                return True
            owner.in_flight -= 1
            self._busy_big -= 1
            self._work_ready.notify_all()
            return False

    def settled(self, owner: MultipartObject, again: BigObject | None = None) -> None:
        """The object has ended, or is to be begun ``again``."""
        with self._work_ready:
            owner.in_flight -= 1
            self._busy_big -= 1
            self._open.remove(owner)
            if again is not None:
                self._big.append(again)
            self._work_ready.notify_all()
            self._hungry.notify_all()

    def again(self, work: BigObject) -> None:
        """Put an object back to be begun again."""
        with self._work_ready:
            self._big.append(work)
            self._work_ready.notify_all()

    def _next(self) -> Work | None:
        """Choose: the kind with fewer workers on it goes first, so that neither waits for the other."""
        big_first = self._busy_big <= self._busy_small
        work = (
            (self._next_big() or self._next_small())
            if big_first
            else (self._next_small() or self._next_big())
        )
        if self._has_room():
            self._hungry.notify_all()
        return work

    def _next_small(self) -> Work | None:
        if not self._small:
            return None
        self._busy_small += 1
        return WholeObject(self._small.popleft())

    def _next_big(self) -> Work | None:
        waiting = sum(len(owner.todo) for owner in self._open)
        may_open = bool(self._big) and len(self._open) + self._opening < self._max_open
        if may_open and waiting < self._workers:
            self._busy_big += 1
            self._opening += 1
            return self._big.popleft()
        for _ in range(len(self._open)):
            owner = self._open[0]
            self._open.rotate(-1)
            if owner.todo:
                self._busy_big += 1
                owner.in_flight += 1
                return Part(owner, owner.todo.popleft())
        return None

    def _has_room(self) -> bool:
        return len(self._small) + len(self._big) < self._capacity // 2

    def _is_exhausted(self) -> bool:
        idle = not (self._busy_small or self._busy_big or self._opening)
        return self._closed and idle and not (self._small or self._big or self._open)

    def _wake_waiting(self) -> None:
        if self._closed and self._is_exhausted():
            self._work_ready.notify_all()
        elif self._big:
            self._work_ready.notify()
