"""One transaction of the ledger: plain SQL, the fence, and the counters that are written once at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from dataferry.domain.errors import FencedError, NotFoundError
from dataferry.domain.ledger import Attempt
from dataferry.domain.objects import Verification
from dataferry.store.ledger_rows import Counts

Row = Sequence[Any]
Values = Mapping[str, Any]

_COUNT = (
    "UPDATE transfers SET objects_total = objects_total + :objects_total, "
    "bytes_total = bytes_total + :bytes_total, objects_done = objects_done + :objects_done, "
    "objects_skipped = objects_skipped + :objects_skipped, "
    "objects_failed = objects_failed + :objects_failed, "
    "bytes_done = bytes_done + :bytes_done, bytes_skipped = bytes_skipped + :bytes_skipped, "
    "objects_unsized = objects_unsized + :objects_unsized WHERE id = :id"
)
_LOWER = (
    "UPDATE transfers SET verification = :level "
    "WHERE id = :id AND (verification IS NULL OR verification > :level)"
)
_CREATE = (
    "INSERT INTO transfers (id, epoch, plan_complete, objects_total, bytes_total, objects_done, "
    "objects_skipped, objects_failed, bytes_done, bytes_skipped, objects_unsized) "
    "VALUES (:id, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) "
    "ON CONFLICT (id) DO NOTHING"
)


class NotUniqueError(Exception):
    """A row with that key is there already; drivers translate theirs to this one."""


class SqlConnection(Protocol):
    """A database connection as the ledger needs it; statements name their values ``:name``."""

    def query(self, sql: str, values: Values) -> list[Row]:
        """Return all rows."""
        ...

    def execute(self, sql: str, values: Values) -> int:
        """Return how many rows were changed.

        Raises:
            NotUniqueError: A row with that key is there already.
        """
        ...

    def execute_many(self, sql: str, rows: Sequence[Values]) -> None:
        """Run one statement for many rows.

        Raises:
            NotUniqueError: A row with that key is there already.
        """
        ...


class LedgerDatabase(Protocol):
    """A database that holds the ledger's tables."""

    @property
    def epoch_sql(self) -> str:
        """Reads the epoch of transfer ``:id``; in a transaction, nobody changes it before the end."""
        ...

    def secure(self) -> None:
        """Return once what is committed survives a power cut too."""
        ...

    def write(self) -> AbstractContextManager[SqlConnection]:
        """A transaction that writes. Raises only ``DataFerryError`` for what the database does."""
        ...

    def read(self) -> AbstractContextManager[SqlConnection]:
        """A connection that reads what is committed."""
        ...

    def before_waiting(self) -> None:
        """Raise if the calling thread must not wait for a commit."""
        ...

    def close(self) -> None:
        """Let go of what the ledger alone uses."""
        ...


class LedgerSession:
    """One transaction. Counters gather here, so that a batch of parts costs one write of them."""

    def __init__(self, connection: SqlConnection, epoch_sql: str) -> None:
        self.query = connection.query
        self.execute = connection.execute
        self.execute_many = connection.execute_many
        self._epoch_sql = epoch_sql
        self._epochs: dict[str, int] = {}
        self._counts: dict[str, Counts] = {}
        self._levels: dict[str, Verification] = {}
        self._broken: BaseException | None = None

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """A part of the transaction that can be undone alone, with what it counted."""
        self._refuse_if_broken()
        counts, levels = dict(self._counts), dict(self._levels)
        self.execute("SAVEPOINT operation", {})
        try:
            yield
        except BaseException as exc:
            self._undo(exc)
            self._counts, self._levels = counts, levels
            self._epochs.clear()
            raise
        self.execute("RELEASE SAVEPOINT operation", {})

    def _undo(self, error: BaseException) -> None:
        """Undo a savepoint; where that fails the transaction is gone, as SQLite ends it on a full disk."""
        try:
            self.execute("ROLLBACK TO SAVEPOINT operation", {})
            self.execute("RELEASE SAVEPOINT operation", {})
        except Exception:  # noqa: BLE001 - what ended the transaction is the error to tell, not this one
            self._broken = error

    def _refuse_if_broken(self) -> None:
        """Write nothing more once the transaction is gone: it would be committed statement by statement."""
        if self._broken is not None:
            raise self._broken

    def fence(self, attempt: Attempt) -> None:
        """Return if the attempt is the newest; it stays so until the transaction ends.

        Raises:
            FencedError: It is not.
            NotFoundError: There is no such transfer.
        """
        current = self._epochs.get(attempt.transfer_id)
        if current is None:
            current = read_epoch(self, self._epoch_sql, attempt.transfer_id)
            self._epochs[attempt.transfer_id] = current
            self.create(attempt.transfer_id)
        compare_epoch(attempt, current)

    def renew(self, transfer_id: str) -> int:
        """Return the transfer's epoch as this transaction has just changed it."""
        self._epochs[transfer_id] = read_epoch(self, self._epoch_sql, transfer_id)
        return self._epochs[transfer_id]

    def create(self, transfer_id: str) -> None:
        """Make sure that the transfer's row is there."""
        self.execute(_CREATE, {"id": transfer_id})

    def count(self, transfer_id: str, change: Counts, level: Verification | None = None) -> None:
        """Add to a transfer's counters, and lower its level of verification, when the transaction ends."""
        self._counts[transfer_id] = self._counts.get(transfer_id, Counts()) + change
        if level is not None:
            self._levels[transfer_id] = min(level, self._levels.get(transfer_id, level))

    def flush(self) -> None:
        """Write the counters."""
        self._refuse_if_broken()
        for transfer_id, counts in self._counts.items():
            if counts != Counts():
                self.execute(_COUNT, {"id": transfer_id, **_values(counts)})
        for transfer_id, level in self._levels.items():
            self.execute(_LOWER, {"id": transfer_id, "level": int(level)})
        self._counts.clear()
        self._levels.clear()


class _Queries(Protocol):
    def query(self, sql: str, values: Values) -> list[Row]: ...


def read_epoch(connection: _Queries, epoch_sql: str, transfer_id: str) -> int:
    """Return a transfer's epoch.

    Raises:
        NotFoundError: There is no such transfer.
    """
    rows = connection.query(epoch_sql, {"id": transfer_id})
    if not rows:
        raise NotFoundError(f"the ledger knows no transfer {transfer_id!r}")
    return int(rows[0][0])


def compare_epoch(attempt: Attempt, current: int) -> None:
    """Raise ``FencedError`` unless ``current`` is the attempt's epoch."""
    if attempt.epoch != current:
        raise FencedError(
            f"attempt {attempt.epoch} of transfer {attempt.transfer_id} was replaced by attempt {current}"
        )


def _values(counts: Counts) -> dict[str, int]:
    """Write counters as values of a statement."""
    return {
        "objects_total": counts.objects_total,
        "bytes_total": counts.bytes_total,
        "objects_done": counts.objects_done,
        "objects_skipped": counts.objects_skipped,
        "objects_failed": counts.objects_failed,
        "bytes_done": counts.bytes_done,
        "bytes_skipped": counts.bytes_skipped,
        "objects_unsized": counts.objects_unsized,
    }
