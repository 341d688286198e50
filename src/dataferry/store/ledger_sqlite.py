"""The ledger's statements on a sqlite3 connection. Standard library only, because of ``copy``."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from dataferry.store.ledger_session import NotUniqueError, Row, Values


class SqliteConnection:
    """A sqlite3 connection, for plain SQL."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def query(self, sql: str, values: Values) -> list[Row]:
        """Return all rows."""
        return self._connection.execute(sql, values).fetchall()

    def execute(self, sql: str, values: Values) -> int:
        """Return how many rows were changed."""
        try:
            return self._connection.execute(sql, values).rowcount
        except sqlite3.IntegrityError as exc:
            raise NotUniqueError from exc

    def execute_many(self, sql: str, rows: Sequence[Values]) -> None:
        """Run one statement for many rows."""
        try:
            self._connection.executemany(sql, rows)
        except sqlite3.IntegrityError as exc:
            raise NotUniqueError from exc
