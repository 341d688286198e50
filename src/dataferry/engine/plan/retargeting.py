"""A resume that brings another endpoint or bucket: what is done elsewhere is not done here (rule 5)."""

from __future__ import annotations

from dataferry.domain.errors import AddressError
from dataferry.domain.ledger import ObjectRow, rows_of
from dataferry.engine.attempt.course import Course


def retarget(course: Course) -> None:
    """Make every object pending again if the plan was made for another destination.

    The first object of the plan tells, and is changed last: a crash in between begins this again.
    """
    sink = course.transfer.sink
    first = course.ledger.objects(course.transfer.id, limit=1)
    if not first or _is_there(course, first[0]):
        return
    course.observer.noted(
        "destination_changed",
        f"the destination is {sink.identity}, it was {first[0].target_identity}: everything is moved there "
        "anew, and uploads open at the old place are handed to the clean-up",
    )
    for row in rows_of(course.ledger, course.transfer.id, after_ordinal=first[0].ordinal):
        _bring(course, row)
    _bring(course, first[0])
    course.tally.rebase(course.ledger.totals(course.transfer.id))


def _is_there(course: Course, row: ObjectRow) -> bool:
    return (row.target_key, row.target_identity) == (_key(course, row), course.transfer.sink.identity)


def _key(course: Course, row: ObjectRow) -> str:
    try:
        return course.transfer.sink.place(row.source.name, single=course.transfer.source.is_single)
    except AddressError:
        # The worker that takes it fails it, with the reason.
        return row.target_key


def _bring(course: Course, row: ObjectRow) -> None:
    if not _is_there(course, row):
        target = (_key(course, row), course.transfer.sink.identity)
        course.ledger.restart(course.attempt, row.ordinal, source=None, abandon=True, target=target)
