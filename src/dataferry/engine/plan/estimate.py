"""How many requests a plan will take, and how long they take at least: pure functions of the plan.

What is counted are the calls that the engine makes of a source and a sink; over HTTP each is one request,
and files need none. An object of unknown length counts as one that is sent whole. Retries, tags and what a
tuner finds out are not foreseen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from dataferry.domain.ledger import ObjectRow
from dataferry.domain.objects import Capability
from dataferry.engine.attempt.course import Course
from dataferry.engine.plan.planning import FIRST_PAGE_OBJECTS, PAGE_OBJECTS
from dataferry.engine.transfer import Overwrite

LISTED_AT_ONCE = PAGE_OBJECTS
# A look-up of many names is answered by a listing of their range, and a request for the first of them.
RANGE_REQUESTS = 2
# A rate to compare with, where nothing is known of the link.
REFERENCE_BYTES_PER_S = 100 * 1024 * 1024


@dataclass(slots=True, kw_only=True)
class Requests:
    """Counts by end and by what is asked.

    Attributes:
        source: ``check``, ``list``, ``look`` and ``read``.
        destination: ``check``, ``look``, ``write`` (whole objects), ``create``, ``part``, ``complete``,
            ``list_parts`` and ``read`` (back); ``copy`` and ``copy_part`` where the store copies by itself.
        looked_up: Names that are asked for at the destination, in ranges if it can.
        objects_in_parts, parts: Of what is still to move.
        bytes_by_copy: Of what is still to move, those that do not pass here.
    """

    source: dict[str, int] = field(default_factory=dict)
    destination: dict[str, int] = field(default_factory=dict)
    looked_up: int = 0
    objects_in_parts: int = 0
    parts: int = 0
    bytes_by_copy: int = 0

    def plan(self, course: Course, *, listed: int | None, looked_up: int) -> None:
        """Add what making the plan takes.

        Args:
            course: The attempt.
            listed: Objects of the listing, whether patterns selected them or not; None if the plan is there.
            looked_up: Names asked for at the destination.
        """
        _add(self.source, "check", 1)
        _add(self.destination, "check", 1)
        if listed is not None:
            _add(self.source, "list", max(1, -(-listed // LISTED_AT_ONCE)))
        self.looked_up += looked_up
        _add(self.destination, "look", min(looked_up, self._in_ranges()))
        if course.transfer.manifest:
            _add(self.source, "list", 1)
            _add(self.destination, "write", 1)

    def move(self, course: Course, row: ObjectRow) -> None:
        """Add what moving one object takes."""
        source = course.transfer.source.capabilities
        if Capability.VALIDATORS in source and row.source.validator is None:
            _add(self.source, "look", 1)
        if course.copies_whole(row):
            _add(self.destination, "copy", 1)
            self.bytes_by_copy += row.source.size_bytes or 0
            return
        if course.transfer.overwrite is Overwrite.NEVER:
            _add(self.destination, "look", 1)
        if row.source.size_bytes is None or not course.is_big(row):
            _add(self.source, "read", 1)
            _add(self.destination, "write", 1)
            _add(self.destination, "read", int(course.reads_back))
            return
        self._parts(course, row, resumable={Capability.RANGES, Capability.VALIDATORS} <= source)

    def _parts(self, course: Course, row: ObjectRow, *, resumable: bool) -> None:
        size = row.source.size_bytes or 0
        all_parts = -(-size // (row.part_size_bytes or course.part_size_bytes(size)))
        sent = 0
        if row.upload is not None and resumable:
            sent = len(course.ledger.parts(course.transfer.id, row.ordinal))
            _add(self.destination, "list_parts", 1)
        else:
            _add(self.destination, "create", 1)
        _add(self.source, "look", int(resumable))
        if course.route.is_copying and resumable:
            _add(self.source, "look", 1)  # again, before it becomes visible, and so are its parts
            _add(self.destination, "list_parts", 1)
            _add(self.destination, "copy_part", all_parts - sent)
            self.bytes_by_copy += size - sent * (row.part_size_bytes or 0)
        else:
            _add(self.source, "read", all_parts - sent if resumable else 1)
            _add(self.destination, "part", all_parts - sent)
        _add(self.destination, "complete", 1)
        _add(self.destination, "look", 1)  # completion does not say the size
        _add(self.destination, "read", all_parts if course.reads_back else 0)
        self.objects_in_parts += 1
        self.parts += all_parts - sent

    @property
    def least(self) -> int:
        """All of them, if every look-up is answered as a range."""
        return sum(self.source.values()) + sum(self.destination.values())

    @property
    def most(self) -> int:
        """All of them, if every name is looked up by itself."""
        return self.least + max(0, self.looked_up - self._in_ranges())

    def as_json(self) -> dict[str, Any]:
        """Return what programs are shown."""
        return {
            "source": self.source,
            "destination": self.destination,
            "least": self.least,
            "most": self.most,
        }

    def _in_ranges(self) -> int:
        """Requests for the names of the plan's pages, a range each."""
        beyond_first = max(0, self.looked_up - FIRST_PAGE_OBJECTS)
        return RANGE_REQUESTS * (1 + -(-beyond_first // PAGE_OBJECTS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """How long a transfer takes at least, and what that is said from.

    Attributes:
        source_latency_s, destination_latency_s: Of one request, measured now, without a byte of an object.
        workers: How many may wait for replies at once.
        bandwidth_bytes_per_s: The bound that is set; None is none.
        windows: Bounds that hold for a while only, or let nothing through, as they are now.
        opens_in_s: Until a byte may flow; infinite if never.
    """

    requests: Requests
    bytes_to_move: int
    source_latency_s: float
    destination_latency_s: float
    workers: int
    bandwidth_bytes_per_s: int | None
    windows: tuple[str, ...] = ()
    opens_in_s: float = 0.0

    @property
    def least_s(self) -> float:
        """By the latency of the requests, the bound on bandwidth and what is shut; the link may be slower."""
        waiting = (
            sum(self.requests.source.values()) * self.source_latency_s
            + sum(self.requests.destination.values()) * self.destination_latency_s
        )
        bound = self.bandwidth_bytes_per_s
        return max(waiting / self.workers, self._flowing_s(bound or math.inf))

    @property
    def at_reference_s(self) -> float:
        """The same at 100 MiB/s."""
        return max(self.least_s, self._flowing_s(REFERENCE_BYTES_PER_S))

    def _flowing_s(self, bytes_per_s: float) -> float:
        """Until the last byte has passed, at a rate."""
        return self.opens_in_s + self.bytes_to_move / bytes_per_s if self.bytes_to_move else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return what programs are shown."""
        return {
            "least_s": _finite(self.least_s),
            "at_100_mib_per_s_s": _finite(self.at_reference_s),
            "latency_s": {
                "source": round(self.source_latency_s, 6),
                "destination": round(self.destination_latency_s, 6),
            },
            "workers": self.workers,
            "bandwidth_bytes_per_s": self.bandwidth_bytes_per_s,
            "windows": list(self.windows),
        }


def _finite(seconds: float) -> float | None:
    return round(seconds, 3) if math.isfinite(seconds) else None


def _add(counts: dict[str, int], what: str, count: int) -> None:
    if count:
        counts[what] = counts.get(what, 0) + count
