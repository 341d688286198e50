"""Small objects that one worker has sent and that are not written down yet.

A commit for each would take longer than sending it. What waits here is bounded as rule 2 has it: together
with the object in flight no more than one part, and only for a moment.
"""

from __future__ import annotations

from dataferry.domain.ledger import Finished
from dataferry.engine.attempt.course import Course

# The fence is felt at a commit, so a worker that was replaced ends within so many objects, and this time.
MAX_OBJECTS = 64
MAX_AGE_S = 0.25


class Arrivals:
    """Belongs to one worker's thread.

    Args:
        course: The attempt.
    """

    def __init__(self, course: Course) -> None:
        self._course = course
        self._waiting: list[Finished] = []
        self._bytes = 0
        self._since = 0.0

    def make_room(self, size_bytes: int) -> None:
        """Commit unless an object of that size may be in flight beside what waits.

        Raises:
            FencedError: A newer attempt owns the transfer.
        """
        if not self._waiting:
            return
        full = self._bytes + size_bytes > self._course.transfer.limits.part_size_bytes
        old = self._course.clock.monotonic() - self._since > MAX_AGE_S
        if full or old or len(self._waiting) >= MAX_OBJECTS:
            self.commit()

    def add(self, finished: Finished) -> None:
        """Remember an object that is at the destination."""
        if not self._waiting:
            self._since = self._course.clock.monotonic()
        self._waiting.append(finished)
        self._bytes += finished.size_bytes

    def commit(self) -> None:
        """Write down what waits, and return once it is committed.

        Raises:
            FencedError: A newer attempt owns the transfer.
        """
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if waiting:
            self._course.ledger.finish_many(self._course.attempt, waiting)
