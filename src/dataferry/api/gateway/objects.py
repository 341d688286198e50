"""What is behind a flow: its objects found, looked up, and read piece by piece, in the gateway's threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock

from dataferry.domain.errors import (
    AddressError,
    DataFerryError,
    ForbiddenError,
    GoneError,
    NotFoundError,
    ObjectNotFoundError,
    RetryClass,
    ServerError,
    StorageError,
    UnauthorizedError,
)
from dataferry.domain.manifest import listing_line, listing_summary
from dataferry.domain.names import refuse_bytes
from dataferry.domain.objects import ObjectInfo
from dataferry.domain.profile import Direction
from dataferry.engine.rates.bandwidth import WindowClosedError
from dataferry.flows.gateway import GatewayAccess, Served, Watch
from dataferry.flows.readers import Readers, Reading
from dataferry.mechanisms.abilities import Abortable, NamedObjects
from dataferry.mechanisms.base import ByteStream, Reader, Source
from dataferry.net.connections import Network

# One is held for each body whose reader is slow, and this much may still leave after a flow was suspended.
PIECE_BYTES = 256 * 1024
# While a window is shut: it may be changed meanwhile.
COME_BACK_S = 60.0
LISTING_PIECE_BYTES = 64 * 1024
_NO_NAMES = frozenset({"", ".", ".."})


class OpenedObject:
    """One object of a flow, open for reading; belongs to one request at a time.

    Args:
        served: Whose, and where.
        name: Of the object; empty is the only one.
        readers: Lends a connection to the store.
    """

    def __init__(self, served: Served, name: str, readers: Readers) -> None:
        self._served = served
        self._name = name
        self._readers = readers
        self._lock = Lock()
        self._lent: Reading | None = readers.lend(served)
        self._stream: ByteStream | None = None
        self._aborted = False

    def look_up(self) -> ObjectInfo:
        """Find the object, and look at it.

        Raises:
            NotFoundError: The flow has no such object.
            DataFerryError: It can't be looked up.
        """
        lent = self._held()
        return _looked_up(self._served, lent.source, lent.reader, self._name)

    def read(self, info: ObjectInfo, watch: Watch, *, offset_bytes: int, length_bytes: int) -> Pieces:
        """Read a range of the version that was looked up."""
        lent = self._held()
        self._stream = lent.reader.open(info, offset_bytes=offset_bytes, length_bytes=length_bytes)
        pieces = Pieces(self._stream, watch, length_bytes, at_end=self.release)
        if not pieces.is_whole:
            lent.source.close()  # its connection is not needed for as long as the body takes
        return pieces

    def release(self) -> None:
        """Nothing is to be read any more: the connection may serve the next request. By who read last."""
        if self._stream is not None:
            self._stream.close()
        with self._lock:
            lent, self._lent = self._lent, None
            aborted = self._aborted
        if lent is None:
            return
        if aborted:
            lent.close()
        else:
            self._readers.take_back(self._served, lent)

    def abort(self) -> None:
        """Make a blocked call fail at once, and later ones too. Any thread."""
        with self._lock:  # what was released is somebody else's
            self._aborted = True
            if self._lent is not None:
                self._lent.abort()

    def close(self) -> None:
        """Give up what is open, without waiting for any store. Safe to repeat."""
        self.abort()  # a stream would read the rest of its body, to keep the connection
        with self._lock:
            lent, self._lent = self._lent, None
        if lent is not None:
            if self._stream is not None:
                self._stream.close()
            lent.close()

    def _held(self) -> Reading:
        assert self._lent is not None  # noqa: S101  it is released after the last byte, and not before
        return self._lent


class Pieces:
    """A body, piece by piece; ``b""`` at its end. The first is read at once.

    Args:
        stream: Gives the bytes.
        watch: Says whether they may still be given.
        length_bytes: How many there are.
        at_end: Called once the last was read, by who read it.

    Raises:
        DataFerryError: The source failed.
    """

    def __init__(
        self, stream: ByteStream, watch: Watch, length_bytes: int, *, at_end: Callable[[], None]
    ) -> None:
        self._stream = stream
        self._watch = watch
        self._left = length_bytes
        self._at_end = at_end
        self._first = self._read()

    @property
    def is_whole(self) -> bool:
        """True if all of the body is at hand."""
        return not self._left

    @property
    def at_hand(self) -> bytes | None:
        """What needs no thread to be had: the first piece, then the end; None where it does."""
        first, self._first = self._first, b""
        return first if first or not self._left else None

    def next(self) -> bytes:
        """Return the next piece.

        Raises:
            DataFerryError: The source failed, or the flow's data may no longer be served.
        """
        self._watch.look()
        return self._read()

    def _read(self) -> bytes:
        buffer = memoryview(bytearray(min(PIECE_BYTES, self._left)))
        filled = 0
        while filled < len(buffer):
            count = self._stream.readinto(buffer[filled:])
            if not count:
                break
            filled += count
        self._left -= filled
        if filled and not self._left:
            self._at_end()
        return bytes(buffer[:filled])


class ListingPieces:
    """The listing of a flow's objects, in JSON lines, piece by piece.

    Args:
        served: Whose.
        access: Says whether it may still be given.
        network: Dials.
        start_after: Only names after this one.
    """

    def __init__(
        self, served: Served, access: GatewayAccess, network: Network, *, start_after: str | None
    ) -> None:
        self._source = served.place.mechanism.open_source(served.place.endpoint, network)
        self._selection = served.selection
        self._watch = access.watch(served.flow_id, Direction.PULL)
        self._lines = self._listed(start_after)

    def _listed(self, start_after: str | None) -> Iterator[bytes]:
        objects = size_bytes = 0
        for info in self._source.list(start_after=start_after):
            if not self._selection.selects(info.name):
                self._watch.look()  # it may be long until one is
                continue
            refuse_bytes(info.name)
            objects += 1
            size_bytes += info.size_bytes or 0
            yield listing_line(info)
        yield listing_summary(objects, size_bytes)

    @property
    def at_hand(self) -> bytes | None:
        """Nothing is."""
        return None

    def next(self) -> bytes:
        """Return some lines; ``b""`` after the last.

        Raises:
            DataFerryError: The source failed, or the flow's data may no longer be served.
        """
        self._watch.look()
        piece = bytearray()
        for line in self._lines:
            piece += line
            if len(piece) >= LISTING_PIECE_BYTES:
                break
        return bytes(piece)

    def abort(self) -> None:
        """Make a blocked call fail at once, and later ones too. Any thread."""
        if isinstance(self._source, Abortable):
            self._source.abort()

    def close(self) -> None:
        """Give up what is open, without waiting for any store."""
        self.abort()
        self._source.close()


def told(error: DataFerryError) -> DataFerryError:
    """Return what a stranger is told of an error: where our data lies, and why it can't be read, is ours."""
    if isinstance(error, UnauthorizedError | ForbiddenError | GoneError):
        return error
    if isinstance(error, NotFoundError | ObjectNotFoundError | AddressError):
        return NotFoundError("there is no object of that name")
    if isinstance(error, WindowClosedError):
        return closed_window(error)
    if error.retry is RetryClass.PERMANENT:
        return StorageError("the data can't be read")
    return ServerError("the data can't be read now", retry_after_s=error.retry_after_s)


def closed_window(error: WindowClosedError) -> ServerError:
    """Return what a peer is told while a bandwidth window lets nothing flow: when to come back."""
    seconds = COME_BACK_S if error.opens_in_s is None else error.opens_in_s
    return ServerError("no data may flow now", retry_after_s=min(max(seconds, 1.0), COME_BACK_S))


def _looked_up(served: Served, source: Source, reader: Reader, name: str) -> ObjectInfo:
    """Find an object and look at it."""
    if not name:
        only = next(iter(source.list()), None) if source.is_single else None
        if only is None or not served.selection.selects(only.name):
            raise NotFoundError("there is no object here")
        return only
    if source.is_single or not isinstance(source, NamedObjects):
        raise NotFoundError("this flow is one object, at the address itself")
    # Some stores fold these, and would lead out of the dataset.
    if not _NO_NAMES.isdisjoint(name.split("/")) or not served.selection.selects(name):
        raise NotFoundError("there is no object of that name")
    return reader.stat(source.named(name))
