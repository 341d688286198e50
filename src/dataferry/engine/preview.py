"""What an attempt would do: the plan is written, and no byte is read or sent."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dataferry.domain.clock import Clock, SystemClock
from dataferry.domain.ledger import Ledger, ObjectState, rows_of
from dataferry.domain.objects import Capability
from dataferry.engine.attempt.route import STREAMING
from dataferry.engine.plan.estimate import Duration, Requests
from dataferry.engine.plan.manifest import refuse_collision
from dataferry.engine.plan.planning import UNPLACEABLE, Planner
from dataferry.engine.run import course_of, refuse_collisions
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import Observer, Overwrite, Transfer

MAX_NAMES = 20
PROBES = 3


@dataclass(slots=True, kw_only=True)
class Preview:
    """What would happen.

    Attributes:
        objects, bytes: Of the source.
        objects_to_move, bytes_to_move: Those that are not at the destination; what an attempt that was
            interrupted has sent of them is not counted again.
        objects_of_unknown_length: Of those to move; the bytes are without theirs.
        skipped: How many would be skipped, by reason.
        names: The first that would be moved.
        refused: The first whose names the destination can't have; they would fail.
        strategy, why: The route, and why it is that one.
        requests: What moving takes.
        duration: How long it takes at least.
        left_out: How many the patterns left out, of those that had to be listed; None if an earlier run made
            the list.
    """

    objects: int = 0
    bytes: int = 0
    objects_to_move: int = 0
    bytes_to_move: int = 0
    objects_of_unknown_length: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    left_out: int | None = None
    requests: Requests = field(default_factory=Requests)
    duration: Duration | None = None
    strategy: str = STREAMING
    why: str = ""

    def count_skipped(self, reason: str) -> None:
        """Count an object that need not be moved."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1

    def as_json(self) -> dict[str, Any]:
        """Return what programs are shown; its keys are a contract."""
        return {
            "state": "planned",
            "objects": self.objects,
            "bytes": self.bytes,
            "objects_to_move": self.objects_to_move,
            "bytes_to_move": self.bytes_to_move,
            "objects_of_unknown_length": self.objects_of_unknown_length,
            "skipped": self.skipped,
            "names": self.names,
            "refused": self.refused,
            "left_out": self.left_out,
            "strategy": self.strategy,
            "why": self.why,
            "objects_in_parts": self.requests.objects_in_parts,
            "parts": self.requests.parts,
            "requests": self.requests.as_json(),
            "time": None if self.duration is None else self.duration.as_json(),
        }


def preview(transfer: Transfer, ledger: Ledger, observer: Observer, clock: Clock | None = None) -> Preview:
    """Plan an attempt.

    Args:
        transfer: What to move, under which epoch.
        ledger: The plan is written into it: a copy of the real one.
        observer: Told of events.
        clock: The machine's if None.

    Raises:
        ConflictError, AddressError: Two objects would have the same key at the destination.
        DataFerryError: The source can't be listed, or the destination not be looked at.
    """
    course = course_of(transfer, ledger, observer, clock or SystemClock(), Stop())
    refuse_collision(course)
    was_planned = course.tally.plan_complete
    Planner(course).run()
    if Capability.INJECTIVE_NAMES not in transfer.sink.capabilities:
        refuse_collisions(course)
    totals = ledger.totals(transfer.id)
    tally, looks = course.tally, transfer.overwrite is not Overwrite.ALWAYS
    requests = Requests()
    requests.plan(
        course,
        listed=None if was_planned else tally.planned_objects + tally.left_out,
        looked_up=tally.planned_objects if looks else 0,
    )
    found = Preview(
        objects=totals.objects_total,
        bytes=totals.bytes_total,
        bytes_to_move=max(0, totals.bytes_total - totals.bytes_done),
        objects_of_unknown_length=totals.objects_unsized,
        left_out=None if was_planned else tally.left_out,
        requests=requests,
        strategy=course.route.strategy,
        why=course.route.why,
    )
    for row in rows_of(ledger, transfer.id):
        if row.state is ObjectState.SKIPPED:
            found.count_skipped(row.error or "it is there")
        elif row.state is ObjectState.DONE:
            found.count_skipped("an earlier run of this copy brought it")
        else:
            found.objects_to_move += 1
            is_refused = row.target_key.startswith(UNPLACEABLE)
            names = found.refused if is_refused else found.names
            if len(names) < MAX_NAMES:
                names.append(row.source.name)
            if not is_refused:
                requests.move(course, row)
    found.duration = Duration(
        requests=requests,
        bytes_to_move=max(0, found.bytes_to_move - requests.bytes_by_copy),
        source_latency_s=_latency_s(transfer.source.probe, course.clock),
        destination_latency_s=_latency_s(transfer.sink.probe, course.clock),
        workers=transfer.limits.workers,
        bandwidth_bytes_per_s=_bound(transfer),
        windows=_windows(transfer),
        opens_in_s=_opens_in_s(transfer),
    )
    return found


def _bound(transfer: Transfer) -> int | None:
    """Return the least bound on bandwidth that holds all the while; those with windows do not."""
    states = [bandwidth.state() for bandwidth in transfer.bandwidths]
    rates = [transfer.limits.bandwidth_bytes_per_s, *(rate for rate, changes in states if changes is None)]
    return min((rate for rate in rates if rate), default=None)


def _windows(transfer: Transfer) -> tuple[str, ...]:
    """Say what holds for a while only, and what lets nothing through."""
    told = []
    for bandwidth in transfer.bandwidths:
        rate, changes = bandwidth.state()
        if changes is not None or rate == 0:
            told.append(bandwidth.told())
    return tuple(sentence for _, sentence in filter(None, told))


def _opens_in_s(transfer: Transfer) -> float:
    """Return in how many seconds a byte may flow; infinite if never."""
    waits = [bandwidth.opens_in_s() for bandwidth in transfer.bandwidths]
    return max((math.inf if wait is None else wait for wait in waits), default=0.0)


def _latency_s(probe: Callable[[], None], clock: Clock) -> float:
    """Measure one request that moves no byte; the first of several may have to connect."""
    measured = []
    for _ in range(PROBES):
        began = clock.monotonic()
        probe()
        measured.append(clock.monotonic() - began)
    return min(measured)
