"""A source that tells how many bytes have been read of it, so that a test can act at a certain byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock

from dataferry.domain.objects import Capability, ObjectInfo
from dataferry.mechanisms.base import ByteStream, Reader, Source


class TappedSource:
    """Another source, as it is.

    Args:
        source: Which.
        tap: Called after each read, from any worker's thread, with the bytes read so far by all of them.
    """

    def __init__(self, source: Source, tap: Callable[[int], None]) -> None:
        self._source = source
        self._tap = tap
        self._lock = Lock()
        self._read = 0

    @property
    def identity(self) -> str:
        """The source's."""
        return self._source.identity

    @property
    def is_single(self) -> bool:
        """The source's."""
        return self._source.is_single

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The source's."""
        return self._source.capabilities

    def probe(self) -> None:
        """Probe the source."""
        self._source.probe()

    def list(self, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """List the source."""
        return self._source.list(start_after=start_after)

    def reader(self) -> TappedReader:
        """Open a reader of the source."""
        return TappedReader(self._source.reader(), self.count)

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def count(self, count_bytes: int) -> None:
        """Add bytes that were read."""
        with self._lock:
            self._read += count_bytes
            read = self._read
        self._tap(read)


class TappedReader:
    """Another reader, as it is."""

    def __init__(self, reader: Reader, count: Callable[[int], None]) -> None:
        self._reader = reader
        self._count = count
        self.stat = reader.stat
        self.abort = reader.abort
        self.close = reader.close

    def open(
        self, info: ObjectInfo, *, offset_bytes: int = 0, length_bytes: int | None = None
    ) -> TappedStream:
        """Open a stream of the reader."""
        stream = self._reader.open(info, offset_bytes=offset_bytes, length_bytes=length_bytes)
        return TappedStream(stream, self._count)


class TappedStream:
    """Another stream, as it is."""

    def __init__(self, stream: ByteStream, count: Callable[[int], None]) -> None:
        self._stream = stream
        self._count = count
        self.close = stream.close

    @property
    def info(self) -> ObjectInfo:
        """The stream's."""
        return self._stream.info

    @property
    def length_bytes(self) -> int | None:
        """The stream's."""
        return self._stream.length_bytes

    def readinto(self, buffer: memoryview) -> int:
        """Read, and tell how many bytes came."""
        count = self._stream.readinto(buffer)
        self._count(count)
        return count
