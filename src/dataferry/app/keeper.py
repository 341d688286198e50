"""Keeps this process the only one at work on a PostgreSQL database, while it serves.

The right is a lock that lives as long as one connection. Where that is lost, nothing more is written until
the lock is ours again: flows end at the next row that they would write, and go on from the ledger. Where
another process has the lock meanwhile, this one ends.
"""

from __future__ import annotations

from collections.abc import Callable

from dataferry.domain.errors import ConflictError, DataFerryError
from dataferry.flows.periodic import Periodic
from dataferry.store.store import Store
from dataferry.store.tenure import Tenure
from dataferry.telemetry.logs import get_logger

INTERVAL_S = 1.0
SUSPENDED = "the connection that makes this process the database's only one was lost; it is being made anew"

_log = get_logger("app.keeper")


class Keeper:
    """Looks after the lock, in a thread that it owns.

    Args:
        tenure: Held.
        store: Is told to write nothing while the lock is not ours.
        replaced: Called once, with why, when another process has the lock.
    """

    def __init__(self, tenure: Tenure, store: Store, replaced: Callable[[str], None]) -> None:
        self._tenure = tenure
        self._store = store
        self._replaced = replaced
        self._is_lost = False
        self._is_replaced = False
        self._thread = Periodic("keeper", self.tick, INTERVAL_S)

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking; the lock stays held."""
        self._thread.close()

    def tick(self) -> None:
        """Look once; take the lock again if it was lost."""
        if self._is_replaced or self._tenure.is_held():
            return
        if not self._is_lost:
            self._is_lost = True
            self._store.suspend(SUSPENDED)
            _log.warning(
                "the connection that holds the database was lost: nothing is written until it is back"
            )
        try:
            self._tenure.take(patience_s=0)
        except ConflictError as error:
            self._is_replaced = True
            _log.error("another process works on the database now: this one ends")
            self._replaced(error.message)
        except DataFerryError:
            return  # the next look tries again
        else:
            self._is_lost = False
            self._store.resume()
            _log.info("the database is held again")
