"""Brings what another thread has done to those who wait in the event loop: a crowd with one wake-up."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")


class Handover:
    """Of one event loop. ``asyncio.wrap_future`` wakes that for each result, while the thread works on."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._done: list[tuple[asyncio.Future[Any], Future[Any]]] = []

    async def result(self, awaited: Future[T]) -> T:
        """Return what comes of a future of another thread, or raise it."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[T] = loop.create_future()
        awaited.add_done_callback(lambda done: self._bring(loop, waiter, done))
        return await waiter

    def _bring(self, loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[T], done: Future[T]) -> None:
        with self._lock:
            self._done.append((waiter, done))
            is_first = len(self._done) == 1
        if is_first:
            loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        with self._lock:
            brought, self._done = self._done, []
        for waiter, done in brought:
            if waiter.done():
                continue  # nobody waits any more
            error = done.exception()
            if error is None:
                waiter.set_result(done.result())
            else:
                waiter.set_exception(error)
