"""Blocking work of the gateway, in threads of its own; no store has all of them.

A store that stands still holds a thread for each request that waits for it. It may have half of them, so that
what lies elsewhere goes on being served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread

from dataferry.flows.resolution import Place


class Placed(Protocol):
    """What is open to somebody, and where it is."""

    @property
    def place(self) -> Place:
        """Whose store is to be asked."""
        ...


T = TypeVar("T")
P = TypeVar("P", bound=Placed)


class GatewayThreads:
    """The gateway's threads; belongs to the event loop.

    Args:
        count: All together.
    """

    def __init__(self, count: int) -> None:
        self._limiter = anyio.CapacityLimiter(count)
        self._count = count
        self._most = max(1, count // 2)
        self._entitled = 0  # those that have a thread, or wait for nothing but one
        self._places: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @property
    def busy(self) -> int:
        """How many threads ask a store now."""
        return int(self._limiter.borrowed_tokens)

    def is_free_for(self, place: Place) -> bool:
        """Return whether work at a place would have a thread at once, if it came now."""
        turns = self._places.get(_name(place))
        return self._entitled < self._count and (turns is None or not turns.locked())

    async def enter(
        self,
        place: Place | None,
        let_in: Callable[[], P],
        go_on: Callable[[P], T],
        abort: Callable[[], None] = lambda: None,
    ) -> T:
        """Let somebody in, and go on with what that opens; in one thread, where one is free for it now.

        A store that stands still so keeps nobody from being told that he may not come in.

        Args:
            place: Where it was a moment ago; None if that is not known.
            let_in: Asks our own database who may come in.
            go_on: What to do at the place.
            abort: Makes it fail at once.
        """
        done: list[T] = []

        def both() -> P:
            opened = let_in()
            if opened.place == place:
                done.append(go_on(opened))
            return opened

        if place is not None and self.is_free_for(place):
            opened = await self.run(place, both, abort)
        else:
            opened = await self.run(None, let_in)
        return done[0] if done else await self.run(opened.place, lambda: go_on(opened), abort)

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
        name = _name(place)
        turns = self._places.get(name)
        if turns is None:
            turns = self._places[name] = asyncio.Semaphore(self._most)
        async with turns:
            self._entitled += 1
            try:
                return await _in_thread(work, abort, self._limiter)
            finally:
                self._entitled -= 1


def _name(place: Place) -> str:
    """Name the store that a place is in."""
    return place.endpoint.identity if place.location is None else f"location {place.location.name}"


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
