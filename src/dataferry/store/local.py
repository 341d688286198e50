"""The ledger of ``copy``: a SQLite file of its own, opened with the standard library in a few milliseconds.

Its tables are those of ``store.schema``, written out here because importing SQLAlchemy would take longer than
many a copy. ``PRAGMA user_version`` names their form.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataferry.domain.clock import Clock, SystemClock
from dataferry.domain.errors import ConfigError
from dataferry.domain.ledger import Attempt
from dataferry.store.faults import translated
from dataferry.store.ledger import SqlLedger
from dataferry.store.ledger_session import LedgerSession, SqlConnection
from dataferry.store.ledger_sqlite import SqliteConnection
from dataferry.store.local_tables import FORM, TABLES

BUSY_TIMEOUT_MS = 10_000
_OPERATION = "ledger"


class LocalLedger(SqlLedger):
    """A ledger that counts its attempts itself: there is no flow row to do it."""

    def begin(self, transfer_id: str) -> Attempt:
        """Start a new attempt at a transfer, which fences those before it; the first creates the transfer."""

        def operation(session: LedgerSession) -> Attempt:
            session.create(transfer_id)
            session.execute("UPDATE transfers SET epoch = epoch + 1 WHERE id = :id", {"id": transfer_id})
            epoch = session.renew(transfer_id)
            return Attempt(transfer_id=transfer_id, epoch=epoch)

        return self._run(operation)

    def forget(self, transfer_id: str) -> None:
        """Remove a transfer and its objects; uploads that wait to be aborted stay."""

        def operation(session: LedgerSession) -> None:
            for statement in (
                "DELETE FROM parts WHERE transfer_id = :id",
                "DELETE FROM objects WHERE transfer_id = :id",
                "DELETE FROM transfers WHERE id = :id",
            ):
                session.execute(statement, {"id": transfer_id})

        self._run(operation)


def open_local_ledger(path: str | Path, *, clock: Clock | None = None) -> LocalLedger:
    """Open the ledger in a file, made with mode 0600 if it is not there.

    Args:
        path: Of the SQLite file; its directory is made too.
        clock: Where times come from; the machine's clock if None.

    Raises:
        ConfigError: It can't be opened, or is another program's, or a newer version's.
        DatabaseUnavailableError: Another process does not let go of it.
    """
    return LocalLedger(_LocalDatabase(Path(path)), SystemClock() if clock is None else clock)


class _LocalDatabase:
    """Two connections to one file: the writer thread's, and one for readers, who take turns."""

    epoch_sql = "SELECT epoch FROM transfers WHERE id = :id"

    def __init__(self, path: Path) -> None:
        _make_private(path)
        self._log = path.with_name(f"{path.name}-wal")
        with _translating():
            self._writing = _connect(path)
            try:
                _prepare(self._writing, path)
                self._reading = _connect(path)
            except BaseException:
                self._writing.close()
                raise
        self._readers = threading.Lock()

    @contextmanager
    def write(self) -> Iterator[SqlConnection]:
        """A transaction that writes; only the writer's thread comes here."""
        with _translating():
            self._writing.execute("BEGIN IMMEDIATE")
            try:
                yield SqliteConnection(self._writing)
                self._writing.execute("COMMIT")
            except BaseException:
                if self._writing.in_transaction:  # SQLite ends it by itself when the disk is full
                    self._writing.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[SqlConnection]:
        """The readers' connection."""
        with self._readers, _translating():
            yield SqliteConnection(self._reading)

    def before_waiting(self) -> None:
        """Nobody but the writer holds a transaction here."""

    def secure(self) -> None:
        """Bring the write-ahead log to the disk: whoever opens the file after a power cut reads it there."""
        try:
            descriptor = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return  # closed meanwhile, and folded into the file with a sync
        except OSError as exc:
            raise translated(exc, operation=_OPERATION) from exc

    def close(self) -> None:
        """Close both connections; the last one to close folds the write-ahead log into the file."""
        with self._readers:
            self._reading.close()
            self._writing.close()


@contextmanager
def _translating() -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.Error as exc:
        raise translated(exc, operation=_OPERATION) from exc


def _make_private(path: Path) -> None:
    """Make the file with mode 0600: names of objects are nobody else's business."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
    except OSError as exc:
        raise ConfigError(f"the ledger {path} cannot be used: {exc.strerror or exc}") from exc


def _connect(path: Path) -> sqlite3.Connection:
    """Open a connection in which we begin and end transactions.

    ``synchronous = NORMAL``: a killed process loses nothing, a power cut may lose the last commits. For a
    copy that means some parts are sent again, which reconciling with the destination covers; a sync a commit
    would cost small objects more than that is worth. Intents of uploads are synced, see ``secure``.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, once."""
    if _form(connection) == FORM:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        form = _form(connection)
        if form == 0:
            for statement in TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {FORM}")
        elif form != FORM:
            raise ConfigError(f"the ledger {path} was written by another version of dataferry: delete it")  # noqa: TRY301 - one handler
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _form(connection: sqlite3.Connection) -> int:
    """The number of the tables' form, 0 in a new file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
