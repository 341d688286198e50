"""How requests get into the store: many that come at once are written together.

Each is answered only when it is written for good. One thread writes whatever has come, in one transaction,
once nobody else has come for a moment: while it writes, it competes with those that are still being read, so
that of a crowd each would be answered later.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from dataferry.domain.asks import Asks
from dataferry.domain.errors import ConflictError, DatabaseUnavailableError, DataFerryError
from dataferry.domain.orchestration import Orchestration
from dataferry.flows.orchestration.faults import is_outage
from dataferry.store.store import Store, Transaction

# In one transaction: bounds how long the first of them waits for the last.
MOST_AT_ONCE = 64
# A lone request waits so long for others, and a crowd so long for its last one.
GATHER_S = 0.002
MOST_GATHERED_S = 0.05


@dataclass(frozen=True, slots=True)
class _Waiting:
    made: Orchestration
    asks: Asks
    future: Future[Orchestration] = field(default_factory=Future)


class Intake:
    """Writes new orchestrations, in a thread that it owns. Thread-safe.

    Args:
        store: Where to.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._is_writing = False
        self._closing = threading.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="intake")

    def submit(self, made: Orchestration, asks: Asks) -> Future[Orchestration]:
        """Have one written; never blocks.

        Returns:
            Once it is committed, itself, or the one that was made of the same request before. It fails with
            ``ConflictError`` if its idempotency key belongs to another request, and with another
            ``DataFerryError`` if it could not be written.
        """
        mine = _Waiting(made, asks)
        with self._lock:
            self._waiting.append(mine)
            if not self._is_writing:
                self._thread.submit(self._write_all)
                self._is_writing = True
        return mine.future

    def close(self) -> None:
        """Write what waits, and join the thread. Safe to repeat."""
        self._closing.set()
        self._thread.shutdown(wait=True)

    def _write_all(self) -> None:
        self._gather()
        while batch := self._take():
            self._write(batch)
            self._gather()

    def _gather(self) -> None:
        """Wait while more and more are waiting."""
        seen = 0
        for _ in range(int(MOST_GATHERED_S / GATHER_S)):
            present = len(self._waiting)
            if present == seen or present >= MOST_AT_ONCE:
                return
            seen = present
            self._closing.wait(GATHER_S)

    def _take(self) -> list[_Waiting]:
        """Take the oldest of what waits."""
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(self._waiting)))]
            self._is_writing = bool(batch)
        return batch

    def _write(self, batch: Sequence[_Waiting]) -> None:
        """Write some in one transaction, each in its own if one of them is at fault, and tell each."""
        try:
            outcomes = self._outcomes(batch)
        except Exception as exc:  # noqa: BLE001 - each of them is told; nobody else would
            are_apart = len(batch) > 1 and not _is_of_all(exc)
            for one in batch:
                if are_apart:
                    self._write([one])
                else:
                    one.future.set_exception(_own(exc))
            return
        for one, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, ConflictError):
                one.future.set_exception(outcome)
            else:
                one.future.set_result(outcome)

    def _outcomes(self, batch: Sequence[_Waiting]) -> list[Orchestration | ConflictError]:
        """Write some in one transaction; return what each stands for, or why it can't be taken."""
        with self._store.transaction() as tx:
            unnamed = [(one.made, one.asks) for one in batch if one.made.idempotency_key is None]
            tx.orchestrations.insert(unnamed)
            return [_written(tx, one) for one in batch]


def _written(tx: Transaction, one: _Waiting) -> Orchestration | ConflictError:
    """Write one that has a key, unless that was used; return what it stands for, or why it can't be taken."""
    key = one.made.idempotency_key
    if key is None:
        return one.made
    present = tx.orchestrations.by_idempotency_key(key)
    if present is None:
        tx.orchestrations.insert([(one.made, one.asks)])
        return one.made
    if present.digest != one.made.digest:
        return ConflictError("this Idempotency-Key belongs to another request")
    return present


def _is_of_all(error: Exception) -> bool:
    """Return whether it is with no request: written alone, each would fail of the same."""
    return isinstance(error, ConflictError) or (isinstance(error, DataFerryError) and is_outage(error))


def _own(error: Exception) -> Exception:
    """Return why nothing was written, for one caller: who raises an object of its own.

    Whatever the store says of a conflict, it is with none of these requests: they can be repeated.
    """
    if not isinstance(error, DataFerryError):
        return error
    return error.retold(DatabaseUnavailableError if _is_of_all(error) else None)
