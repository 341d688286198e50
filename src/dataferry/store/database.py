"""The engine under the store: SQLite as a server needs it, PostgreSQL as it is."""

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
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from dataferry.domain.errors import ConfigError, ConflictError
from dataferry.store.faults import translated

BUSY_TIMEOUT_S = 10.0
# How long a transaction waits for another thread's: longer than any of ours lasts, so that waiting means a
# fault.
LOCK_TIMEOUT_S = 30.0
POOLED_CONNECTIONS = 16
MORE_CONNECTIONS = 48
_READ_ONLY = "dataferry_read_only"


class Database:
    """One database and its connections.

    On SQLite there is one writer at a time anyway; a lock of ours orders the writers of this process, because
    waiting inside SQLite means polling with sleeps, which starves whoever is unlucky.
    """

    def __init__(self, url: str) -> None:
        self.url = _parsed(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            make_private(self.url.database or "")
        self.engine = _engine(self.url, is_sqlite=self.is_sqlite)
        self._writers = threading.Lock()
        self._inside = threading.local()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write: committed at the end, rolled back on an error.

        Raises:
            ConflictError: Another writer does not end, or this thread is in a transaction already.
        """
        self.refuse_nested()
        if self.is_sqlite and not self._writers.acquire(timeout=LOCK_TIMEOUT_S):
            raise ConflictError(f"another transaction has not ended within {LOCK_TIMEOUT_S:.0f} s")
        self._inside.transaction = True
        try:
            with translating("store"), self.engine.begin() as connection:
                yield connection
        finally:
            self._inside.transaction = False
            if self.is_sqlite:
                self._writers.release()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot to read from; never waits for writers."""
        with translating("store"), self.engine.connect() as connection:
            yield connection.execution_options(**{_READ_ONLY: True})

    def refuse_nested(self) -> None:
        """Raise if this thread is within ``write``: it would wait for itself."""
        if getattr(self._inside, "transaction", False):
            raise RuntimeError("a transaction is open in this thread: end it first")

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


@contextmanager
def translating(operation: str) -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except DBAPIError as exc:
        raise translated(exc.orig or exc, operation=operation) from exc
    except sqlite3.Error as exc:
        raise translated(exc, operation=operation) from exc


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


def _parsed(url: str) -> URL:
    """Read the URL without ever showing it: it may hold a password."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError("[store] url is not a database URL such as sqlite:///dataferry.db") from None
    if parsed.get_backend_name() == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise ConfigError("[store] url names no file: what is in memory would not survive a restart")
    return parsed


def _engine(url: URL, *, is_sqlite: bool) -> Engine:
    """Make the engine; SQLite's connections are configured and begun by us."""
    try:
        if not is_sqlite:
            return create_engine(url, pool_pre_ping=True, hide_parameters=True)
        engine = create_engine(
            url,
            hide_parameters=True,  # an error message must not show what was being written
            # Each thread that reads has one for a moment; to open one anew costs more than the reading.
            pool_size=POOLED_CONNECTIONS,
            max_overflow=MORE_CONNECTIONS,
            pool_use_lifo=True,
            connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None, "check_same_thread": False},
        )
    except (NoSuchModuleError, ModuleNotFoundError):
        raise ConfigError(
            f"[store] url: there is no driver for {url.drivername} in this installation"
        ) from None
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
    read_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
