"""One process a database: an advisory lock of PostgreSQL, held by a connection of its own.

PostgreSQL frees it when the connection ends, however the process ends. So it may also be lost while the
process lives: who holds it asks, and does not write any more until it is taken again. A connection that was
given up because its server fell silent may live on there, and hold the lock against us: it is ended then.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import SQLAlchemyError

from dataferry.domain.errors import ConfigError, ConflictError
from dataferry.store.database import LOCK_TIMEOUT_S, OPERATION, parsed, translating
from dataferry.store.database_postgresql import TENURE_LOCK, postgresql_engine

# A process that was killed a moment ago: PostgreSQL notices when the statement that it was at has ended.
PATIENCE_S = 3.0
POLL_S = 0.1
_SESSION = text("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")
# The list of locks has a number of 64 bits as two of 32.
_END_SESSION = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity JOIN pg_locks USING (pid)"
    " WHERE pid = :pid AND backend_start = :backend_start AND granted AND locktype = 'advisory'"
    " AND ((classid::bigint << 32) | objid::bigint) = :number"
)
REFUSAL = (
    "another dataferry works on this database: two would run every flow twice."
    " Stop it, or give this one another store.url"
)


class Tenure:
    """The right to be the one that works on a PostgreSQL database. For one thread at a time.

    Args:
        url: Of the store.
        refusal: What to tell whoever comes second.
    """

    def __init__(self, url: str, *, refusal: str = REFUSAL) -> None:
        self._engine = postgresql_engine(parsed(url), lock_timeout_s=LOCK_TIMEOUT_S, alone=True)
        self._refusal = refusal
        self._connection: Connection | None = None
        self._session: Row[Any] | None = None  # of PostgreSQL, as it was when the lock was taken last

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def take(self, *, patience_s: float = PATIENCE_S) -> None:
        """Take it; wait for a moment if another process has it, which may be ending.

        Raises:
            ConflictError: Another process has it.
            DatabaseUnavailableError: The database does not answer.
            ConfigError: The database can't be used.
        """
        deadline = time.monotonic() + patience_s
        with translating(OPERATION):
            connection = self._engine.connect()
            try:
                while not self._tried(connection):
                    if self._ended_our_last(connection):
                        deadline = time.monotonic() + PATIENCE_S
                    elif time.monotonic() >= deadline:
                        raise ConflictError(self._refusal)  # noqa: TRY301 - one handler
                    time.sleep(POLL_S)
                self._session = connection.execute(_SESSION).one()
            except BaseException:
                connection.close()
                raise
        self._connection = connection

    def _ended_our_last(self, connection: Connection) -> bool:
        """End the session that we held the lock by before, where it still has it, once; return if it had."""
        if self._session is None:
            return False
        given = {**self._session._asdict(), "number": TENURE_LOCK}
        ended = connection.execute(_END_SESSION, given).first()
        self._session = None
        return ended is not None

    def is_held(self) -> bool:
        """Return whether it is still ours: asks the database, on the connection that holds it."""
        if self._connection is None:
            return False
        try:
            self._connection.execute(text("SELECT 1"))
        except (SQLAlchemyError, ConfigError):
            self.release()
            return False
        return True

    def release(self) -> None:
        """Give it back; safe to repeat."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    @staticmethod
    def _tried(connection: Connection) -> bool:
        taken = connection.execute(text("SELECT pg_try_advisory_lock(:number)"), {"number": TENURE_LOCK})
        return bool(taken.scalar_one())
