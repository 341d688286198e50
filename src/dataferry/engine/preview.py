"""What an attempt would do: the plan is written, and no byte is read or sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from dataferry.domain.clock import Clock, SystemClock
from dataferry.domain.ledger import Ledger, ObjectRow, ObjectState
from dataferry.domain.objects import Capability
from dataferry.engine.manifest import refuse_collision
from dataferry.engine.planning import UNPLACEABLE, Planner
from dataferry.engine.run import STRATEGY, course_of, refuse_collisions
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import Observer, Transfer

PAGE_OBJECTS = 500
MAX_NAMES = 20


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
    strategy: str = STRATEGY

    def count_skipped(self, reason: str) -> None:
        """Count an object that need not be moved."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


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
    found = Preview(
        objects=totals.objects_total,
        bytes=totals.bytes_total,
        left_out=None if was_planned else course.tally.left_out,
        bytes_to_move=max(0, totals.bytes_total - totals.bytes_done),
        objects_of_unknown_length=totals.objects_unsized,
    )
    for row in _rows(ledger, transfer.id):
        if row.state is ObjectState.SKIPPED:
            found.count_skipped(row.error or "it is there")
        elif row.state is ObjectState.DONE:
            found.count_skipped("an earlier run of this copy brought it")
        else:
            found.objects_to_move += 1
            names = found.refused if row.target_key.startswith(UNPLACEABLE) else found.names
            if len(names) < MAX_NAMES:
                names.append(row.source.name)
    return found


def _rows(ledger: Ledger, transfer_id: str) -> Iterator[ObjectRow]:
    after = 0
    while rows := ledger.objects(transfer_id, after_ordinal=after, limit=PAGE_OBJECTS):
        yield from rows
        after = rows[-1].ordinal
