"""The database under the store: SQLite or PostgreSQL, each with one writer at a time."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from dataferry.domain.errors import (
    ConfigError,
    DatabaseUnavailableError,
    DataFerryError,
    InputError,
)
from dataferry.store import faults, faults_postgresql
from dataferry.store.database_postgresql import READ_ONLY, postgresql_engine, snapshot_options

BUSY_TIMEOUT_S = 10.0
# How long a transaction waits for another thread's: longer than any of ours lasts, so that waiting means a
# fault.
LOCK_TIMEOUT_S = 30.0
# Of errors that are the database's own, whatever was to be read or written.
OPERATION = "store"
POOLED_CONNECTIONS = 16
MORE_CONNECTIONS = 48


class Database:
    """One database and its connections.

    There is one writer at a time. On SQLite that is so anyway; on PostgreSQL it is a lock in the database. A
    lock of ours orders the writers of this process before: waiting inside SQLite means polling with sleeps,
    which starves whoever is unlucky, and waiting inside PostgreSQL takes a connection.

    Args:
        url: Of the store.
        is_patient: Statements may take as long as they do on PostgreSQL: to change tables.
    """

    def __init__(self, url: str, *, is_patient: bool = False) -> None:
        self.url = parsed(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            make_private(self.url.database or "")
            self.engine = _sqlite_engine(self.url)
            self._reading: dict[str, Any] = {READ_ONLY: True}
        else:
            self.engine = postgresql_engine(self.url, lock_timeout_s=LOCK_TIMEOUT_S, is_patient=is_patient)
            self._reading = snapshot_options()
        self._writers = threading.Lock()
        self._inside = threading.local()
        self._suspended: str | None = None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write: committed at the end, rolled back on an error.

        Raises:
            RuntimeError: This thread is in a transaction already.
            DatabaseUnavailableError: The database does not answer, another writer does not end, or writing
                is suspended.
        """
        self.refuse_nested()
        self.refuse_suspended()
        if not self._writers.acquire(timeout=LOCK_TIMEOUT_S):
            # On PostgreSQL its server has fallen silent.
            raise _unavailable(f"another transaction has not ended within {LOCK_TIMEOUT_S:.0f} s")
        self._inside.transaction = True
        try:
            self.refuse_suspended()
            with translating(OPERATION), self.engine.begin() as connection:
                yield connection
                self.refuse_suspended()
        finally:
            self._inside.transaction = False
            self._writers.release()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot to read from; never waits for writers."""
        with translating(OPERATION), self.engine.connect() as connection:
            yield connection.execution_options(**self._reading)

    def suspend(self, reason: str) -> None:
        """Write nothing more until ``resume``; what is in a transaction now is rolled back."""
        self._suspended = reason

    def resume(self) -> None:
        """Write again."""
        self._suspended = None

    def refuse_suspended(self) -> None:
        """Raise if writing is suspended.

        Raises:
            DatabaseUnavailableError: It is; says why.
        """
        if self._suspended is not None:
            raise _unavailable(self._suspended)

    def refuse_nested(self) -> None:
        """Raise if this thread is within ``write``: it would wait for itself."""
        if getattr(self._inside, "transaction", False):
            raise RuntimeError("a transaction is open in this thread: end it first")

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _unavailable(why: str, *, operation: str = OPERATION) -> DataFerryError:
    return faults.refusal(DatabaseUnavailableError, why, operation=operation)


@contextmanager
def translating(operation: str) -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except DBAPIError as exc:
        error = exc.orig or exc
        translated = faults.translated if isinstance(error, sqlite3.Error) else faults_postgresql.translated
        raise translated(error, operation=operation) from exc
    except sqlite3.Error as exc:
        raise faults.translated(exc, operation=operation) from exc
    except PoolTimeoutError as exc:
        raise _unavailable("all connections to the database are in use", operation=operation) from exc
    except UnicodeEncodeError as exc:
        raise InputError(
            "a text has half of a surrogate pair: it cannot be stored", operation=operation
        ) from exc


def make_private(path: str) -> None:
    """Make sure that the database file is there with mode 0600 before anything is written to it.

    SQLite gives the files beside it (``-wal``, ``-shm``) the same mode.
    """
    if not path or path == ":memory:":
        return
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        Path(path).chmod(0o600)
    except OSError as exc:
        raise ConfigError(f"[store] url: {path} cannot be used: {exc.strerror or exc}") from exc


def parsed(url: str) -> URL:
    """Read the URL without ever showing it: it may hold a password.

    Raises:
        ConfigError: It is no URL of a database that the store can be on.
    """
    try:
        found = make_url(url)
    except ArgumentError:
        raise ConfigError("[store] url is not a database URL such as sqlite:///dataferry.db") from None
    backend = found.get_backend_name()
    if backend not in {"sqlite", "postgresql", "postgres"}:
        raise ConfigError(f"[store] url: there is no driver for {backend}: use sqlite:/// or postgresql://")
    if backend == "sqlite" and found.database in {None, "", ":memory:"}:
        raise ConfigError("[store] url names no file: what is in memory would not survive a restart")
    return found


def _sqlite_engine(url: URL) -> Engine:
    """Make SQLite's engine; its connections are configured and begun by us."""
    engine = create_engine(
        url,
        hide_parameters=True,  # an error message must not show what was being written
        # Each thread that reads has one for a moment; to open one anew costs more than the reading.
        pool_size=POOLED_CONNECTIONS,
        max_overflow=MORE_CONNECTIONS,
        pool_use_lifo=True,
        connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None, "check_same_thread": False},
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: sqlite3.Connection, _record: Any) -> None:
    """Set what SQLite forgets with each connection.

    ``synchronous = FULL``: a state that was answered for, or a promised callback, survives a power cut.
    """
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")


def _begin(connection: Connection) -> None:
    """Take the write lock at once: a transaction that reads first could fail when it comes to write."""
    read_only = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
