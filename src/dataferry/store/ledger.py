"""The ledger in SQL: one implementation for the service's database and for ``copy``'s own file.

Statements are plain SQL that SQLite and PostgreSQL both understand. What the methods promise stands in
``domain.ledger``; here stands how. Sizes of a transfer are kept as counters, changed in the transaction that
changes an object, so that ``totals`` reads one row however many objects there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from dataferry.domain.clock import Clock
from dataferry.domain.errors import ConflictError, NotFoundError
from dataferry.domain.ledger import Attempt, Cleanup, ObjectRow, ObjectState, Plan, PlannedObject
from dataferry.domain.objects import ObjectInfo, PartReceipt, Totals, Upload, Verification
from dataferry.store import ledger_rows as rows
from dataferry.store.group_commit import GroupCommit
from dataferry.store.ledger_rows import Counts
from dataferry.store.ledger_session import (
    LedgerDatabase,
    LedgerSession,
    NotUniqueError,
    Row,
    SqlConnection,
    compare_epoch,
    read_epoch,
)

MAX_ERROR_CHARS = 2_000
T = TypeVar("T")

_PLAN = "SELECT plan_complete, plan_cursor FROM transfers WHERE id = :id"
_TOTALS = (
    "SELECT objects_total, bytes_total, objects_done, objects_skipped, objects_failed, bytes_done, "
    "plan_complete, verification FROM transfers WHERE id = :id"
)
_LAST_ORDINAL = "SELECT COALESCE(MAX(ordinal), 0) FROM objects WHERE transfer_id = :id"
_ADD = (
    "INSERT INTO objects (transfer_id, ordinal, source_name, source_key, size_bytes, validator, version_id, "
    "source_crc64nvme, modified_at, attributes, target_key, target_identity, state, upload_keeps_crc64nvme, "
    "verification, error) VALUES (:transfer_id, :ordinal, :source_name, :source_key, :size_bytes, "
    ":validator, :version_id, :source_crc64nvme, :modified_at, :attributes, :target_key, :target_identity, :state, "
    "0, 0, :error)"
)
_KNOWN_KEY = "SELECT 1 FROM objects WHERE transfer_id = :id AND target_key = :key"
_WHERE_OBJECT = "WHERE transfer_id = :id AND ordinal = :ordinal"
_OBJECT = (
    f"SELECT {rows.OBJECT_COLUMNS}, (SELECT COALESCE(SUM(p.size_bytes), 0) FROM parts p "  # noqa: S608
    "WHERE p.transfer_id = objects.transfer_id AND p.ordinal = objects.ordinal) "
    f"FROM objects {_WHERE_OBJECT}"
)
_PART_CONTEXT = (
    "SELECT o.state, o.upload_id, p.size_bytes FROM objects o LEFT JOIN parts p "
    "ON p.transfer_id = o.transfer_id AND p.ordinal = o.ordinal AND p.number = :number WHERE o.transfer_id = :id AND o.ordinal = :ordinal"
)
_ADD_PART = (
    "INSERT INTO parts (transfer_id, ordinal, number, size_bytes, etag, crc64nvme, confirmed) "
    "VALUES (:transfer_id, :ordinal, :number, :size_bytes, :etag, :crc64nvme, :confirmed) "
    "ON CONFLICT (transfer_id, ordinal, number) DO UPDATE SET size_bytes = excluded.size_bytes, "
    "etag = excluded.etag, crc64nvme = excluded.crc64nvme, confirmed = excluded.confirmed"
)
_FORGET_PARTS = f"DELETE FROM parts {_WHERE_OBJECT}"  # noqa: S608 - fixed text, here and above
_ABANDON = (
    "INSERT INTO cleanups (transfer_id, target_identity, upload_id, upload_key, upload_started_at, "
    "upload_keeps_crc64nvme, attempts, due_at, created_at) SELECT transfer_id, target_identity, upload_id, "
    "target_key, upload_started_at, upload_keeps_crc64nvme, 0, :now, :now FROM objects WHERE transfer_id = :id "
    "AND upload_id IS NOT NULL AND intent_at IS NOT NULL"
)
_ABANDON_ONE = " AND ordinal = :ordinal"
_ONCE = " ON CONFLICT (target_identity, upload_id) DO NOTHING"
_NO_UPLOAD: dict[str, Any] = {
    "part_size_bytes": None,
    "intent_at": None,
    "upload_id": None,
    "upload_started_at": None,
    "upload_keeps_crc64nvme": 0,
}
_NO_RESULT: dict[str, Any] = {
    "etag": None,
    "crc64nvme": None,
    "verification": 0,
    "error_kind": None,
    "error": None,
}


class SqlLedger:
    """A ledger over a database; see ``domain.ledger.Ledger``. Thread-safe."""

    def __init__(self, database: LedgerDatabase, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._writer: GroupCommit[LedgerSession] = GroupCommit(self._session, name="ledger-writer")

    # The plan

    def plan(self, attempt: Attempt) -> Plan:
        """Return how far the plan of this transfer is."""
        with self._database.read() as connection:
            self._compare(connection, attempt)
            found = connection.query(_PLAN, {"id": attempt.transfer_id})
        return (
            Plan(complete=bool(found[0][0]), cursor=found[0][1])
            if found
            else Plan(complete=False, cursor=None)
        )

    def add(self, attempt: Attempt, objects: Sequence[PlannedObject], *, cursor: str | None) -> None:
        """Append to the plan, and move the cursor, in one transaction.

        Raises:
            ConflictError: Two objects have the same target key.
        """
        planned = list(objects)
        _refuse_same_keys(planned)

        def operation(session: LedgerSession) -> None:
            session.fence(attempt)
            _append(session, attempt.transfer_id, planned)
            session.execute(
                "UPDATE transfers SET plan_cursor = :cursor WHERE id = :id",
                {"id": attempt.transfer_id, "cursor": cursor},
            )

        self._run(operation)

    def finish_plan(self, attempt: Attempt) -> None:
        """Write that the source has been listed to its end."""

        def operation(session: LedgerSession) -> None:
            session.fence(attempt)
            session.execute(
                "UPDATE transfers SET plan_complete = 1 WHERE id = :id", {"id": attempt.transfer_id}
            )

        self._run(operation)

    # Reading

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
        sql = (
            f"SELECT {rows.OBJECT_COLUMNS} FROM objects WHERE transfer_id = :id {condition}"  # noqa: S608
            "AND ordinal > :after ORDER BY ordinal LIMIT :limit"
        )
        values: dict[str, Any] = {"id": transfer_id, "after": after_ordinal, "limit": limit}
        if state is not None:
            values["state"] = state.value
        return [rows.object_row(row) for row in self._read(sql, values)]

    def totals(self, transfer_id: str) -> Totals:
        """Return committed counts; an object that is done or skipped counts whole in ``bytes_done``."""
        found = self._read(_TOTALS, {"id": transfer_id})
        if not found:
            return Totals()
        *counts, plan_complete, level = found[0]
        names = (
            "objects_total", "bytes_total", "objects_done", "objects_skipped", "objects_failed", "bytes_done",
        )  # fmt: skip
        return Totals(
            **dict(zip(names, map(int, counts), strict=True)),
            plan_complete=bool(plan_complete),
            verification=Verification(level or 0),
        )

    def parts(self, transfer_id: str, ordinal: int) -> list[PartReceipt]:
        """Return the committed parts of an object's open upload, by number."""
        sql = f"SELECT {rows.PART_COLUMNS} FROM parts {_WHERE_OBJECT} ORDER BY number"  # noqa: S608
        return [rows.part_receipt(row) for row in self._read(sql, {"id": transfer_id, "ordinal": ordinal})]

    def known_uploads(self, target_identity: str, key: str) -> frozenset[str]:
        """Return the ids of all uploads that any transfer's rows know for that key."""
        sql = (
            "SELECT upload_id FROM objects "
            "WHERE target_identity = :identity AND target_key = :key AND upload_id IS NOT NULL "
            "UNION SELECT upload_id FROM cleanups WHERE target_identity = :identity AND upload_key = :key"
        )
        return frozenset(row[0] for row in self._read(sql, {"identity": target_identity, "key": key}))

    def check(self, attempt: Attempt) -> None:
        """Return if the attempt is still the newest.

        Raises:
            FencedError: It is not.
        """
        with self._database.read() as connection:
            self._compare(connection, attempt)

    # Uploads and parts

    def intend(self, attempt: Attempt, ordinal: int, *, part_size_bytes: int) -> ObjectRow:
        """Write the intent to create an upload, before it is created (rule 1).

        An intent that led to no known upload keeps its time: what it may have created is still to be found.

        Raises:
            ConflictError: The object is not pending, or has an upload already.
        """
        now = self._clock.now()

        def operation(session: LedgerSession) -> ObjectRow:
            session.fence(attempt)
            row, _ = _pending(session, attempt, ordinal)
            if row.upload is not None:
                raise ConflictError(f"{row.target_key!r} has an open upload already")
            intended = replace(row, part_size_bytes=part_size_bytes, intent_at=row.intent_at or now)
            _update(
                session,
                attempt.transfer_id,
                ordinal,
                part_size_bytes=part_size_bytes,
                intent_at=rows.time_text(intended.intent_at),
            )
            return intended

        return self._run(operation)

    def open_upload(self, attempt: Attempt, ordinal: int, upload: Upload) -> None:
        """Write the upload that was created.

        Raises:
            ConflictError: No intent was written, or another upload is open.
        """

        def operation(session: LedgerSession) -> None:
            session.fence(attempt)
            row, _ = _pending(session, attempt, ordinal)
            if row.intent_at is None:
                raise ConflictError(f"no intent to upload {row.target_key!r} was written")
            if row.upload is not None and row.upload.upload_id != upload.upload_id:
                raise ConflictError(f"{row.target_key!r} has another open upload")
            _update(
                session,
                attempt.transfer_id,
                ordinal,
                upload_id=upload.upload_id,
                upload_started_at=rows.time_text(upload.started_at),
                upload_keeps_crc64nvme=int(upload.keeps_crc64nvme),
            )

        self._run(operation)

    def add_part(self, attempt: Attempt, ordinal: int, part: PartReceipt) -> None:
        """Commit one part (rule 2: the worker waits for this before it takes the next).

        Raises:
            ConflictError: The object is not pending with an open upload.
        """
        transfer_id = attempt.transfer_id
        values = rows.part_values(transfer_id, ordinal, part)

        def operation(session: LedgerSession) -> None:
            session.fence(attempt)
            found = session.query(
                _PART_CONTEXT, {"id": transfer_id, "ordinal": ordinal, "number": part.number}
            )
            if not found:
                raise NotFoundError(f"transfer {transfer_id} has no object {ordinal}")
            state, upload_id, before = found[0]
            if state != ObjectState.PENDING.value or upload_id is None:
                raise ConflictError(f"object {ordinal} of transfer {transfer_id} has no open upload")
            session.execute(_ADD_PART, values)
            session.count(transfer_id, Counts(bytes_done=part.size_bytes - (before or 0)))

        self._run(operation)

    def drop_parts(self, attempt: Attempt, ordinal: int, numbers: Iterable[int]) -> None:
        """Forget parts that the destination does not have (rule 3)."""
        transfer_id = attempt.transfer_id
        gone = [{"id": transfer_id, "ordinal": ordinal, "number": number} for number in numbers]

        def operation(session: LedgerSession) -> None:
            session.fence(attempt)
            _, before = _object(session, transfer_id, ordinal)
            if gone:
                session.execute_many(f"{_FORGET_PARTS} AND number = :number", gone)
            _, after = _object(session, transfer_id, ordinal)
            session.count(transfer_id, after - before)

        self._run(operation)

    # The end of an object

    def restart(
        self,
        attempt: Attempt,
        ordinal: int,
        *,
        source: ObjectInfo | None,
        abandon: bool,
        target: tuple[str, str] | None = None,
    ) -> None:
        """Forget upload, intent and parts, and make the object pending again, whatever state it was in.

        Args:
            attempt: Who writes.
            ordinal: Which object.
            source: A newly looked-up source, or None to keep the planned one.
            abandon: Hand the open upload, if any, to the clean-up list, under its old target identity.
            target: A new ``(target_key, target_identity)``, or None to keep the planned one (rule 5).

        Raises:
            ConflictError: Another object of the transfer has that new key.
        """
        values: dict[str, Any] = {**_NO_UPLOAD, **_NO_RESULT, "state": ObjectState.PENDING.value}
        if source is not None:
            values |= rows.source_values(source)
        if target is not None:
            values |= {"target_key": target[0], "target_identity": target[1]}
        self._change(attempt, ordinal, values, abandon=abandon)

    def finish(
        self,
        attempt: Attempt,
        ordinal: int,
        *,
        size_bytes: int,
        etag: str | None,
        crc64nvme: int | None,
        verification: Verification,
    ) -> None:
        """Write that the object is at the destination, and forget its parts."""
        values: dict[str, Any] = {
            **_NO_UPLOAD,
            "state": ObjectState.DONE.value,
            "size_bytes": size_bytes,
            "etag": etag,
            "crc64nvme": rows.crc_text(crc64nvme),
            "verification": int(verification),
            "error_kind": None,
            "error": None,
        }
        self._change(attempt, ordinal, values, abandon=False, level=verification)

    def fail(self, attempt: Attempt, ordinal: int, *, kind: str, error: str) -> None:
        """Write that the object failed for good, and hand its open upload to the clean-up list."""
        values: dict[str, Any] = {
            **_NO_UPLOAD,
            "state": ObjectState.FAILED.value,
            "error_kind": kind,
            "error": error[:MAX_ERROR_CHARS],
        }
        self._change(attempt, ordinal, values, abandon=True)

    def skip(self, attempt: Attempt, ordinal: int, *, reason: str) -> None:
        """Write that the object is at the destination already."""
        values: dict[str, Any] = {
            **_NO_UPLOAD,
            "state": ObjectState.SKIPPED.value,
            "error_kind": None,
            "error": reason[:MAX_ERROR_CHARS],
        }
        self._change(attempt, ordinal, values, abandon=True)

    def retry_failed(self, attempt: Attempt) -> int:
        """Make failed objects pending again, with a fresh look at their source; return how many.

        What the source was known by (validator, version, checksum, attributes) is forgotten; its size stays
        until ``restart`` brings the new one.
        """
        transfer_id = attempt.transfer_id

        def operation(session: LedgerSession) -> int:
            session.fence(attempt)
            changed = session.execute(
                "UPDATE objects SET state = 'pending', error_kind = NULL, error = NULL, validator = NULL, "
                "version_id = NULL, source_crc64nvme = NULL, modified_at = NULL, attributes = NULL "
                "WHERE transfer_id = :id AND state = 'failed'",
                {"id": transfer_id},
            )
            session.count(transfer_id, Counts(objects_failed=-changed))
            return changed

        return self._run(operation)

    # Clean-up

    def abandon_all(self, transfer_id: str) -> int:
        """Hand every open upload to the clean-up list, whatever the epoch; return how many."""
        now = rows.time_text(self._clock.now())

        def operation(session: LedgerSession) -> int:
            values = {"id": transfer_id}
            handed = session.execute(_ABANDON + _ONCE, {**values, "now": now})
            size = session.query(
                "SELECT COALESCE(SUM(size_bytes), 0) FROM parts WHERE transfer_id = :id", values
            )
            session.execute("DELETE FROM parts WHERE transfer_id = :id", values)
            session.execute(
                "UPDATE objects SET part_size_bytes = NULL, intent_at = NULL, upload_id = NULL, "
                "upload_started_at = NULL, upload_keeps_crc64nvme = 0 "
                "WHERE transfer_id = :id AND intent_at IS NOT NULL AND upload_id IS NOT NULL",
                values,
            )
            session.count(transfer_id, Counts(bytes_done=-int(size[0][0])))
            return handed

        return self._run(operation)

    def cleanups(self, *, limit: int = 100, transfer_id: str | None = None) -> list[Cleanup]:
        """Return uploads that are due to be aborted."""
        condition = "" if transfer_id is None else "AND transfer_id = :id "
        sql = (
            f"SELECT {rows.CLEANUP_COLUMNS} FROM cleanups WHERE due_at <= :now {condition}"  # noqa: S608
            "ORDER BY due_at, id LIMIT :limit"
        )
        values: dict[str, Any] = {"now": rows.time_text(self._clock.now()), "limit": limit}
        if transfer_id is not None:
            values["id"] = transfer_id
        return [rows.cleanup(row) for row in self._read(sql, values)]

    def cleaned(self, cleanup_id: int, *, error: str | None, retry_at: datetime | None) -> None:
        """Write the result of one clean-up: gone if ``error`` is None, else due again at ``retry_at``.

        With an error and no ``retry_at`` it is given up, and stays visible.
        """

        def operation(session: LedgerSession) -> None:
            if error is None:
                session.execute("DELETE FROM cleanups WHERE id = :id", {"id": cleanup_id})
                return
            session.execute(
                "UPDATE cleanups SET attempts = attempts + 1, last_error = :error, due_at = :due_at "
                "WHERE id = :id",
                {"id": cleanup_id, "error": error[:MAX_ERROR_CHARS], "due_at": rows.time_text(retry_at)},
            )

        self._run(operation)

    def close(self) -> None:
        """Commit what is waiting and stop the writer."""
        self._writer.close()
        self._database.close()

    # How

    def _change(
        self,
        attempt: Attempt,
        ordinal: int,
        values: dict[str, Any],
        *,
        abandon: bool,
        level: Verification | None = None,
    ) -> None:
        """Move an object to another state, with its upload and parts forgotten and the counters following."""
        transfer_id = attempt.transfer_id
        now = rows.time_text(self._clock.now())

        def operation(session: LedgerSession) -> None:
            session.fence(attempt)
            row, before = _object(session, transfer_id, ordinal)
            if abandon and row.upload is not None:
                at = {"id": transfer_id, "ordinal": ordinal, "now": now}
                session.execute(_ABANDON + _ABANDON_ONE + _ONCE, at)
            if row.intent_at is not None:
                session.execute(_FORGET_PARTS, {"id": transfer_id, "ordinal": ordinal})
            try:
                with session.savepoint() if "target_key" in values else nullcontext():
                    _update(session, transfer_id, ordinal, **values)
            except NotUniqueError:
                raise _same_key(values["target_key"]) from None
            size = values.get("size_bytes", row.source.size_bytes)
            session.count(transfer_id, Counts.of(ObjectState(values["state"]), size, 0) - before, level)

        self._run(operation)

    def _run(self, operation: Callable[[LedgerSession], T]) -> T:
        """Wait for the commit of an operation."""
        self._database.before_waiting()
        return self._writer.run(operation)

    @contextmanager
    def _session(self) -> Iterator[LedgerSession]:
        """The writer's next transaction."""
        with self._database.write() as connection:
            yield LedgerSession(connection, self._database.epoch_sql)

    def _read(self, sql: str, values: dict[str, Any]) -> list[Row]:
        """Read what is committed."""
        with self._database.read() as connection:
            return connection.query(sql, values)

    def _compare(self, connection: SqlConnection, attempt: Attempt) -> None:
        """Raise unless the attempt is the newest."""
        compare_epoch(attempt, read_epoch(connection, self._database.epoch_sql, attempt.transfer_id))


def _refuse_same_keys(planned: Sequence[PlannedObject]) -> None:
    """Find two objects of one call that would become the same."""
    seen: set[str] = set()
    for entry in planned:
        if entry.target_key in seen:
            raise _same_key(entry.target_key)
        seen.add(entry.target_key)


def _same_key(key: str) -> ConflictError:
    return ConflictError(f"two objects of the source would both become {key!r} at the destination")


def _append(session: LedgerSession, id: str, planned: Sequence[PlannedObject]) -> None:
    """Insert objects with the ordinals that follow, in one statement run for many rows."""
    last = int(session.query(_LAST_ORDINAL, {"id": id})[0][0])
    values = [rows.planned_values(id, ordinal, entry) for ordinal, entry in enumerate(planned, last + 1)]
    if not values:
        return
    try:
        with session.savepoint():
            session.execute_many(_ADD, values)
    except NotUniqueError:
        for entry in planned:
            if session.query(_KNOWN_KEY, {"id": id, "key": entry.target_key}):
                raise _same_key(entry.target_key) from None
        raise
    skipped = [entry for entry in planned if entry.skip_reason is not None]
    session.count(
        id,
        Counts(
            objects_total=len(planned),
            bytes_total=_size(planned),
            objects_skipped=len(skipped),
            bytes_done=_size(skipped),
        ),
    )


def _size(planned: Sequence[PlannedObject]) -> int:
    """The bytes of objects, as far as their source says."""
    return sum(entry.source.size_bytes or 0 for entry in planned)


def _object(session: LedgerSession, id: str, ordinal: int) -> tuple[ObjectRow, Counts]:
    """Return an object and what it adds to the counters now."""
    found = session.query(_OBJECT, {"id": id, "ordinal": ordinal})
    if not found:
        raise NotFoundError(f"transfer {id} has no object {ordinal}")
    *columns, parts_bytes = found[0]
    row = rows.object_row(columns)
    return row, Counts.of(row.state, row.source.size_bytes, int(parts_bytes))


def _pending(session: LedgerSession, attempt: Attempt, ordinal: int) -> tuple[ObjectRow, Counts]:
    """Return an object that is still to move."""
    row, counts = _object(session, attempt.transfer_id, ordinal)
    if row.state is not ObjectState.PENDING:
        raise ConflictError(f"{row.target_key!r} is {row.state.value}, not pending")
    return row, counts


def _update(session: LedgerSession, id: str, ordinal: int, **values: Any) -> None:
    """Change columns of an object; their names are ours, never a caller's."""
    columns = ", ".join(f"{name} = :{name}" for name in values)
    session.execute(f"UPDATE objects SET {columns} {_WHERE_OBJECT}", {"id": id, "ordinal": ordinal, **values})  # noqa: S608
