"""What PostgreSQL's errors mean for a caller. Standard library only: the driver is an extra."""

from __future__ import annotations

from dataferry.domain.errors import (
    ConfigError,
    DatabaseUnavailableError,
    DataFerryError,
    InputError,
    NoSpaceError,
    StaleVersionError,
    StorageError,
)
from dataferry.store.faults import HELD, refusal

_GONE = "the database does not answer: is PostgreSQL running, and reached by this machine?"
_CROWDED = "PostgreSQL has no connection left for us: see its max_connections"
_UNFIT = "a value does not fit into the database: it is too long, too large, or has a NUL character"
_LOGIN = "[store] url: PostgreSQL refuses its user or password"

# By SQLSTATE, else by its class. Source: PostgreSQL's documentation, appendix A, "PostgreSQL Error Codes".
_SENTENCES: dict[str, tuple[type[DataFerryError], str]] = {
    "08": (DatabaseUnavailableError, _GONE),
    "22": (InputError, _UNFIT),
    "25006": (DatabaseUnavailableError, "the database takes no writes: it is a standby, or read-only"),
    "28": (ConfigError, _LOGIN),
    "3D000": (ConfigError, "[store] url names a database that is not there: make it with CREATE DATABASE"),
    "40001": (StaleVersionError, "another transaction changed the same rows first"),
    "40P01": (StaleVersionError, "another transaction waited for this one, and this one for it"),
    "42501": (ConfigError, "the user of [store] url may not use DataFerry's tables, or make them"),
    "42P01": (ConfigError, "a table is missing: was another database restored? dataferry db upgrade"),
    "53100": (NoSpaceError, "the disk is full: nothing more can be written to the database"),
    "53300": (DatabaseUnavailableError, _CROWDED),
    "53": (DatabaseUnavailableError, "the database has run out of memory or another resource"),
    "54": (InputError, _UNFIT),  # too long for an index
    "55P03": (DatabaseUnavailableError, HELD),
    "57014": (DatabaseUnavailableError, "the database ended a statement: see its statement_timeout"),
    "57": (DatabaseUnavailableError, _GONE),
    "58": (StorageError, "the disk under the database failed to read or write"),
    "XX001": (ConfigError, "the database is damaged: restore it from a backup"),
    "XX002": (ConfigError, "the database is damaged: restore it from a backup"),
}
# A connection that was never made has no SQLSTATE, only words.
_WORDS: tuple[tuple[str, type[DataFerryError], str], ...] = (
    ("password authentication failed", ConfigError, _LOGIN),
    ("no password supplied", ConfigError, _LOGIN),
    ("no pg_hba.conf entry", ConfigError, "[store] url: pg_hba.conf of PostgreSQL does not let us in"),
    ("database", ConfigError, _SENTENCES["3D000"][1]),
    ("role", ConfigError, _LOGIN),
    ("invalid connection option", ConfigError, "[store] url has a parameter that PostgreSQL does not know"),
    ("too many clients", DatabaseUnavailableError, _CROWDED),
    ("remaining connection slots", DatabaseUnavailableError, _CROWDED),
    ("too many connections", DatabaseUnavailableError, _CROWDED),
    ("certificate", ConfigError, "[store] url: PostgreSQL's certificate is not trusted (sslrootcert)"),
    ("does not support SSL", ConfigError, "[store] url asks for TLS, and PostgreSQL has none"),
)
# These words alone are in other messages too.
_ONLY_IF_MISSING = frozenset({"database", "role"})


def translated(error: BaseException, *, operation: str) -> DataFerryError:
    """Return the error of our tree for one of the driver's; the caller raises it ``from`` the original.

    The text of the original is left out: it may hold values, users and addresses.
    """
    state = getattr(error, "sqlstate", None)
    known = _by_state(state) if isinstance(state, str) else _without_state(error)
    if known is None:
        return StorageError(f"the database failed: {state or type(error).__name__}", operation=operation)
    return refusal(*known, operation=operation)


def _by_state(state: str) -> tuple[type[DataFerryError], str] | None:
    """Look a SQLSTATE up, then its class."""
    return _SENTENCES.get(state) or _SENTENCES.get(state[:2])


def _without_state(error: BaseException) -> tuple[type[DataFerryError], str] | None:
    """What the driver says by itself: no connection, or a value that it cannot send."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if "DataError" in names:
        return InputError, _UNFIT
    text = str(error)
    for words, kind, sentence in _WORDS:
        if words in text and (words not in _ONLY_IF_MISSING or "does not exist" in text):
            return kind, sentence
    return (DatabaseUnavailableError, _GONE) if names & {"OperationalError", "InterfaceError"} else None
