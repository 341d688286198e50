"""What can be asked of the ledger: always what is committed. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dataferry.domain.clock import Clock
from dataferry.domain.ledger import Attempt, Cleanup, ObjectRow, ObjectState, Plan
from dataferry.domain.objects import PartReceipt, Totals, Verification
from dataferry.store import ledger_rows as rows
from dataferry.store import ledger_statements as sql
from dataferry.store.ledger_session import LedgerDatabase, Row, SqlConnection, compare_epoch, read_epoch


class LedgerReading:
    """The reading half of ``SqlLedger``. Thread-safe."""

    def __init__(self, database: LedgerDatabase, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def plan(self, attempt: Attempt) -> Plan:
        """Return how far the plan of this transfer is."""
        with self._database.read() as connection:
            self._compare(connection, attempt)
            found = connection.query(sql.PLAN, {"id": attempt.transfer_id})
        return (
            Plan(complete=bool(found[0][0]), cursor=found[0][1])
            if found
            else Plan(complete=False, cursor=None)
        )

    def pending(self, transfer_id: str, *, after_ordinal: int, limit: int) -> list[ObjectRow]:
        """Return objects still to move, in the order of the plan."""
        return self.objects(transfer_id, after_ordinal=after_ordinal, limit=limit, state=ObjectState.PENDING)

    def objects(
        self,
        transfer_id: str,
        *,
        after_ordinal: int = 0,
        limit: int = 100,
        state: ObjectState | None = None,
    ) -> list[ObjectRow]:
        """Return objects in any state, for reports."""
        condition = "" if state is None else "AND state = :state "
        statement = (
            f"SELECT {rows.OBJECT_COLUMNS} FROM objects WHERE transfer_id = :id {condition}"  # noqa: S608 - our own words only
            "AND ordinal > :after ORDER BY ordinal LIMIT :limit"
        )
        values: dict[str, Any] = {"id": transfer_id, "after": after_ordinal, "limit": limit}
        if state is not None:
            values["state"] = state.value
        return [rows.object_row(row) for row in self._read(statement, values)]

    def arrived(self, transfer_id: str, keys: Sequence[str]) -> dict[str, ObjectRow]:
        """Return those of a transfer's objects that are at the destination, by target key."""
        statement = (
            f"SELECT {rows.OBJECT_COLUMNS} FROM objects WHERE transfer_id = :id AND target_key = :key "  # noqa: S608 - our own words only
            "AND state IN ('done', 'skipped')"
        )
        with self._database.read() as connection:
            # A look into a unique index each: databases differ in how many values one statement takes.
            found = [
                row for key in keys for row in connection.query(statement, {"id": transfer_id, "key": key})
            ]
        return {row.target_key: row for row in map(rows.object_row, found)}

    def totals(self, transfer_id: str) -> Totals:
        """Return committed counts; an object that is done or skipped counts whole in ``bytes_done``."""
        found = self._read(sql.TOTALS, {"id": transfer_id})
        if not found:
            return Totals()
        *counts, plan_complete, level = found[0]
        names = (
            "objects_total", "bytes_total", "objects_done", "objects_skipped", "objects_failed", "bytes_done",
            "bytes_skipped", "objects_unsized",
        )  # fmt: skip
        return Totals(
            **dict(zip(names, map(int, counts), strict=True)),
            plan_complete=bool(plan_complete),
            verification=Verification(level or 0),
        )

    def parts(self, transfer_id: str, ordinal: int) -> list[PartReceipt]:
        """Return the committed parts of an object's open upload, by number."""
        statement = f"SELECT {rows.PART_COLUMNS} FROM parts {sql.WHERE_OBJECT} ORDER BY number"  # noqa: S608 - our own words only
        return [
            rows.part_receipt(row) for row in self._read(statement, {"id": transfer_id, "ordinal": ordinal})
        ]

    def known_uploads(self, target_identity: str, key: str) -> frozenset[str]:
        """Return the ids of all uploads that any transfer's rows know for that key."""
        statement = (
            "SELECT upload_id FROM objects "
            "WHERE target_identity = :identity AND target_key = :key AND intent_at IS NOT NULL "
            "AND upload_id IS NOT NULL "
            "UNION SELECT upload_id FROM cleanups WHERE target_identity = :identity AND upload_key = :key "
            "AND upload_id IS NOT NULL"
        )
        return frozenset(row[0] for row in self._read(statement, {"identity": target_identity, "key": key}))

    def is_opening(self, target_identity: str, key: str) -> bool:
        """Return True if a transfer's row has an intent for that key, and its upload is not known yet."""
        return bool(self._read(sql.OPENING, {"identity": target_identity, "key": key}))

    def cleanups(self, *, limit: int = 100, transfer_id: str | None = None) -> list[Cleanup]:
        """Return uploads that are due to be aborted."""
        condition = "" if transfer_id is None else "AND transfer_id = :id "
        statement = (
            f"SELECT {rows.CLEANUP_COLUMNS} FROM cleanups WHERE due_at <= :now {condition}"  # noqa: S608 - our own words only
            "ORDER BY due_at, id LIMIT :limit"
        )
        values: dict[str, Any] = {"now": rows.time_text(self._clock.now()), "limit": limit}
        if transfer_id is not None:
            values["id"] = transfer_id
        return [rows.cleanup(row) for row in self._read(statement, values)]

    def check(self, attempt: Attempt) -> None:
        """Return if the attempt is still the newest.

        Raises:
            FencedError: It is not.
        """
        with self._database.read() as connection:
            self._compare(connection, attempt)

    def _read(self, statement: str, values: dict[str, Any]) -> list[Row]:
        """Read what is committed."""
        with self._database.read() as connection:
            return connection.query(statement, values)

    def _compare(self, connection: SqlConnection, attempt: Attempt) -> None:
        """Raise unless the attempt is the newest."""
        compare_epoch(attempt, read_epoch(connection, self._database.epoch_sql, attempt.transfer_id))
