"""Aborting uploads that nobody needs: durable, retried, and nobody waits for it (rule 1).

The sweep calls it for all transfers, with whatever opens their sinks; an attempt does so for its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta

from dataferry.domain.clock import Clock
from dataferry.domain.errors import ConflictError, DataFerryError, UploadGoneError
from dataferry.domain.ledger import Cleanup, Ledger
from dataferry.mechanisms.base import Sink, Writer

MAX_TRIES = 20
FIRST_DELAY_S = 5.0
MAX_DELAY_S = 6 * 3600.0
# How far a store's clock may be from ours: as far as signed requests allow.
CLOCK_SKEW = timedelta(minutes=15)


def abort_due(
    ledger: Ledger,
    open_sink: Callable[[Cleanup], Sink | None],
    clock: Clock,
    limit: int = 100,
    *,
    transfer_id: str | None = None,
    given_up: Callable[[Cleanup, str], None] = lambda _cleanup, _error: None,
) -> int:
    """Abort uploads that are due; each failure is written with the time of the next try.

    Args:
        ledger: Where they are listed.
        open_sink: Opens the sink of an upload; None where its credentials are gone: that is given up and
            stays visible. The sink is closed here.
        clock: For the next try.
        limit: The most in one call.
        transfer_id: Only those of one transfer.
        given_up: Told of each that may stay open for ever, with what the operator can do about it.

    Returns:
        How many are gone.
    """
    gone = 0
    for cleanup in ledger.cleanups(limit=limit, transfer_id=transfer_id):
        try:
            sink = open_sink(cleanup)
        except DataFerryError as error:
            _later(ledger, cleanup, error, clock, given_up)
            continue
        if sink is None:
            _give_up(ledger, cleanup, "the credentials of its destination are gone: abort it there", given_up)
            continue
        try:
            gone += abort_one(ledger, cleanup, sink, clock, given_up)
        finally:
            sink.close()
    return gone


def abort_one(
    ledger: Ledger,
    cleanup: Cleanup,
    sink: Sink,
    clock: Clock,
    given_up: Callable[[Cleanup, str], None] = lambda _cleanup, _error: None,
) -> bool:
    """Abort one upload in its sink and write the result; True if it is gone. Raises nothing of the sink's."""
    try:
        writer = sink.writer()
        try:
            left = _abort(ledger, cleanup, sink, writer)
        finally:
            writer.close()
    except DataFerryError as error:
        _later(ledger, cleanup, error, clock, given_up)
        return False
    if left is not None:
        _give_up(ledger, cleanup, left, given_up)
        return False
    ledger.cleaned(cleanup.id, error=None, retry_at=None)
    return True


def _abort(ledger: Ledger, cleanup: Cleanup, sink: Sink, writer: Writer) -> str | None:
    """Abort an upload, or look for what an intent may have led to; return why it can't be done, if so.

    Raises:
        ConflictError: An upload of that key is being opened, and can't be told from the one looked for.
    """
    if cleanup.upload is not None:
        with contextlib.suppress(UploadGoneError):
            writer.abort_upload(cleanup.upload)
        return None
    since = cleanup.since
    uploads = None if since is None else writer.list_uploads(cleanup.key, since=since - CLOCK_SKEW)
    if uploads is None:
        return (
            f"an upload of {cleanup.key} may have been left open, and the destination does not let us list "
            "uploads: a lifecycle rule that aborts incomplete uploads removes it"
        )
    # In this order: what is listed and being opened is known by the second answer, if not by the first.
    if uploads and ledger.is_opening(cleanup.target_identity, cleanup.key):
        raise ConflictError(f"another upload of {cleanup.key} is being opened")
    known = ledger.known_uploads(cleanup.target_identity, cleanup.key)
    lost = [upload for upload in uploads if upload.upload_id not in known]
    if lost and not sink.exclusive:
        return (
            f"{len(lost)} unknown uploads of {cleanup.key} are open, left alone, since the location is not "
            "marked exclusive: abort them there, or add a lifecycle rule"
        )
    for upload in lost:
        with contextlib.suppress(UploadGoneError):
            writer.abort_upload(upload)
    return None


def _later(
    ledger: Ledger,
    cleanup: Cleanup,
    error: DataFerryError,
    clock: Clock,
    given_up: Callable[[Cleanup, str], None],
) -> None:
    """Try again later, ever more seldom; in the end give it up."""
    if cleanup.attempts + 1 >= MAX_TRIES:
        _give_up(ledger, cleanup, str(error), given_up)
        return
    delay_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2**cleanup.attempts)
    ledger.cleaned(cleanup.id, error=str(error), retry_at=clock.now() + timedelta(seconds=delay_s))


def _give_up(ledger: Ledger, cleanup: Cleanup, error: str, given_up: Callable[[Cleanup, str], None]) -> None:
    """Write that it may stay open, and say so."""
    ledger.cleaned(cleanup.id, error=error, retry_at=None)
    given_up(cleanup, error)
