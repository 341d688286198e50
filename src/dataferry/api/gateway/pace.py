"""Bandwidth in the event loop: who has to wait for it holds no thread."""

from __future__ import annotations

import asyncio

from dataferry.engine.rates.bandwidth import Share
from dataferry.engine.rates.passage import Passage


async def take(share: Share, count_bytes: int) -> int:
    """Wait until some of ``count_bytes`` may flow by every bound; return how many.

    Raises:
        WindowClosedError: Nothing may flow for longer than a body should wait.
    """
    if not share.bounds:
        return count_bytes
    passage = Passage(share, count_bytes)
    try:
        while (wait_s := passage.look()) is not None:  # noqa: ASYNC110 - no event tells of time
            await asyncio.sleep(wait_s)
    except BaseException:
        passage.leave()
        raise
    return passage.granted_bytes


async def take_all(share: Share, count_bytes: int) -> None:
    """Wait until all of ``count_bytes`` may flow.

    Raises:
        WindowClosedError: As of ``take``.
    """
    while count_bytes > 0:
        count_bytes -= await take(share, count_bytes)
