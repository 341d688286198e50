"""Group commit: one thread writes; whatever has gathered meanwhile goes into one transaction.

A commit costs a sync of the disk, and many workers wait for theirs at the same time: together they wait once.
There is no timer: a lone caller is committed at once, and under load a batch is what came during the last
commit.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Generic, Protocol, TypeVar

from dataferry.domain.errors import DatabaseUnavailableError, DataFerryError, StoppedError, StorageError

CAPACITY = 1_024  # calls that wait; each is a thread that waits, so more can only be a fault
BATCH = 256  # calls in one transaction: bounds how long the first of them waits for the last
CLOSE_TIMEOUT_S = 60.0


class Session(Protocol):
    """What operations work on: one transaction."""

    def savepoint(self) -> AbstractContextManager[None]:
        """A part of the transaction that can be undone alone."""
        ...

    def flush(self) -> None:
        """Write what was gathered for the end of the transaction."""
        ...


S = TypeVar("S", bound=Session)
T = TypeVar("T")


class _Call(Generic[S]):
    """One caller's operation, and how it went."""

    __slots__ = ("done", "error", "operation", "result")

    def __init__(self, operation: Callable[[S], object]) -> None:
        self.operation = operation
        self.done = threading.Event()
        self.result: object = None
        self.error: BaseException | None = None

    def settle(self, result: object, error: BaseException | None) -> None:
        """Wake the caller."""
        self.result, self.error = result, error
        self.done.set()


class GroupCommit(Generic[S]):
    """Runs operations of many threads in few transactions. Thread-safe.

    Args:
        transaction: Opens a transaction and commits it at its end; called in the writer's thread only.
        name: Of the thread.
    """

    def __init__(
        self, transaction: Callable[[], AbstractContextManager[S]], *, name: str, capacity: int = CAPACITY
    ) -> None:
        self._transaction = transaction
        self._capacity = capacity
        self._waiting: deque[_Call[S]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        # A daemon, so that a forgotten ledger does not keep a process alive; `close` stops and joins it.
        self._thread = threading.Thread(target=self._write, name=name, daemon=True)
        self._thread.start()

    @property
    def thread_id(self) -> int | None:
        """The system's number of the writer's thread; None once it has ended."""
        return self._thread.native_id if self._thread.is_alive() else None

    def run(self, operation: Callable[[S], T]) -> T:
        """Run ``operation`` in the next transaction; return its result once that is committed.

        It may be run a second time, after a rollback, if another operation of its batch fails: it must not
        keep anything from its first run.

        Raises:
            StoppedError: ``close`` was called, or the writer is gone.
            DataFerryError: What the operation raised, or why the transaction failed.
        """
        call: _Call[S] = _Call(operation)
        with self._changed:
            while not self._closed and len(self._waiting) >= self._capacity:
                self._changed.wait()
            if self._closed:
                raise StoppedError("the ledger is closed")
            self._waiting.append(call)
            self._changed.notify_all()
        call.done.wait()
        if call.error is not None:
            raise _own(call.error) from call.error
        return call.result  # type: ignore[return-value]  # it is what this very operation returned

    def close(self) -> None:
        """Commit what waits, refuse what comes, and stop the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_TIMEOUT_S)

    def _write(self) -> None:
        """The writer's thread: ends when closed and idle; leaves no caller waiting however it ends."""
        try:
            while batch := self._take():
                self._commit(batch)
        finally:
            with self._changed:
                self._closed = True
                left = list(self._waiting)
                self._waiting.clear()
                self._changed.notify_all()
            for call in left:
                call.settle(None, StoppedError("the ledger's writer has ended"))

    def _take(self) -> list[_Call[S]]:
        """Wait for calls, and take all that are there; none once closed."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            self._changed.notify_all()
            return batch

    def _commit(self, batch: list[_Call[S]]) -> None:
        """Run a batch in one transaction, without the cost of savepoints; if anything fails, one by one."""
        try:
            with self._transaction() as session:
                results = [call.operation(session) for call in batch]
                session.flush()
        except Exception as exc:  # noqa: BLE001 - a task boundary: the callers are told
            # Where the connection was lost, the commit may be done all the same: who repeats it would meet
            # what it wrote itself. The next attempt begins with a look at what is there.
            if len(batch) == 1 or isinstance(exc, DatabaseUnavailableError):
                for call in batch:
                    call.settle(None, exc)
            else:
                self._commit_apart(batch)
        except BaseException as exc:
            for call in batch:
                call.settle(None, exc)
            raise
        else:
            for call, result in zip(batch, results, strict=True):
                call.settle(result, None)

    def _commit_apart(self, batch: list[_Call[S]]) -> None:
        """Run a batch in one transaction in which each operation can fail alone."""
        outcomes: list[tuple[object, BaseException | None]] = []
        try:
            with self._transaction() as session:
                for call in batch:
                    outcomes.append(_attempt(session, call))  # noqa: PERF401 - each has effects
                session.flush()
        except Exception as exc:  # noqa: BLE001 - a task boundary: the callers are told
            outcomes = [(None, exc)] * len(batch)
        for call, (result, error) in zip(batch, outcomes, strict=True):
            call.settle(result, error)


def _attempt(session: S, call: _Call[S]) -> tuple[object, BaseException | None]:
    """Run one operation so that its failure undoes only itself."""
    try:
        with session.savepoint():
            return call.operation(session), None
    except Exception as exc:  # noqa: BLE001 - a task boundary: the callers are told
        return None, exc


def _own(error: BaseException) -> BaseException:
    """Return an error to raise in the caller's thread: each gets its own object and traceback."""
    if isinstance(error, DataFerryError):
        return error.retold()
    return StorageError(f"the ledger failed: {type(error).__name__}", operation="ledger")
