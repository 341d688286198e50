"""The ledger on the service's database, fenced by the flow's row."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from sqlalchemy import Connection, TextClause, text
from sqlalchemy.exc import IntegrityError

from dataferry.domain.clock import Clock
from dataferry.store.database import Database
from dataferry.store.ledger_receiving import ReceivingSqlLedger
from dataferry.store.ledger_session import NotUniqueError, Row, SqlConnection, Values
from dataferry.store.ledger_sqlite import SqliteConnection


def service_ledger(database: Database, clock: Clock) -> ReceivingSqlLedger:
    """Return the ledger of flows' transfers; its writer thread runs until ``close``."""
    return ReceivingSqlLedger(_ServiceDatabase(database), clock)


@cache
def _statement(sql: str) -> TextClause:
    """Parse a statement once; there are a few dozen."""
    return text(sql)


class _TextConnection:
    """A SQLAlchemy connection, for plain SQL."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def query(self, sql: str, values: Values) -> list[Row]:
        """Return all rows."""
        return [tuple(row) for row in self._connection.execute(_statement(sql), dict(values))]

    def execute(self, sql: str, values: Values) -> int:
        """Return how many rows were changed."""
        try:
            return self._connection.execute(_statement(sql), dict(values)).rowcount
        except IntegrityError as exc:
            raise NotUniqueError from exc

    def execute_many(self, sql: str, rows: Sequence[Values]) -> None:
        """Run one statement for many rows."""
        parameters: list[dict[str, Any]] = [dict(row) for row in rows]
        try:
            self._connection.execute(_statement(sql), parameters)
        except IntegrityError as exc:
            raise NotUniqueError from exc


class _ServiceDatabase:
    """The store's database as the ledger uses it."""

    # Writers exclude each other on every database, so the flow's row stays as it is.
    epoch_sql = "SELECT epoch FROM flows WHERE id = :id"

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def write(self) -> Iterator[SqlConnection]:
        """A transaction that writes, in turn with the store's."""
        with self._database.write() as connection:
            yield self._plain(connection)

    @contextmanager
    def read(self) -> Iterator[SqlConnection]:
        """A snapshot."""
        with self._database.read() as connection:
            yield self._plain(connection)

    def secure(self) -> None:
        """Every commit survives a power cut here."""

    def _plain(self, connection: Connection) -> SqlConnection:
        """On SQLite go to the driver: SQLAlchemy's share would be most of what a part's row costs."""
        if self._database.is_sqlite:
            driver = connection.connection.driver_connection
            if isinstance(driver, sqlite3.Connection):
                return SqliteConnection(driver)
        return _TextConnection(connection)

    def before_waiting(self) -> None:
        """A thread in a transaction would wait for the writer, which waits for that transaction's end."""
        self._database.refuse_nested()

    def close(self) -> None:
        """The connections are the store's."""
