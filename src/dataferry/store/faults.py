"""What SQLite's errors mean for a caller. Standard library only: the local ledger uses it too."""

from __future__ import annotations

import sqlite3

from dataferry.domain.errors import (
    ConfigError,
    DatabaseUnavailableError,
    DataFerryError,
    NoSpaceError,
    StorageError,
)

RETRY_AFTER_S = 5.0
HELD = "another process holds the database; is one still running on it?"

_PRIMARY = 0xFF
_SENTENCES: dict[int, tuple[type[DataFerryError], str]] = {
    sqlite3.SQLITE_FULL: (NoSpaceError, "the disk is full: nothing more can be written to the database"),
    sqlite3.SQLITE_BUSY: (DatabaseUnavailableError, HELD),
    sqlite3.SQLITE_LOCKED: (DatabaseUnavailableError, HELD),
    sqlite3.SQLITE_READONLY: (ConfigError, "the database file or its directory is read-only"),
    sqlite3.SQLITE_CANTOPEN: (ConfigError, "the database file cannot be opened: is its directory there?"),
    sqlite3.SQLITE_PERM: (ConfigError, "the database file may not be opened: look at its permissions"),
    sqlite3.SQLITE_AUTH: (ConfigError, "the database file may not be opened: look at its permissions"),
    sqlite3.SQLITE_CORRUPT: (ConfigError, "the database file is damaged: restore it from a backup"),
    sqlite3.SQLITE_NOTADB: (ConfigError, "the file is not a database of ours: name another one"),
    sqlite3.SQLITE_IOERR: (StorageError, "the disk under the database failed to read or write"),
}


def translated(error: BaseException, *, operation: str) -> DataFerryError:
    """Return the error of our tree for one of SQLite's; the caller raises it ``from`` the original.

    The text of the original is left out where it could hold values.
    """
    code = getattr(error, "sqlite_errorcode", None)
    known = _SENTENCES.get(code & _PRIMARY) if isinstance(code, int) else None
    if known is None:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        return StorageError(f"the database failed: {name}", operation=operation)
    return refusal(*known, operation=operation)


def refusal(kind: type[DataFerryError], sentence: str, *, operation: str) -> DataFerryError:
    """Make an error of the database; of an outage it says when to ask again."""
    wait_s = RETRY_AFTER_S if kind is DatabaseUnavailableError else None
    return kind(sentence, operation=operation, retry_after_s=wait_s)
