"""Blocking work of the gateway, in threads of its own; no store has all of them.

A store that stands still holds a thread for each request that waits for it. It may have half of them, so that
what lies elsewhere goes on being served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread

from dataferry.flows.resolution import Place

T = TypeVar("T")


class GatewayThreads:
    """The gateway's threads; belongs to the event loop.

    Args:
        count: All together.
    """

    def __init__(self, count: int) -> None:
        self._limiter = anyio.CapacityLimiter(count)
        self._most = max(1, count // 2)
        self._places: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @property
    def busy(self) -> int:
        """How many threads ask a store now."""
        return int(self._limiter.borrowed_tokens)

    async def run(
        self, place: Place | None, work: Callable[[], T], abort: Callable[[], None] = lambda: None
    ) -> T:
        """Do blocking work at a place; if nobody waits for it any more, it is aborted.

        Args:
            place: Whose store is asked; None is our own database, which answers at once.
            work: What to do.
            abort: Makes it fail at once.
        """
        if place is None:
            return await _in_thread(work, abort, None)
        name = place.endpoint.identity if place.location is None else f"location {place.location.name}"
        turns = self._places.get(name)
        if turns is None:
            turns = self._places[name] = asyncio.Semaphore(self._most)
        async with turns:
            return await _in_thread(work, abort, self._limiter)


async def _in_thread(
    work: Callable[[], T], abort: Callable[[], None], limiter: anyio.CapacityLimiter | None
) -> T:
    working = asyncio.ensure_future(anyio.to_thread.run_sync(work, limiter=limiter))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        abort()
        working.cancel()  # it may still wait for its thread
        with anyio.CancelScope(shield=True):
            await asyncio.wait([working])
        if not working.cancelled():
            working.exception()  # looked at: nobody else will
        raise
