"""Threads that several owners share: who has the fewest at work goes first, and nobody has all of them.

A store that does not answer holds a thread for as long as patience lasts: with one queue for all, one control
plane's silent store would keep the others' verbs waiting.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")
_Waiting = tuple[Future[Any], Callable[[], Any]]


class FairPool:
    """Runs work in threads that it owns. Thread-safe.

    Args:
        threads: Of them at most; made when they are needed.
        most_of_one: So many may work for one owner at once.
        name: Of the threads.
    """

    def __init__(self, threads: int, *, most_of_one: int, name: str) -> None:
        self._threads = threads
        self._most_of_one = most_of_one
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)
        self._lock = Lock()
        self._at_work: Counter[str] = Counter()
        self._waiting: dict[str, deque[_Waiting]] = {}
        self._closed = False

    def submit(self, owner: str, work: Callable[[], T]) -> Future[T]:
        """Have work done for somebody; what is cancelled before it began is not done.

        Raises:
            RuntimeError: The pool is closed.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool is closed")
            self._waiting.setdefault(owner, deque()).append((future, work))
            self._begin_what_may()
        return future

    def close(self) -> None:
        """Drop what waits, and join the threads."""
        with self._lock:
            self._closed = True
            dropped = [future for waiting in self._waiting.values() for future, _ in waiting]
            self._waiting.clear()
        for future in dropped:
            future.cancel()
        self._pool.shutdown(wait=True)

    def _begin_what_may(self) -> None:
        """Hand work to free threads; called with the lock held."""
        while self._waiting and self._at_work.total() < self._threads:
            owner = min(self._waiting, key=lambda name: self._at_work[name])
            if self._at_work[owner] >= self._most_of_one:
                return
            future, work = self._waiting[owner].popleft()
            if not self._waiting[owner]:
                del self._waiting[owner]
            self._at_work[owner] += 1
            self._pool.submit(self._run, owner, future, work)

    def _run(self, owner: str, future: Future[Any], work: Callable[[], Any]) -> None:
        try:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as exc:  # noqa: BLE001 - whoever waits for it gets it
                    future.set_exception(exc)
        finally:
            with self._lock:
                self._at_work[owner] -= 1
                if not self._at_work[owner]:
                    del self._at_work[owner]
                if not self._closed:
                    self._begin_what_may()
