"""The ledger of what others send to us; see ``domain.ledger.ReceivingLedger``. Standard library only."""

from __future__ import annotations

from typing import Any

from dataferry.domain.errors import ConflictError
from dataferry.domain.ledger import Attempt, Finished, ObjectRow, ObjectState, PlannedObject
from dataferry.store import ledger_changes as changes
from dataferry.store import ledger_rows as rows
from dataferry.store import ledger_statements as sql
from dataferry.store.ledger import SqlLedger
from dataferry.store.ledger_session import LedgerSession

_NAMED = f"SELECT {rows.OBJECT_COLUMNS} FROM objects WHERE transfer_id = :id AND target_key = :key"  # noqa: S608 - our own words only
_IN_TURN = "UPDATE transfers SET plan_complete = plan_complete WHERE id = :id"
_AGREE = (
    f"UPDATE objects SET part_size_bytes = :size {sql.WHERE_OBJECT} "  # noqa: S608 - our own words only
    "AND intent_at IS NOT NULL AND part_size_bytes IN (0, :size)"
)


class ReceivingSqlLedger(SqlLedger):
    """A ledger that can also be told of objects as they come."""

    def named(self, transfer_id: str, key: str) -> ObjectRow | None:
        """Return a transfer's object by its target key, in whatever state; None if there is none."""
        found = self._read(_NAMED, {"id": transfer_id, "key": key})
        return rows.object_row(found[0]) if found else None

    def expect(self, attempt: Attempt, planned: PlannedObject) -> ObjectRow:
        """Write that an object is on its way, of which nothing is there yet, whatever was known of it.

        Raises:
            ConflictError: An object of another name has that target key.
        """

        def operation(session: LedgerSession) -> ObjectRow:
            session.fence(attempt)
            ordinal = self._ordinal(session, attempt.transfer_id, planned)
            values: dict[str, Any] = {
                **sql.NO_UPLOAD,
                **sql.NO_RESULT,
                **rows.source_values(planned.source),
                "state": ObjectState.PENDING.value,
            }
            self._change_in(session, attempt, ordinal, values, abandon=True)
            return changes.object_and_counts(session, attempt.transfer_id, ordinal)[0]

        return self._run(operation)

    def arrive(self, attempt: Attempt, planned: PlannedObject, finished: Finished) -> None:
        """Write that an object has arrived whole, in one transaction.

        Raises:
            ConflictError: An object of another name has that target key.
        """

        def operation(session: LedgerSession) -> None:
            session.fence(attempt)
            ordinal = self._ordinal(session, attempt.transfer_id, planned)
            values: dict[str, Any] = {
                **sql.NO_UPLOAD,
                **sql.NO_RESULT,
                "state": ObjectState.DONE.value,
                "size_bytes": finished.size_bytes,
                "etag": finished.etag,
                "crc64nvme": rows.crc_text(finished.crc64nvme),
                "verification": int(finished.verification),
            }
            self._change_in(session, attempt, ordinal, values, abandon=True)
            session.count(attempt.transfer_id, rows.Counts(), finished.verification)

        self._run(operation)

    @staticmethod
    def _ordinal(session: LedgerSession, transfer_id: str, planned: PlannedObject) -> int:
        """Return the ordinal of what came; it is given one if nothing was known of it."""
        key = {"id": transfer_id, "key": planned.target_key}
        # Whoever else gives an ordinal waits: with several processes two would take the same one.
        session.execute(_IN_TURN, {"id": transfer_id})
        found = session.query(_NAMED, key)
        if not found:
            changes.append(session, transfer_id, [planned])
            found = session.query(_NAMED, key)
        row = rows.object_row(found[0])
        if row.source.name != planned.source.name:
            raise changes.same_key(planned.target_key)
        return row.ordinal

    def agree_part_size(self, attempt: Attempt, ordinal: int, part_size_bytes: int) -> None:
        """Fix the size of an open upload's parts: the first word holds.

        Raises:
            ConflictError: It was fixed to another size, or there is no such upload.
        """
        values = {"id": attempt.transfer_id, "ordinal": ordinal, "size": part_size_bytes}

        def operation(session: LedgerSession) -> None:
            session.fence(attempt)
            if not session.execute(_AGREE, values):
                raise ConflictError("the parts of one object are of one size")

        self._run(operation)
