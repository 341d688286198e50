"""A body that comes in, piece by piece, while its flow is looked at: nothing goes on once it may not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from fastapi import Request

from dataferry.api.gateway.objects import PIECE_BYTES, closed_window
from dataferry.api.gateway.pace import take_all
from dataferry.api.gateway.routes import threads_of
from dataferry.api.services import services_of
from dataferry.domain.errors import (
    AddressError,
    ConflictError,
    DataFerryError,
    DestinationExistsError,
    ForbiddenError,
    GoneError,
    InputError,
    IntegrityError,
    NoSpaceError,
    NotFoundError,
    ObjectNotFoundError,
    RetryClass,
    ServerError,
    ShortBodyError,
    StorageError,
    UnauthorizedError,
    UploadGoneError,
)
from dataferry.domain.profile import Direction
from dataferry.engine.rates.bandwidth import Share, WindowClosedError
from dataferry.flows.arrivals import Arriving
from dataferry.flows.gateway import LOOK_INTERVAL_S
from dataferry.flows.ingest import Receiving
from dataferry.flows.recipient import Arrived
from dataferry.telemetry.logs import get_logger

# Who sends less than this within that time is let go: a byte now and then would hold a place for ever.
STALL_S = 60.0
LEAST_BYTES = 1024
MOST_DRAINED_BYTES = 16 * 1024 * 1024
DRAIN_S = 0.5
_log = get_logger("api.gateway")
_SAID = (
    UnauthorizedError,
    ForbiddenError,
    GoneError,
    DestinationExistsError,
    IntegrityError,
    UploadGoneError,
)


_TOLD: tuple[tuple[type[DataFerryError], str], ...] = (
    (AddressError, "an object of that name can't be stored here"),
    (ConflictError, "another request writes to that object, or it was sent under another name"),
    (NoSpaceError, "there is no space left"),
    (NotFoundError, "this flow's place is gone"),
    (ObjectNotFoundError, "this flow has brought nothing of that name"),
)


class DisconnectedError(DataFerryError):
    """Who sent is gone: nobody is there to be answered."""

    kind = "short_body"


class Guard:
    """What is known of a request while its body comes.

    Attributes:
        came_bytes: Of the body.
        waits: True while it is we who let the body wait.
        error: Why it was ended.
    """

    def __init__(self) -> None:
        self.came_bytes = 0
        self.waits = False
        self.error: DataFerryError | None = None


@asynccontextmanager
async def guarded(request: Request, receiving: Receiving, guard: Guard) -> AsyncIterator[None]:
    """End what is done within as soon as the flow may not be sent to any more, or nothing comes.

    Raises:
        TimeoutError: It was ended; ``guard.error`` says why.
    """
    async with asyncio.timeout(None) as limit:
        watching = asyncio.create_task(_watch(request, receiving, guard, limit))
        try:
            yield
        finally:
            watching.cancel()


async def _watch(request: Request, receiving: Receiving, guard: Guard, limit: asyncio.Timeout) -> None:
    """Look at the flow again and again; end the body where that says so."""
    watch = services_of(request).gateway.watch(receiving.flow_id, Direction.PUSH)
    loop = asyncio.get_running_loop()
    seen, seen_at = 0, loop.time()
    while True:
        await asyncio.sleep(LOOK_INTERVAL_S)
        if guard.came_bytes - seen >= LEAST_BYTES or guard.waits:
            seen, seen_at = guard.came_bytes, loop.time()
        try:
            if services_of(request).closing.is_set():
                raise ServerError("this plane is ending")
            if loop.time() - seen_at > STALL_S:
                raise ShortBodyError(f"hardly a byte of the body came for {STALL_S:g} s")
            await threads_of(request).run(None, watch.look_now)
        except DataFerryError as exc:
            guard.error = exc
            limit.reschedule(loop.time())
            return


async def pour(request: Request, receiving: Receiving, arriving: Arriving) -> Arrived:
    """Bring a request's body to where it goes, and make of it what it is to be.

    Raises:
        DisconnectedError: Who sent it is gone.
        DataFerryError: It could not be taken; what is missing is written down.
    """
    services, threads = services_of(request), threads_of(request)
    place, came = receiving.place, 0
    options = receiving.options.limits
    services.ingest_progress.began(receiving.flow_id)
    guard = Guard()
    try:
        try:
            with services.shares.of(
                receiving.flow_id, receiving.bounds, options.bandwidth_bytes_per_s
            ) as share:
                async with guarded(request, receiving, guard):
                    async for piece, is_last in _pieces(request, share, guard):
                        guard.waits = True
                        work = partial(_take, arriving, piece, is_last=is_last)
                        arrived = await threads.run(place, work, arriving.abort)
                        guard.waits = False
                        came += len(piece)
                        services.ingest_progress.came(receiving.flow_id, len(piece))
                        if arrived is not None:
                            return arrived
                    raise ServerError("the body has no end")
        except TimeoutError:
            raise guard.error or ServerError("the body was ended") from None
    except BaseException as exc:
        error = exc if isinstance(exc, DataFerryError) else DisconnectedError("the request was broken off")
        await asyncio.shield(threads.run(None, lambda: _failed(arriving, error)))
        raise
    finally:
        services.ingest_progress.ended(receiving.flow_id, came)


def _failed(arriving: Arriving, error: DataFerryError) -> None:
    """Drop what came, and write down what is missing, if anybody wants to know that any more."""
    try:
        arriving.fail(error)
    except DataFerryError as exc:
        _log.info("missing_not_written", kind=exc.kind, reason=str(exc))


def _take(arriving: Arriving, piece: memoryview, *, is_last: bool) -> Arrived | None:
    """Pass a piece on; with the last, make of the body what it is to be."""
    if piece:
        arriving.send(piece)
    return arriving.finish() if is_last else None


async def _pieces(request: Request, share: Share, guard: Guard) -> AsyncIterator[tuple[memoryview, bool]]:
    """Gather what comes into pieces, as fast as it may flow; tell of each if it is the last.

    Raises:
        DisconnectedError: The connection ended before the body did.
    """
    buffer, is_more = bytearray(), True
    while is_more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise DisconnectedError("who sent the body is gone")
        data = message.get("body", b"")
        is_more = bool(message.get("more_body", False))
        guard.came_bytes += len(data)
        if data:
            guard.waits = True
            await take_all(share, len(data))
            guard.waits = False
            buffer += data
        if len(buffer) >= PIECE_BYTES or not is_more:
            yield memoryview(buffer), not is_more
            buffer = bytearray()


async def drained(request: Request) -> None:
    """Take a little more of a body that is refused: who still sends would lose the answer otherwise."""
    if request.headers.get("expect", "").lower() == "100-continue":
        return  # it sends nothing before it is told to
    left = MOST_DRAINED_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            while left > 0:
                message = await request.receive()
                left -= len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return


def told(error: DataFerryError) -> DataFerryError:
    """Return what who sends is told of an error: where data goes here is ours, what to do is theirs."""
    if isinstance(error, _SAID) or (
        isinstance(error, InputError | ShortBodyError) and not isinstance(error, AddressError)
    ):
        return error
    if isinstance(error, WindowClosedError):
        return closed_window(error)
    for kind, text in _TOLD:
        if isinstance(error, kind):
            return kind(text)
    if error.retry is RetryClass.PERMANENT:
        return StorageError("the data can't be stored")
    return ServerError("the data can't be stored now", retry_after_s=error.retry_after_s)
