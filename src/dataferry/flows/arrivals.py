"""One object that somebody sends, on its way into a sink; what has come is written down once it is there.

Nothing here tries again: the bytes are gone, and who sends them has them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from dataferry.domain.errors import (
    AccessDeniedError,
    AddressError,
    DataFerryError,
    DestinationExistsError,
    ShortBodyError,
    TooLargeError,
)
from dataferry.domain.ledger import Finished, ObjectRow, ObjectState, PlannedObject
from dataferry.domain.objects import Attributes, Capability, ObjectInfo, PartReceipt, Upload, Verification
from dataferry.domain.profile import Direction
from dataferry.engine.spool import Bounds, Spool, bounds
from dataferry.engine.transfer import Overwrite
from dataferry.engine.verification import combined_crc64nvme
from dataferry.flows.ingest import Ingest, Lent, Receiving
from dataferry.mechanisms.base import PartWrite

# As of the engine: an object never has more parts, whatever its size.
MAX_PARTS = 9_000
MAX_NAME_CHARS = 4096
BUFFER_BYTES = 256 * 1024
_NO_NAMES = frozenset({"", ".", ".."})


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """An object that is there, or a part that was taken.

    Attributes:
        is_new: This flow had not brought an object of that name before.
    """

    size_bytes: int
    etag: str | None
    crc64nvme: int | None
    is_new: bool = True


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


class Recipient:
    """One request's way to write an object of a flow.

    Args:
        ingest: Lends connections.
        receiving: Whose data.
        name: Of the object; empty is the address itself.

    Raises:
        AddressError: Nothing of that name may be written there.
    """

    def __init__(self, ingest: Ingest, receiving: Receiving, name: str) -> None:
        self._ingest = ingest
        self.receiving = receiving
        self.ledger = ingest.shared.store.ledger
        self.options = receiving.options
        self.policy = ingest.shared.policy
        self.watch = ingest.access.watch(receiving.flow_id, Direction.PUSH)
        is_single = receiving.place.endpoint.is_single
        if is_single and name:
            raise AddressError("this flow takes one object, at the address itself")
        self.name = name or receiving.default_name
        if len(self.name) > MAX_NAME_CHARS or not _NO_NAMES.isdisjoint(self.name.split("/")):
            raise AddressError("a name has no empty levels, and none that step")
        if not self.options.selection.selects(self.name):
            raise AddressError("an object of that name was not asked for")
        self.lent: Lent = ingest.lend(receiving)
        try:
            self.key = self.lent.sink.place(self.name, single=is_single)
            self.row: ObjectRow | None = self.ledger.named(receiving.attempt.transfer_id, self.key)
        except BaseException:
            self.lent.close()
            raise

    @property
    def takes_parts(self) -> bool:
        """True if the sink takes an object in parts."""
        return Capability.PARTS in self.lent.sink.capabilities

    @property
    def has_come(self) -> bool:
        """True if this flow brought an object of that name."""
        return self.row is not None and self.row.state is ObjectState.DONE

    def planned(self, size_bytes: int | None) -> PlannedObject:
        """What is to be written down of the object."""
        return PlannedObject(
            source=ObjectInfo(name=self.name, key=self.name, size_bytes=size_bytes),
            target_key=self.key,
            target_identity=self.lent.sink.identity,
        )

    def refuse_size(self, size_bytes: int) -> None:
        """Return if an object of that size may come.

        Raises:
            TooLargeError: It may not.
        """
        if size_bytes > self.policy.max_received_object_bytes:
            raise TooLargeError(
                f"an object may have {self.policy.max_received_object_bytes} bytes here at most"
            )

    def must_be_new(self, *, only_if_absent: bool) -> bool:
        """Return whether nothing may be there; what this flow itself brought may be replaced.

        Raises:
            DestinationExistsError: Something is.
        """
        protects = self.options.overwrite is Overwrite.NEVER and not self.has_come
        if not (only_if_absent or protects):
            return False
        try:
            found = self.lent.writer.stat(self.key)
        except AccessDeniedError:
            return True  # who may only write has but the condition
        if found is not None:
            raise DestinationExistsError("an object of that name is there, and must not be replaced")
        return True

    def arrived(self, finished: Finished) -> Arrived:
        """Write down that the object is there, sent whole."""
        self.ledger.arrive(self.receiving.attempt, self.planned(finished.size_bytes), finished)
        return Arrived(
            size_bytes=finished.size_bytes,
            etag=finished.etag,
            crc64nvme=finished.crc64nvme,
            is_new=not self.has_come,
        )

    def missing(self, error: DataFerryError) -> None:
        """Write down that the object was begun, and is not there; its open upload is to be aborted."""
        row = self.row
        if row is None or row.state is not ObjectState.PENDING:
            row = self.ledger.expect(self.receiving.attempt, self.planned(None))
        self.ledger.fail(self.receiving.attempt, row.ordinal, kind=error.kind, error=str(error))

    def part_size_bytes(self, size_bytes: int) -> int:
        """The size of an object's parts that this side cuts."""
        sink, limits = self.lent.sink, self.options.limits
        most = min(MAX_PARTS, sink.max_parts)
        return max(limits.part_size_bytes, -(-size_bytes // most), sink.min_part_size_bytes)

    def release(self) -> None:
        """The request was answered: its connection may serve the next one."""
        self._ingest.take_back(self.receiving, self.lent)

    def drop(self) -> None:
        """The request failed: its connection is in no known state."""
        self.lent.close()


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

    def abort(self) -> None:
        """Make a blocked call fail at once. Any thread."""
        self.recipient.lent.writer.abort()

    def fail(self, error: DataFerryError) -> None:
        """Drop what came, and write down what is missing."""
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
        return self.recipient.arrived(finished_of(receipt, receipt.etag or None, ordinal=0))


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


class OpenUpload:
    """An object that this side writes in parts; its upload is known to the ledger.

    Args:
        recipient: Of the request.
        size_bytes: Of the object; None where it is not known.
        attributes: Of the object.
        part_size_bytes: Of all parts but the last; 0 where who sends will say.
    """

    def __init__(
        self, recipient: Recipient, size_bytes: int | None, attributes: Attributes, part_size_bytes: int
    ) -> None:
        self._recipient = recipient
        attempt, ledger = recipient.receiving.attempt, recipient.ledger
        row = ledger.expect(attempt, recipient.planned(size_bytes))
        recipient.row = row
        ledger.intend(attempt, row.ordinal, part_size_bytes=part_size_bytes)
        self.upload: Upload = recipient.lent.writer.create_upload(
            recipient.key, size_bytes=size_bytes, attributes=attributes
        )
        ledger.open_upload(attempt, row.ordinal, self.upload)
        self._ordinal = row.ordinal
        self._receipts: list[PartReceipt] = []
        self._bytes = 0

    def part(self, length_bytes: int) -> PartWrite:
        """Begin the next part."""
        return self._recipient.lent.writer.put_part(
            self.upload,
            number=len(self._receipts) + 1,
            offset_bytes=self._bytes,
            length_bytes=length_bytes,
        )

    def took(self, receipt: PartReceipt) -> None:
        """Write down a part that the sink has taken."""
        self._recipient.ledger.add_part(self._recipient.receiving.attempt, self._ordinal, receipt)
        self._receipts.append(receipt)
        self._bytes += receipt.size_bytes

    def complete(self, *, only_if_absent: bool, is_new: bool) -> Arrived:
        """Make the object visible."""
        return completed(
            self._recipient,
            replace_row(self._recipient, self.upload),
            self._receipts,
            only_if_absent=only_if_absent,
            is_new=is_new,
        )


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
        return self._open.complete(only_if_absent=self.only_if_absent, is_new=self._is_new)


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
                return self._open.complete(only_if_absent=self.only_if_absent, is_new=self._is_new)
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


def completed(
    recipient: Recipient,
    row: ObjectRow,
    receipts: list[PartReceipt],
    *,
    only_if_absent: bool,
    is_new: bool,
) -> Arrived:
    """Make an object visible whose parts are all there, and write that down.

    Raises:
        UploadGoneError: The sink does not know the upload (any more).
        DestinationExistsError: Nothing may be replaced, and something is there.
    """
    if row.upload is None:
        raise AssertionError(row.target_key)
    size = sum(receipt.size_bytes for receipt in receipts)
    crc = combined_crc64nvme(receipts)
    recipient.watch.look_now()
    recipient.ledger.check(recipient.receiving.attempt)
    if only_if_absent:
        recipient.must_be_new(only_if_absent=True)
    done = recipient.lent.writer.complete(
        row.upload, receipts, size_bytes=size, crc64nvme=crc, only_if_absent=only_if_absent
    )
    whole = PartReceipt(
        number=1,
        size_bytes=size,
        etag=done.validator or "",
        crc64nvme=crc,
        confirmed=crc is not None and done.crc64nvme == crc,
    )
    write_down(recipient, row, finished_of(whole, done.validator, ordinal=row.ordinal))
    return Arrived(size_bytes=size, etag=done.validator, crc64nvme=crc, is_new=is_new)


def write_down(recipient: Recipient, row: ObjectRow, finished: Finished) -> None:
    """Write that an object sent in parts is there."""
    recipient.ledger.finish(
        recipient.receiving.attempt,
        row.ordinal,
        size_bytes=finished.size_bytes,
        etag=finished.etag,
        crc64nvme=finished.crc64nvme,
        verification=finished.verification,
    )


def finished_of(receipt: PartReceipt, etag: str | None, *, ordinal: int) -> Finished:
    """What is written of an object that a sink has taken."""
    return Finished(
        ordinal=ordinal,
        size_bytes=receipt.size_bytes,
        etag=etag,
        crc64nvme=receipt.crc64nvme,
        verification=Verification.DESTINATION if receipt.confirmed else Verification.TRANSPORT,
    )


def replace_row(recipient: Recipient, upload: Upload) -> ObjectRow:
    """Return the object's row with the upload that this request has opened."""
    if recipient.row is None:
        raise AssertionError(recipient.name)
    return replace(recipient.row, upload=upload)
