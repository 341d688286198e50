"""What is behind a flow: its objects found, looked up, and read piece by piece, in the gateway's threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from dataferry.domain.errors import NotFoundError, ObjectNotFoundError
from dataferry.domain.manifest import listing_line, listing_summary
from dataferry.domain.objects import ObjectInfo
from dataferry.flows.gateway import GatewayAccess, Served, Watch
from dataferry.mechanisms.base import ByteStream, NamedObjects, Reader, Source
from dataferry.net.connections import Network

PIECE_BYTES = 1024 * 1024
LISTING_PIECE_BYTES = 64 * 1024
_NO_NAMES = frozenset({"", ".", ".."})


class OpenedObject:
    """One object of a flow, open for reading; belongs to one request at a time.

    Args:
        served: Whose, and where.
        name: Of the object; empty is the only one.
        network: Dials.

    Raises:
        NotFoundError: The flow has no such object.
        DataFerryError: It can't be looked up.
    """

    def __init__(self, served: Served, name: str, network: Network) -> None:
        self._open = ExitStack()
        try:
            source = served.place.mechanism.open_source(served.place.endpoint, network)
            self._open.callback(source.close)
            self._reader: Reader = source.reader()
            self._open.callback(self._reader.close)
            self.info = _looked_up(source, self._reader, name)
        except BaseException:
            self._open.close()
            raise

    def read(self, watch: Watch, *, offset_bytes: int, length_bytes: int) -> Pieces:
        """Read a range of the version that was looked up."""
        stream = self._reader.open(self.info, offset_bytes=offset_bytes, length_bytes=length_bytes)
        self._open.callback(stream.close)
        return Pieces(stream, watch)

    def close(self) -> None:
        """Give its connections back. Safe to repeat."""
        self._open.close()


class Pieces:
    """A body, piece by piece; ``b""`` at its end.

    Args:
        stream: Gives the bytes.
        watch: Says whether they may still be given.
    """

    def __init__(self, stream: ByteStream, watch: Watch) -> None:
        self._stream = stream
        self._watch = watch
        self._buffer = memoryview(bytearray(PIECE_BYTES))

    def next(self) -> bytes:
        """Return the next piece.

        Raises:
            DataFerryError: The source failed, or the flow's data may no longer be served.
        """
        self._watch.look()
        filled = 0
        while filled < len(self._buffer):
            count = self._stream.readinto(self._buffer[filled:])
            if not count:
                break
            filled += count
        return bytes(self._buffer[:filled])


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
        self._watch = access.watch(served)
        self._lines = self._listed(start_after)

    def _listed(self, start_after: str | None) -> Iterator[bytes]:
        objects = size_bytes = 0
        for info in self._source.list(start_after=start_after):
            objects += 1
            size_bytes += info.size_bytes or 0
            yield listing_line(info)
        yield listing_summary(objects, size_bytes)

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

    def close(self) -> None:
        """Close the source."""
        self._source.close()


def _looked_up(source: Source, reader: Reader, name: str) -> ObjectInfo:
    """Find an object and look at it."""
    if not name:
        only = next(iter(source.list()), None) if source.is_single else None
        if only is None:
            raise NotFoundError("there is no object here")
        return only
    if source.is_single or not isinstance(source, NamedObjects):
        raise NotFoundError("this flow is one object, at the address itself")
    # Some stores fold these, and would lead out of the dataset.
    if not _NO_NAMES.isdisjoint(name.split("/")):
        raise NotFoundError("there is no object of that name")
    try:
        return reader.stat(source.named(name))
    except ObjectNotFoundError as exc:
        raise NotFoundError("there is no object of that name") from exc
