"""How requests get into the store: many that come at once wait for the disk once.

Each is answered only when it is written for good. There is no thread and no timer: whoever gets its turn
writes all that have come meanwhile, in one transaction.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from dataferry.domain.errors import ConflictError
from dataferry.domain.orchestration import Ask, Orchestration
from dataferry.store.store import Store

# In one transaction: bounds how long the first of them waits for the last.
MOST_AT_ONCE = 64


@dataclass(slots=True)
class _Waiting:
    made: Orchestration
    asks: Sequence[Ask]
    is_done: bool = False
    error: Exception | None = None


class Intake:
    """Writes new orchestrations. Thread-safe.

    Args:
        store: Where to.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[_Waiting] = deque()
        self._turn = threading.Lock()

    def insert(self, made: Orchestration, asks: Sequence[Ask]) -> None:
        """Write one; returns once it is committed.

        Raises:
            ConflictError: Its idempotency key is taken.
            DataFerryError: It could not be written.
        """
        mine = _Waiting(made, asks)
        self._waiting.append(mine)
        with self._turn:
            while not mine.is_done:
                self._write()
        if mine.error is not None:
            raise mine.error

    def _write(self) -> None:
        """Write what waits, from the oldest on; the caller's own is among them."""
        batch = [self._waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(self._waiting)))]
        try:
            with self._store.transaction() as tx:
                for one in batch:
                    try:
                        tx.orchestrations.insert(one.made, one.asks)
                    except ConflictError as exc:
                        one.error = exc
        except Exception as exc:  # noqa: BLE001 - each of them is told; nobody else would
            for one in batch:
                one.error = exc
        for one in batch:
            one.is_done = True
