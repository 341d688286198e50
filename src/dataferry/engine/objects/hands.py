"""What one worker works with: its connections, its buffer, its meter, and how it tries and counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from mmap import mmap
from typing import TypeVar

from dataferry.domain.errors import (
    DataFerryError,
    ProtocolError,
    ShortBodyError,
    SourceChangedError,
    StallError,
    UploadGoneError,
)
from dataferry.domain.objects import ObjectInfo, PartReceipt
from dataferry.engine.attempt.course import Course
from dataferry.engine.attempt.progress import Meter
from dataferry.engine.attempt.spool import Spool
from dataferry.engine.objects.connections import Connections
from dataferry.engine.objects.pump import BUFFER_BYTES, paced, pump
from dataferry.engine.rates.bandwidth import WindowClosedError
from dataferry.mechanisms.base import ByteStream, PartWrite
from dataferry.mechanisms.checksum import crc64nvme

T = TypeVar("T")


class Hands:
    """One worker's tools; everything but ``look`` and ``connections.halt`` belongs to its thread.

    Args:
        course: The attempt.

    Attributes:
        settle: Called before a long wait, to write down what is not written yet.
    """

    def __init__(self, course: Course) -> None:
        self.course = course
        self.settle: Callable[[], None] = lambda: None
        self.connections = Connections(course.transfer.source, course.transfer.sink)
        self.meter: Meter = course.tally.meter()
        self._buffer = memoryview(mmap(-1, BUFFER_BYTES))
        self._stalled = False
        self._keeps_reader = False
        self._seen_beat = -1
        self._seen_at = 0.0

    def trying(
        self,
        what: str,
        operation: Callable[[], T],
        *,
        at_once: tuple[type[DataFerryError], ...] = (UploadGoneError,),
    ) -> T:
        """Run requests with retries, each on fresh connections; ``at_once`` errors are not retried."""
        return self.course.retrier.run(
            what,
            lambda: self._alive(operation),
            renew=self.connections.renew_writer if self._keeps_reader else self.connections.renew,
            judge=self._judge,
            at_once=at_once,
        )

    def moving(self, what: str, operation: Callable[[], T], *, sent_before: int = 0) -> T:
        """Run an operation that moves bytes; those of a failed try are taken back.

        Args:
            what: For events and errors.
            operation: Calls ``pump`` with this worker's meter.
            sent_before: How many of the bytes were sent before, to count what is sent again.
        """
        meter = self.meter
        most = sent_before

        def once() -> T:
            nonlocal most
            begin = meter.bytes
            try:
                return operation()
            except BaseException:
                flown, meter.bytes = meter.bytes - begin, begin
                again, most = min(flown, most), max(flown, most)
                meter.retransferred += again
                raise

        begin = meter.bytes
        result = self.when_open(lambda: self.trying(what, once))
        meter.retransferred += min(meter.bytes - begin, most)
        return result

    def when_open(self, operation: Callable[[], T]) -> T:
        """Run an operation when bandwidth windows let something flow; again where one shut in its middle.

        While they do not, no request lies open. What was sent of one is sent again, and is no failed try.
        """
        course = self.course
        if course.bandwidth is None:
            return operation()
        while True:
            try:
                course.bandwidth.refuse_closed()
                return operation()
            except WindowClosedError:
                if not course.transfer.waits_for_windows:
                    raise
                self.settle()
                course.bandwidth.wait_open()

    def carry(
        self, stream: ByteStream, write: PartWrite, length_bytes: int, *, to_end: bool = False
    ) -> PartReceipt:
        """Pump one body and end it; on any error nothing of it becomes visible.

        Args:
            stream: Gives the bytes.
            write: Takes them.
            length_bytes: How many.
            to_end: They must be the stream's last.

        Raises:
            SourceChangedError: ``to_end``, and the source, which did not say its length, has more.
            DataFerryError: As of ``pump`` and of ``write``.
        """
        try:
            pump(stream, write, length_bytes, self._buffer, self.meter, self.course.bandwidth)
            if to_end and stream.length_bytes is None:
                self._expect_end(stream, length_bytes)
            receipt = write.finish()
        except BaseException:
            write.cancel()
            raise
        if receipt.size_bytes != length_bytes:
            raise ProtocolError(f"the sink took {receipt.size_bytes} bytes of {length_bytes}")
        return receipt

    def sum_up(self, stream: ByteStream, length_bytes: int) -> int:
        """Read exactly so many bytes, and return their CRC-64/NVME.

        Raises:
            ShortBodyError: The stream ended early.
        """
        meter, total, left = self.meter, 0, length_bytes
        bandwidth = self.course.bandwidth
        while left:
            piece = len(self._buffer) if bandwidth is None else bandwidth.piece_bytes
            count = stream.readinto(self._buffer[: min(piece, left)])
            if not count:
                raise ShortBodyError(f"the destination ended {left} bytes early", operation="read back")
            read = 0
            while bandwidth is not None and read < count:
                read += paced(count - read, meter, bandwidth)
            total = crc64nvme(self._buffer[:count], total)
            left -= count
            meter.beat += 1
        return total

    def _expect_end(self, stream: ByteStream, length_bytes: int) -> None:
        if stream.readinto(self._buffer[:1]):
            raise SourceChangedError(
                f"{stream.info.name} has more than the {length_bytes} bytes that it had", operation="read"
            )

    def hold(self, stream: ByteStream, spool: Spool, length_bytes: int) -> bytes:
        """Read into a spool until it holds ``length_bytes``.

        Returns:
            The byte that comes after them; nothing if the stream ended with them, or before.

        Raises:
            StorageError: The stream failed.
            NoSpaceError: The spool's disk is full.
        """
        buffer = self._buffer
        while (left := length_bytes - spool.size_bytes) > 0:
            count = stream.readinto(buffer[: min(len(buffer), left)])
            if not count:
                return b""
            spool.add(buffer[:count])
            self.meter.beat += 1
        return bytes(buffer[: stream.readinto(buffer[:1])])

    @contextmanager
    def keeping_reader(self) -> Iterator[None]:
        """While a stream is open and the sink is used: retries and stalls there leave the stream alone."""
        self._keeps_reader = True
        try:
            yield
        finally:
            self._keeps_reader = False

    def resized(self, before_bytes: int | None, now_bytes: int | None) -> None:
        """Count an object whose length is another one than was thought; None is not known."""
        self.meter.sized += (before_bytes is None) - (now_bytes is None)
        self.meter.sized_bytes += (now_bytes or 0) - (before_bytes or 0)

    def lose(self, parts: Iterable[PartReceipt], kept: frozenset[int] | None = None) -> None:
        """Take committed parts back.

        Args:
            parts: That count no more.
            kept: Numbers of those that an earlier attempt had committed; None is all.
        """
        for part in parts:
            self.meter.lost += part.size_bytes
            if kept is None or part.number in kept:
                self.meter.unresumed += part.size_bytes

    def take_back(self, size_bytes: int) -> None:
        """Count a body that was sent, and turned out to be of no use, as not sent."""
        self.meter.bytes -= size_bytes

    def look(self, now: float) -> None:
        """Called by the monitor: end a call that has shown no life for ``stall_timeout_s``."""
        meter = self.meter
        if not meter.busy or meter.waiting or meter.beat != self._seen_beat:
            self._seen_beat, self._seen_at = meter.beat, now
        elif now - self._seen_at >= self.course.transfer.limits.stall_timeout_s:
            self._seen_at = now
            self._stalled = True
            self.connections.abort(keep_reader=self._keeps_reader)

    def _alive(self, operation: Callable[[], T]) -> T:
        meter = self.meter
        before, meter.busy = meter.busy, True
        self._stalled = False
        meter.beat += 1
        try:
            return operation()
        finally:
            meter.busy = before

    def _judge(self, error: DataFerryError) -> DataFerryError:
        if not self._stalled:
            return error
        self._stalled = False
        limit_s = self.course.transfer.limits.stall_timeout_s
        stall = StallError(f"no byte moved for {limit_s:g} s", operation=error.operation)
        stall.of_sink = error.of_sink
        return stall


def checked(planned: ObjectInfo, found: ObjectInfo) -> ObjectInfo:
    """Return ``found`` if it is the version that was planned (rule 4).

    Raises:
        SourceChangedError: Validator, version or size differ.
    """
    for name in ("validator", "version_id", "size_bytes"):
        before, now = getattr(planned, name), getattr(found, name)
        if before is not None and now is not None and before != now:
            raise SourceChangedError(
                f"{planned.name} changed since the transfer began: {name} was {before}, is {now}",
                operation="read",
            )
    return found
