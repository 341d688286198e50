"""Aborting uploads that nobody needs: durable, retried, and nobody waits for it (rule 1).

The sweep calls it for all transfers, with whatever opens their sinks; an attempt does so for its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta

from dataferry.domain.clock import Clock
from dataferry.domain.errors import DataFerryError, UploadGoneError
from dataferry.domain.ledger import Cleanup, Ledger
from dataferry.mechanisms.base import Sink

MAX_TRIES = 20
FIRST_DELAY_S = 5.0
MAX_DELAY_S = 6 * 3600.0


def abort_due(
    ledger: Ledger,
    open_sink: Callable[[Cleanup], Sink | None],
    clock: Clock,
    limit: int = 100,
    *,
    transfer_id: str | None = None,
) -> int:
    """Abort uploads that are due; each failure is written with the time of the next try.

    Args:
        ledger: Where they are listed.
        open_sink: Opens the sink of an upload; None where its credentials are gone: that is given up and
            stays visible. The sink is closed here.
        clock: For the next try.
        limit: The most in one call.
        transfer_id: Only those of one transfer.

    Returns:
        How many are gone.
    """
    gone = 0
    for cleanup in ledger.cleanups(limit=limit, transfer_id=transfer_id):
        try:
            sink = open_sink(cleanup)
        except DataFerryError as error:
            _later(ledger, cleanup, error, clock)
            continue
        if sink is None:
            ledger.cleaned(
                cleanup.id, error="the credentials of its destination are gone: abort it there", retry_at=None
            )
            continue
        try:
            gone += abort_one(ledger, cleanup, sink, clock)
        finally:
            sink.close()
    return gone


def abort_one(ledger: Ledger, cleanup: Cleanup, sink: Sink, clock: Clock) -> bool:
    """Abort one upload in its sink and write the result; True if it is gone. Raises nothing of the sink's."""
    try:
        writer = sink.writer()
        try:
            with contextlib.suppress(UploadGoneError):
                writer.abort_upload(cleanup.upload)
        finally:
            writer.close()
    except DataFerryError as error:
        _later(ledger, cleanup, error, clock)
        return False
    ledger.cleaned(cleanup.id, error=None, retry_at=None)
    return True


def _later(ledger: Ledger, cleanup: Cleanup, error: DataFerryError, clock: Clock) -> None:
    delay_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2**cleanup.attempts)
    again = None if cleanup.attempts + 1 >= MAX_TRIES else clock.now() + timedelta(seconds=delay_s)
    ledger.cleaned(cleanup.id, error=str(error), retry_at=again)
