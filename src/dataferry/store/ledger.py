"""The ledger in SQL: one implementation for the service's database and for ``copy``'s own file.

What the methods promise stands in ``domain.ledger``; here stands how. Sizes of a transfer are kept as
counters, changed in the transaction that changes an object, so that ``totals`` reads one row however many
objects there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from dataferry.domain.clock import Clock
from dataferry.domain.errors import ConflictError, NotFoundError
from dataferry.domain.ledger import Attempt, Finished, ObjectRow, ObjectState, PlannedObject
from dataferry.domain.objects import ObjectInfo, PartReceipt, Upload, Verification
from dataferry.store import ledger_changes as changes
from dataferry.store import ledger_rows as rows
from dataferry.store import ledger_statements as sql
from dataferry.store.group_commit import GroupCommit
from dataferry.store.ledger_reading import LedgerReading
from dataferry.store.ledger_rows import Counts
from dataferry.store.ledger_session import LedgerDatabase, LedgerSession, NotUniqueError

MAX_ERROR_CHARS = 2_000
T = TypeVar("T")


class SqlLedger(LedgerReading):
    """A ledger over a database; see ``domain.ledger.Ledger``. Thread-safe."""

    def __init__(self, database: LedgerDatabase, clock: Clock) -> None:
        super().__init__(database, clock)
        self._writer: GroupCommit[LedgerSession] = GroupCommit(self._session, name="ledger-writer")

    @property
    def writer_id(self) -> int | None:
        """The system's number of the thread that writes; see ``domain.ledger.OwnWriter``."""
        return self._writer.thread_id

    def add(self, attempt: Attempt, objects: Sequence[PlannedObject], *, cursor: str | None) -> None:
        """Append to the plan, and move the cursor, in one transaction.

        Raises:
            ConflictError: Two objects have the same target key.
        """
        planned = list(objects)
        changes.refuse_same_keys(planned)

        def operation(session: LedgerSession) -> None:
            session.fence(attempt)
            changes.append(session, attempt.transfer_id, planned)
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

    def intend(
        self, attempt: Attempt, ordinal: int, *, part_size_bytes: int, version_id: str | None = None
    ) -> ObjectRow:
        """Write the intent to create an upload, before it is created (rule 1).

        An intent that led to no known upload keeps its time: what it may have created is still to be found.

        Raises:
            ConflictError: The object is not pending, or has an upload already.
        """
        now = self._clock.now()

        def operation(session: LedgerSession) -> ObjectRow:
            session.fence(attempt)
            row, _ = changes.pending_object(session, attempt, ordinal)
            if row.upload is not None:
                raise ConflictError(f"{row.target_key!r} has an open upload already")
            source = row.source if version_id is None else replace(row.source, version_id=version_id)
            intended = replace(
                row, source=source, part_size_bytes=part_size_bytes, intent_at=row.intent_at or now
            )
            changes.update(
                session,
                attempt.transfer_id,
                ordinal,
                part_size_bytes=part_size_bytes,
                intent_at=rows.time_text(intended.intent_at),
                version_id=source.version_id,
            )
            return intended

        row = self._run(operation)
        # An upload that a power cut made us forget would stay open for ever; all else is reconciled.
        self._database.secure()
        return row

    def open_upload(self, attempt: Attempt, ordinal: int, upload: Upload) -> None:
        """Write the upload that was created.

        Raises:
            ConflictError: No intent was written, or another upload is open.
        """

        def operation(session: LedgerSession) -> None:
            session.fence(attempt)
            row, _ = changes.pending_object(session, attempt, ordinal)
            if row.intent_at is None:
                raise ConflictError(f"no intent to upload {row.target_key!r} was written")
            if row.upload is not None and row.upload.upload_id != upload.upload_id:
                raise ConflictError(f"{row.target_key!r} has another open upload")
            changes.update(
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
                sql.PART_CONTEXT, {"id": transfer_id, "ordinal": ordinal, "number": part.number}
            )
            if not found:
                raise NotFoundError(f"transfer {transfer_id} has no object {ordinal}")
            state, upload_id, before = found[0]
            if state != ObjectState.PENDING.value or upload_id is None:
                raise ConflictError(f"object {ordinal} of transfer {transfer_id} has no open upload")
            session.execute(sql.ADD_PART, values)
            session.count(transfer_id, Counts(bytes_done=part.size_bytes - (before or 0)))

        self._run(operation)

    def drop_parts(self, attempt: Attempt, ordinal: int, numbers: Iterable[int]) -> None:
        """Forget parts that the destination does not have (rule 3)."""
        transfer_id = attempt.transfer_id
        gone = [{"id": transfer_id, "ordinal": ordinal, "number": number} for number in numbers]

        def operation(session: LedgerSession) -> None:
            session.fence(attempt)
            _, before = changes.object_and_counts(session, transfer_id, ordinal)
            if gone:
                session.execute_many(f"{sql.FORGET_PARTS} AND number = :number", gone)
            _, after = changes.object_and_counts(session, transfer_id, ordinal)
            session.count(transfer_id, after - before)

        self._run(operation)

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
            abandon: Hand the open upload, or an intent without one, to the clean-up list, under its old
                target identity.
            target: A new ``(target_key, target_identity)``, or None to keep the planned one (rule 5).

        Raises:
            ConflictError: Another object of the transfer has that new key.
        """
        values: dict[str, Any] = {**sql.NO_UPLOAD, **sql.NO_RESULT, "state": ObjectState.PENDING.value}
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
        finished = Finished(
            ordinal=ordinal, size_bytes=size_bytes, etag=etag, crc64nvme=crc64nvme, verification=verification
        )
        self.finish_many(attempt, [finished])

    def finish_many(self, attempt: Attempt, objects: Sequence[Finished]) -> None:
        """Do as ``finish`` does for several objects, in one transaction.

        One statement is enough for those that were sent whole, of the size that was planned: they have no
        upload and no parts.
        """
        values = [(item, rows.finished_values(attempt.transfer_id, item)) for item in objects]

        def operation(session: LedgerSession) -> None:
            session.fence(attempt)
            done = size = 0
            for item, columns in values:
                if session.execute(sql.FINISH_WHOLE, columns):
                    done, size = done + 1, size + item.size_bytes
                else:
                    self._finish_any(session, attempt, item)
            level = min((item.verification for item in objects), default=None)
            session.count(attempt.transfer_id, Counts(objects_done=done, bytes_done=size), level)

        self._run(operation)

    def _finish_any(self, session: LedgerSession, attempt: Attempt, item: Finished) -> None:
        """Finish an object of which more than its own row may have to change."""
        values: dict[str, Any] = {
            **sql.NO_UPLOAD,
            **sql.NO_RESULT,
            "state": ObjectState.DONE.value,
            "size_bytes": item.size_bytes,
            "etag": item.etag,
            "crc64nvme": rows.crc_text(item.crc64nvme),
            "verification": int(item.verification),
        }
        self._change_in(session, attempt, item.ordinal, values, abandon=False)

    def fail(self, attempt: Attempt, ordinal: int, *, kind: str, error: str) -> None:
        """Write that the object failed for good; its open upload, or intent, goes to the clean-up list."""
        values: dict[str, Any] = {
            **sql.NO_UPLOAD,
            "state": ObjectState.FAILED.value,
            "error_kind": kind,
            "error": error[:MAX_ERROR_CHARS],
        }
        self._change(attempt, ordinal, values, abandon=True)

    def skip(self, attempt: Attempt, ordinal: int, *, reason: str) -> None:
        """Write that the object is at the destination already."""
        values: dict[str, Any] = {
            **sql.NO_UPLOAD,
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

    def abandon_all(self, transfer_id: str) -> int:
        """Hand every open upload, and every intent without one, to the clean-up list; return how many."""
        now = rows.time_text(self._clock.now())

        def operation(session: LedgerSession) -> int:
            values = {"id": transfer_id}
            handed = session.execute(sql.ABANDON + sql.ONCE, {**values, "now": now})
            size = session.query(
                "SELECT COALESCE(SUM(size_bytes), 0) FROM parts WHERE transfer_id = :id", values
            )
            session.execute("DELETE FROM parts WHERE transfer_id = :id", values)
            session.execute(sql.FORGET_UPLOADS, values)
            session.count(transfer_id, Counts(bytes_done=-int(size[0][0])))
            return handed

        return self._run(operation)

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

    def _change(
        self,
        attempt: Attempt,
        ordinal: int,
        values: dict[str, Any],
        *,
        abandon: bool,
    ) -> None:
        """Move an object to another state, with its upload and parts forgotten and the counters following."""

        def operation(session: LedgerSession) -> None:
            session.fence(attempt)
            self._change_in(session, attempt, ordinal, values, abandon=abandon)

        self._run(operation)

    def _change_in(
        self, session: LedgerSession, attempt: Attempt, ordinal: int, values: dict[str, Any], *, abandon: bool
    ) -> None:
        """As ``_change``, in a transaction that is fenced already."""
        transfer_id = attempt.transfer_id
        row, before = changes.object_and_counts(session, transfer_id, ordinal)
        lost = row.intent_at is not None and row.upload is None
        if lost or (abandon and row.upload is not None):
            at = {"id": transfer_id, "ordinal": ordinal, "now": rows.time_text(self._clock.now())}
            session.execute(sql.ABANDON + sql.ABANDON_ONE + sql.ONCE, at)
        if row.intent_at is not None:
            session.execute(sql.FORGET_PARTS, {"id": transfer_id, "ordinal": ordinal})
        try:
            with session.savepoint() if "target_key" in values else nullcontext():
                changes.update(session, transfer_id, ordinal, **values)
        except NotUniqueError:
            raise changes.same_key(values["target_key"]) from None
        size = values.get("size_bytes", row.source.size_bytes)
        session.count(transfer_id, Counts.of(ObjectState(values["state"]), size, 0) - before)

    def _run(self, operation: Callable[[LedgerSession], T]) -> T:
        """Wait for the commit of an operation."""
        self._database.before_waiting()
        return self._writer.run(operation)

    @contextmanager
    def _session(self) -> Iterator[LedgerSession]:
        """The writer's next transaction."""
        with self._database.write() as connection:
            yield LedgerSession(connection, self._database.epoch_sql)
