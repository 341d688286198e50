"""PostgreSQL as a server needs it: bounded waits, one writer at a time, snapshots to read from.

Every wait has a bound, so that a machine that is gone is noticed, and one that is there and says nothing: by
us in seconds, and by PostgreSQL too, which else would keep our locks for hours.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import NullPool

from dataferry.domain.errors import ConfigError, DatabaseUnavailableError
from dataferry.store.faults import RETRY_AFTER_S

READ_ONLY = "dataferry_read_only"
# Advisory locks are of a database; the numbers are ours ("dfry" in ASCII, and which of them).
WRITER_LOCK = 0x6466_7279_0001
TENURE_LOCK = 0x6466_7279_0002
POOLED_CONNECTIONS = 8
MORE_CONNECTIONS = 24
CONNECT_TIMEOUT_S = 5
# After a call that failed: no time for a control plane, and much for callers that would each wait for theirs.
PAUSE_AFTER_FAILURE_S = 0.5
# How long a server that is there may say nothing: to who reads, which waits for nobody; to who asks for this
# process's lock, which takes no time; and to who writes, beyond the wait for another writer.
READ_SILENCE_S = 20.0
TENURE_SILENCE_S = 10.0
WRITE_SILENCE_S = 15.0
# The server itself ends a statement a little before we give it up, so that it does not run on for nobody.
_STATEMENT_S = 10.0
_DRIVERS = frozenset({"postgresql", "postgres", "postgresql+psycopg"})
_SILENT_FOR_MS = 15_000
# libpq's: a connection over which nothing comes back ends after a quarter of a minute.
_OUR_SIDE: dict[str, Any] = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": _SILENT_FOR_MS,
    "application_name": "dataferry",
    "client_encoding": "utf8",
}


def postgresql_engine(
    url: URL, *, lock_timeout_s: float, alone: bool = False, is_patient: bool = False
) -> Engine:
    """Make an engine.

    Args:
        url: Of the store.
        lock_timeout_s: How long a statement waits for somebody else's lock.
        alone: One connection that commits each statement, for a lock that lives as long as it does.
        is_patient: Statements may take as long as they do: to change tables.

    Raises:
        ConfigError: The driver is not installed, or is not the one that we know.
    """
    if url.drivername not in _DRIVERS:
        raise ConfigError("[store] url: use postgresql://, which is spoken with psycopg")
    url = url.set(drivername="postgresql+psycopg")
    options: dict[str, Any] = (
        {"poolclass": NullPool, "isolation_level": "AUTOCOMMIT"}
        if alone
        else {
            "pool_size": POOLED_CONNECTIONS,
            "max_overflow": MORE_CONNECTIONS,
            "pool_use_lifo": True,
        }
    )
    given = {name: value for name, value in _OUR_SIDE.items() if name not in url.query}
    try:
        engine = create_engine(url, hide_parameters=True, connect_args=given, **options)
    except ImportError:
        raise ConfigError(
            "[store] url: the driver for PostgreSQL is not installed: pip install 'dataferry[postgresql]'"
        ) from None
    statement_s = 0.0 if is_patient else lock_timeout_s + _STATEMENT_S
    event.listen(engine, "do_connect", _Gate(silence_s=TENURE_SILENCE_S).connect)
    event.listen(engine, "connect", _configure(lock_timeout_s, statement_s))
    if not alone:
        bounds = (None, None) if is_patient else (READ_SILENCE_S, lock_timeout_s + WRITE_SILENCE_S)
        event.listen(engine, "begin", _beginning(*bounds))
        event.listen(engine, "checkout", _refuse_stale)
    return engine


def snapshot_options() -> dict[str, Any]:
    """Execution options of a connection that reads: what it sees is of one moment, and it writes nothing."""
    return {READ_ONLY: True, "isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def _beginning(read_silence_s: float | None, write_silence_s: float | None) -> Callable[[Connection], None]:
    """Return what begins a transaction."""

    def begin(connection: Connection) -> None:
        """Bound its waits, and let those who write take turns: each sees all that was committed before.

        The lock ends with the transaction, after its commit can be seen. So what one read is still so when it
        writes, as on SQLite, and numbers that count up (events, the outbox) become visible in their order.
        """
        reads = connection.get_execution_options().get(READ_ONLY, False)
        driver: Any = connection.connection.driver_connection
        driver.silence_s = read_silence_s if reads else write_silence_s
        if not reads:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")

    return begin


def _refuse_stale(connection: Any, _record: Any, _proxy: Any) -> None:
    """Have a pooled connection made anew if it ended while it idled: then there is its end to be read.

    To ask over the network instead (``pool_pre_ping``) would be a quarter of what a short read costs.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise InvalidatePoolError("PostgreSQL has ended an idle connection")


def _configure(lock_timeout_s: float, statement_s: float) -> Any:
    """Return what sets up each connection.

    In a statement, not in the start of the connection: poolers refuse options there.
    """
    settings = {
        "lock_timeout": f"{lock_timeout_s:.0f}s",
        "statement_timeout": f"{statement_s:.0f}s",
        # A machine of ours that lost its power must not hold its locks until the next day.
        "tcp_keepalives_idle": "5",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": str(_SILENT_FOR_MS),
    }
    calls = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in settings.items())

    def configure(connection: Any, _record: Any) -> None:
        before, connection.autocommit = connection.autocommit, True
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise ConfigError(
                f"[store] url: the database's encoding is {encoding}: names of objects need ENCODING 'UTF8'"
            )
        connection.execute(f"SELECT {calls}")  # our own words only
        connection.autocommit = before

    return configure


class _Gate:
    """Connects; lets one caller find out that the server does not answer, instead of each in its turn.

    Args:
        silence_s: Of a new connection, until a transaction on it says otherwise.
    """

    def __init__(self, *, silence_s: float) -> None:
        self._silence_s = silence_s
        self._lock = threading.Lock()
        self._closed_until = 0.0

    def connect(self, _dialect: Any, _record: Any, arguments: Any, parameters: Any) -> Any:
        """Connect; refuse at once for a moment after somebody could not."""
        from dataferry.store.silence_postgresql import BoundedConnection

        with self._lock:
            if time.monotonic() < self._closed_until:
                raise DatabaseUnavailableError(
                    "the database does not answer", operation="store", retry_after_s=RETRY_AFTER_S
                )
        try:
            connection = BoundedConnection.connect(*arguments, **parameters)
        except Exception:
            with self._lock:
                self._closed_until = time.monotonic() + PAUSE_AFTER_FAILURE_S
            raise
        connection.silence_s = self._silence_s
        return connection
