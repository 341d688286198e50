"""One object that somebody sends, on its way into a sink; what has come is written down once it is there.

Nothing here tries again: the bytes are gone, and who sends them has them.
"""

from __future__ import annotations

from typing import Protocol

from dataferry.domain.errors import DataFerryError, ShortBodyError, TooLargeError
from dataferry.domain.objects import Attributes, PartReceipt
from dataferry.engine.attempt.spool import Bounds, Spool, bounds
from dataferry.flows.receiving_upload import OpenUpload, finished_of
from dataferry.flows.recipient import MAX_PARTS, Arrived, Recipient
from dataferry.mechanisms.base import PartWrite

BUFFER_BYTES = 256 * 1024


class Arriving(Protocol):
    """A body on its way in; belongs to one request, and to one thread at a time."""

    def send(self, data: memoryview) -> None:
        """Take the next bytes."""
        ...

    def finish(self) -> Arrived:
        """All bytes came: make of them what they are to be."""
        ...

    def fail(self, error: DataFerryError) -> None:
        """They did not: nothing of them becomes visible, and it is written down what is missing."""
        ...

    def abort(self) -> None:
        """Make a blocked call fail at once. Any thread."""
        ...


def receive(
    recipient: Recipient, *, length_bytes: int | None, attributes: Attributes, only_if_absent: bool
) -> Arriving:
    """Begin to take an object that comes in one request.

    Args:
        recipient: Of the request.
        length_bytes: As it says; None where it does not.
        attributes: As it says them.
        only_if_absent: As it asks.

    Raises:
        DestinationExistsError: Nothing may be replaced, and something is there.
        DataFerryError: The sink does not take it.
    """
    recipient.refuse_size(length_bytes or 0)
    is_new = recipient.must_be_new(only_if_absent=only_if_absent)
    if length_bytes is None:
        return UnknownArrival(recipient, attributes, only_if_absent=is_new)
    is_large = length_bytes > max(
        recipient.options.limits.multipart_threshold_bytes, recipient.part_size_bytes(length_bytes)
    )
    if is_large and recipient.takes_parts:
        return PartedArrival(recipient, length_bytes, attributes, only_if_absent=is_new)
    return WholeArrival(recipient, length_bytes, attributes, only_if_absent=is_new)


class _Arrival:
    """What all arrivals share."""

    def __init__(self, recipient: Recipient, attributes: Attributes, *, only_if_absent: bool) -> None:
        self.recipient = recipient
        self.attributes = attributes
        self.only_if_absent = only_if_absent
        self.write: PartWrite | None = None
        self.is_there = False

    def abort(self) -> None:
        """Make a blocked call fail at once. Any thread."""
        self.recipient.lent.writer.abort()

    def fail(self, error: DataFerryError) -> None:
        """Drop what came, and write down what is missing; what is there is so, whoever was to hear of it."""
        if self.is_there:
            return
        if self.write is not None:
            self.write.cancel()
        self.recipient.missing(error)

    def put(self, length_bytes: int) -> PartWrite:
        """Begin to write the whole object."""
        self.write = self.recipient.lent.writer.put(
            self.recipient.key,
            length_bytes=length_bytes,
            attributes=self.attributes,
            only_if_absent=self.only_if_absent,
        )
        return self.write

    def arrived_whole(self, receipt: PartReceipt) -> Arrived:
        """The sink has taken the whole object."""
        self.write = None
        done = self.recipient.arrived(finished_of(receipt, receipt.etag or None, ordinal=0))
        self.is_there = True
        return done

    def arrived_in_parts(self, upload: OpenUpload, *, is_new: bool) -> Arrived:
        """The sink has taken all parts: make the object visible."""
        done = upload.complete(only_if_absent=self.only_if_absent, is_new=is_new)
        self.is_there = True
        return done


class WholeArrival(_Arrival):
    """An object of known length, passed on as it comes."""

    def __init__(
        self, recipient: Recipient, length_bytes: int, attributes: Attributes, *, only_if_absent: bool
    ) -> None:
        super().__init__(recipient, attributes, only_if_absent=only_if_absent)
        self._left = length_bytes
        self._write = self.put(length_bytes)

    def send(self, data: memoryview) -> None:
        """Pass bytes on; before the last, with which a store may make the object visible, look again."""
        self._left -= len(data)
        if self._left < 0:
            raise TooLargeError("the body is longer than it said")
        if not self._left:
            self.recipient.watch.look_now()
        self._write.send(data)

    def finish(self) -> Arrived:
        """End the object.

        Raises:
            ShortBodyError: Not all came.
        """
        if self._left:
            raise ShortBodyError(f"the body ended {self._left} bytes early")
        self.recipient.watch.look_now()
        return self.arrived_whole(self._write.finish())


class PartedArrival(_Arrival):
    """A large object of known length, passed on in parts as it comes."""

    def __init__(
        self, recipient: Recipient, length_bytes: int, attributes: Attributes, *, only_if_absent: bool
    ) -> None:
        super().__init__(recipient, attributes, only_if_absent=only_if_absent)
        self._is_new = not recipient.has_come
        self._left = length_bytes
        self._part_bytes = recipient.part_size_bytes(length_bytes)
        self._part_left = 0
        self._open = OpenUpload(recipient, length_bytes, attributes, self._part_bytes)

    def send(self, data: memoryview) -> None:
        """Pass bytes on, each part to its end."""
        while data:
            if self.write is None:
                if not self._left:
                    raise TooLargeError("the body is longer than it said")
                self._part_left = min(self._part_bytes, self._left)
                self.write = self._open.part(self._part_left)
            piece = data[: self._part_left]
            self.write.send(piece)
            self._part_left -= len(piece)
            self._left -= len(piece)
            data = data[len(piece) :]
            if not self._part_left:
                self._open.took(self.write.finish())
                self.write = None

    def finish(self) -> Arrived:
        """Make the object visible.

        Raises:
            ShortBodyError: Not all came.
        """
        if self._left:
            raise ShortBodyError(f"the body ended {self._left} bytes early")
        return self.arrived_in_parts(self._open, is_new=self._is_new)


class UnknownArrival(_Arrival):
    """An object whose length is told by its end: held until it is a part, or whole."""

    def __init__(self, recipient: Recipient, attributes: Attributes, *, only_if_absent: bool) -> None:
        super().__init__(recipient, attributes, only_if_absent=only_if_absent)
        sink, limits = recipient.lent.sink, recipient.options.limits
        self._is_new = not recipient.has_come
        self._bounds: Bounds = bounds(
            limits,
            most_parts=min(MAX_PARTS, sink.max_parts) if recipient.takes_parts else 1,
            least_part_bytes=sink.min_part_size_bytes,
        )
        self._held = 0
        self._open: OpenUpload | None = None
        self._spool = Spool(limits.spool_directory)

    def send(self, data: memoryview) -> None:
        """Hold bytes; what is a part, and not the last, is sent.

        Raises:
            TooLargeError: More comes than allowed.
        """
        self._held += len(data)
        if self._held > self._bounds.most_bytes:
            raise TooLargeError(
                f"a body that does not say its length may have {self._bounds.most_bytes} bytes here at most"
            )
        while data:
            if self._spool.size_bytes == self._bounds.part_bytes:
                self._put_part()
            piece = data[: self._bounds.part_bytes - self._spool.size_bytes]
            self._spool.add(piece)
            data = data[len(piece) :]

    def finish(self) -> Arrived:
        """Send what is held, and make the object visible."""
        try:
            if self._open is not None:
                self._put_part()
                return self.arrived_in_parts(self._open, is_new=self._is_new)
            self.recipient.watch.look_now()
            receipt = self._carry(self.put(self._spool.size_bytes))
            return self.arrived_whole(receipt)
        finally:
            self._spool.close()

    def fail(self, error: DataFerryError) -> None:
        """Drop what is held."""
        self._spool.close()
        super().fail(error)

    def _put_part(self) -> None:
        if self._open is None:
            self._open = OpenUpload(self.recipient, None, self.attributes, self._bounds.part_bytes)
        self.write = self._open.part(self._spool.size_bytes)
        self._open.took(self._carry(self.write))
        self.write = None
        self._spool.clear()

    def _carry(self, write: PartWrite) -> PartReceipt:
        """Send what is held as one body."""
        stream = self._spool.stream(self.recipient.planned(None).source)
        buffer = memoryview(bytearray(BUFFER_BYTES))
        while count := stream.readinto(buffer):
            write.send(buffer[:count])
        return write.finish()
