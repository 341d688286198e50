"""What the ledger does to objects within a transaction. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dataferry.domain.errors import ConflictError, NotFoundError
from dataferry.domain.ledger import Attempt, ObjectRow, ObjectState, PlannedObject
from dataferry.domain.objects import Verification
from dataferry.store import ledger_rows as rows
from dataferry.store import ledger_statements as sql
from dataferry.store.ledger_rows import Counts
from dataferry.store.ledger_session import LedgerSession, NotUniqueError


def refuse_same_keys(planned: Sequence[PlannedObject]) -> None:
    """Find two objects of one call that would become the same."""
    seen: set[str] = set()
    for entry in planned:
        if entry.target_key in seen:
            raise same_key(entry.target_key)
        seen.add(entry.target_key)


def same_key(key: str) -> ConflictError:
    """Return the error that names the key which two objects would share."""
    return ConflictError(f"two objects of the source would both become {key!r} at the destination")


def append(session: LedgerSession, id: str, planned: Sequence[PlannedObject]) -> None:
    """Insert objects with the ordinals that follow, in one statement run for many rows."""
    last = int(session.query(sql.LAST_ORDINAL, {"id": id})[0][0])
    values = [rows.planned_values(id, ordinal, entry) for ordinal, entry in enumerate(planned, last + 1)]
    if not values:
        return
    try:
        with session.savepoint():
            session.execute_many(sql.ADD, values)
    except NotUniqueError:
        for entry in planned:
            if session.query(sql.KNOWN_KEY, {"id": id, "key": entry.target_key}):
                raise same_key(entry.target_key) from None
        raise
    skipped = [entry for entry in planned if entry.skip_reason is not None]
    levels = [entry.skip_level for entry in skipped if entry.skip_level is not Verification.NONE]
    session.count(
        id,
        Counts(
            objects_total=len(planned),
            bytes_total=_size(planned),
            objects_skipped=len(skipped),
            bytes_done=_size(skipped),
            bytes_skipped=_size(skipped),
            objects_unsized=_unsized(planned),
        ),
        min(levels, default=None),
    )


def _size(planned: Sequence[PlannedObject]) -> int:
    """The bytes of objects, as far as their source says."""
    return sum(entry.source.size_bytes or 0 for entry in planned)


def _unsized(planned: Sequence[PlannedObject]) -> int:
    """How many objects are to be moved whose source does not say their length."""
    return sum(entry.source.size_bytes is None and entry.skip_reason is None for entry in planned)


def object_and_counts(session: LedgerSession, id: str, ordinal: int) -> tuple[ObjectRow, Counts]:
    """Return an object and what it adds to the counters now."""
    found = session.query(sql.OBJECT, {"id": id, "ordinal": ordinal})
    if not found:
        raise NotFoundError(f"transfer {id} has no object {ordinal}")
    *columns, parts_bytes = found[0]
    row = rows.object_row(columns)
    return row, Counts.of(row.state, row.source.size_bytes, int(parts_bytes))


def pending_object(session: LedgerSession, attempt: Attempt, ordinal: int) -> tuple[ObjectRow, Counts]:
    """Return an object that is still to move."""
    row, counts = object_and_counts(session, attempt.transfer_id, ordinal)
    if row.state is not ObjectState.PENDING:
        raise ConflictError(f"{row.target_key!r} is {row.state.value}, not pending")
    return row, counts


def update(session: LedgerSession, id: str, ordinal: int, **values: Any) -> None:
    """Change columns of an object; their names are ours, never a caller's."""
    columns = ", ".join(f"{name} = :{name}" for name in values)
    statement = f"UPDATE objects SET {columns} {sql.WHERE_OBJECT}"  # noqa: S608 - our own words only
    session.execute(statement, {"id": id, "ordinal": ordinal, **values})
