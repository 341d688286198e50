"""Objects that another plane sends in parts: the sink's own uploads, of which it sees a name that is ours.

A part is written down when the sink has taken it, so that neither side's death costs more than what was on
its way. All parts but the last are of one size, which the first word about it fixes: so where a part lies
follows from its number, and no sender can lay one over another.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from dataferry.domain.errors import (
    DataFerryError,
    DestinationExistsError,
    InputError,
    IntegrityError,
    ShortBodyError,
    TooLargeError,
    UploadGoneError,
)
from dataferry.domain.ledger import Finished, ObjectRow, ObjectState
from dataferry.domain.objects import Attributes, ObjectInfo, PartReceipt, Upload, Verification
from dataferry.engine.proofs.verification import combined_crc64nvme, composite_etag
from dataferry.flows.receiving_upload import OpenUpload, completed, write_down
from dataferry.flows.recipient import MAX_PARTS, Arrived, Recipient
from dataferry.mechanisms.base import PartWrite

_ID_CHARS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSpan:
    """Which part somebody sends: half-open ``(offset_bytes, offset_bytes + length_bytes)``."""

    number: int
    offset_bytes: int
    length_bytes: int

    @property
    def part_size_bytes(self) -> int:
        """The size of all parts but the last, as this one's place says it.

        Raises:
            InputError: Parts of one size do not lie there.
        """
        before = self.number - 1
        size, rest = divmod(self.offset_bytes, before) if before else (self.length_bytes, self.offset_bytes)
        if rest or not 0 < self.length_bytes <= size:
            raise InputError("all parts but the last are of one size, and none is empty")
        return size


def name_of(recipient: Recipient, upload: Upload) -> str:
    """Return what the other side calls an upload: where our data lies, a store's own id might tell."""
    text = f"{recipient.receiving.flow_id} {recipient.key} {upload.upload_id}"
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_CHARS]


def begin(
    recipient: Recipient, *, size_bytes: int | None, attributes: Attributes, only_if_absent: bool
) -> str:
    """Open an upload; one of that object that was open is abandoned.

    Raises:
        DestinationExistsError: Nothing may be replaced, and something is there.
        TooLargeError: The object is larger than this side takes.
    """
    if not recipient.takes_parts:
        raise InputError("this flow's place takes no parts")
    recipient.refuse_size(size_bytes or 0)
    recipient.must_be_new(only_if_absent=only_if_absent)
    return name_of(recipient, OpenUpload(recipient, size_bytes, attributes, 0).upload)


def open_row(recipient: Recipient, upload_id: str) -> tuple[ObjectRow, Upload]:
    """Return the object's row and its open upload.

    Raises:
        UploadGoneError: It has none, or another.
    """
    row = recipient.row
    if row is None or row.upload is None or name_of(recipient, row.upload) != upload_id:
        raise UploadGoneError("there is no such upload")
    return row, row.upload


class PartArrival:
    """One part, passed on as it comes.

    Args:
        recipient: Of the request.
        upload_id: As ``begin`` named it.
        span: Which part.

    Raises:
        UploadGoneError: There is no such upload.
        InputError: It can't be a part of it.
        ConflictError: Other parts say another size.
    """

    def __init__(self, recipient: Recipient, upload_id: str, span: PartSpan) -> None:
        row, upload = open_row(recipient, upload_id)
        size = span.part_size_bytes
        recipient.refuse_size(span.offset_bytes + span.length_bytes)
        self._refuse(recipient, row, span, size)
        if row.part_size_bytes != size:
            recipient.ledger.agree_part_size(recipient.receiving.attempt, row.ordinal, size)
        self._recipient = recipient
        self._ordinal = row.ordinal
        self._left = span.length_bytes
        self._write: PartWrite = recipient.lent.writer.put_part(
            upload, number=span.number, offset_bytes=span.offset_bytes, length_bytes=span.length_bytes
        )

    @staticmethod
    def _refuse(recipient: Recipient, row: ObjectRow, span: PartSpan, size: int) -> None:
        """Refuse parts that are too many, or larger than the object needs."""
        limits, policy = recipient.options.limits, recipient.policy
        whole = limits.max_unknown_length_bytes if row.source.size_bytes is None else row.source.size_bytes
        most = max(policy.max_part_size_bytes, limits.part_size_bytes, -(-whole // MAX_PARTS))
        if size > most:
            raise TooLargeError(f"a part of this object may have {most} bytes here at most")
        if not 1 <= span.number <= recipient.lent.sink.max_parts:
            raise InputError(f"parts are numbered from 1 to {recipient.lent.sink.max_parts}")

    def send(self, data: memoryview) -> None:
        """Pass bytes on."""
        self._left -= len(data)
        if self._left < 0:
            raise TooLargeError("the part is longer than it said")
        self._write.send(data)

    def finish(self) -> Arrived:
        """End the part, and write it down.

        Raises:
            ShortBodyError: Not all came.
        """
        if self._left:
            raise ShortBodyError(f"the part ended {self._left} bytes early")
        receipt = self._write.finish()
        recipient = self._recipient
        recipient.ledger.add_part(recipient.receiving.attempt, self._ordinal, receipt)
        return Arrived(size_bytes=receipt.size_bytes, etag=None, crc64nvme=receipt.crc64nvme)

    def fail(self, error: DataFerryError) -> None:
        """Drop it: the upload stays open, and the part is sent again."""
        del error
        self._write.cancel()

    def abort(self) -> None:
        """Make a blocked call fail at once. Any thread."""
        self._recipient.lent.writer.abort()


def parts(recipient: Recipient, upload_id: str) -> list[PartReceipt]:
    """Return the parts of an upload that are here: written down, and not denied by the sink.

    Raises:
        UploadGoneError: There is no such upload, or the sink does not know it any more.
    """
    row, upload = open_row(recipient, upload_id)
    known = recipient.ledger.parts(recipient.receiving.attempt.transfer_id, row.ordinal)
    listed = recipient.lent.writer.list_parts(upload)
    if listed is None:
        return known
    return [
        part
        for part in known
        if (there := listed.get(part.number)) is not None
        and (there.size_bytes, there.etag) == (part.size_bytes, part.etag)
    ]


def uploads(recipient: Recipient) -> list[tuple[str, datetime]]:
    """Return the open uploads of the object, each with when it was begun; there is one at most."""
    row = recipient.row
    if row is None or row.upload is None or row.intent_at is None:
        return []
    return [(name_of(recipient, row.upload), row.intent_at)]


def finish(
    recipient: Recipient,
    upload_id: str,
    *,
    count: int,
    size_bytes: int,
    crc64nvme: int,
    only_if_absent: bool,
) -> Arrived:
    """Make an object visible; one that is so already, whose answer was lost, is answered again.

    Args:
        recipient: Of the request.
        upload_id: As ``begin`` named it.
        count: Of its parts.
        size_bytes: Of the whole object, as the sender has it.
        crc64nvme: As ``size_bytes``.
        only_if_absent: As it asks.

    Raises:
        IntegrityError: What is here is not that.
        DestinationExistsError: Nothing may be replaced, and something is there.
        UploadGoneError: There is no such upload, and no object that is this.
    """
    row = recipient.row
    if row is not None and row.state is ObjectState.DONE and row.upload is None:
        if (row.source.size_bytes, row.crc64nvme) == (size_bytes, crc64nvme):
            return Arrived(size_bytes=size_bytes, etag=row.etag, crc64nvme=crc64nvme, is_new=False)
        if only_if_absent:
            raise DestinationExistsError("an object of that name is there, and must not be replaced")
        raise UploadGoneError("there is no such upload")
    row, _ = open_row(recipient, upload_id)
    receipts = recipient.ledger.parts(recipient.receiving.attempt.transfer_id, row.ordinal)
    _compare(row, receipts, count=count, size_bytes=size_bytes, crc64nvme=crc64nvme)
    absent = recipient.must_be_new(only_if_absent=only_if_absent)
    try:
        return completed(recipient, row, receipts, only_if_absent=absent, is_new=True)
    except UploadGoneError:
        found = recipient.lent.writer.stat(recipient.key)
        if found is None:
            raise
        proof = _proof(row, found, receipts, size_bytes=size_bytes, crc64nvme=crc64nvme)
        if proof is None:
            raise
        return _found(recipient, row, found, crc64nvme, proof)


def give_up(recipient: Recipient, upload_id: str) -> None:
    """Drop an upload that its sender does not want any more; one that is gone is no error."""
    try:
        row, _ = open_row(recipient, upload_id)
    except UploadGoneError:
        return
    recipient.ledger.fail(
        recipient.receiving.attempt, row.ordinal, kind="stopped", error="its sender has given it up"
    )


def _compare(
    row: ObjectRow, receipts: list[PartReceipt], *, count: int, size_bytes: int, crc64nvme: int
) -> None:
    """Compare what is here with what the sender says that it sent.

    Raises:
        IntegrityError: It is not that.
    """
    numbers = [receipt.number for receipt in receipts]
    uniform = all(receipt.size_bytes == row.part_size_bytes for receipt in receipts[:-1])
    if not receipts or numbers != list(range(1, count + 1)) or not uniform:
        raise IntegrityError(f"{len(receipts)} parts are here, and not all {count} that make the object")
    if sum(receipt.size_bytes for receipt in receipts) != size_bytes:
        raise IntegrityError(f"the parts that are here have not the {size_bytes} bytes of the object")
    if combined_crc64nvme(receipts) != crc64nvme:
        raise IntegrityError("the parts that are here have another CRC-64/NVME than the object")


def _proof(
    row: ObjectRow, found: ObjectInfo, receipts: list[PartReceipt], *, size_bytes: int, crc64nvme: int
) -> Verification | None:
    """Return how far an object that is there is proved to be the one that was to be completed; None if not.

    A kill may have come between its completion and our writing that down (rule 6).
    """
    if found.size_bytes != size_bytes:
        return None
    if found.crc64nvme is not None:
        return Verification.DESTINATION if found.crc64nvme == crc64nvme else None
    etag = composite_etag(receipts)
    if etag is not None and found.validator is not None and "-" in found.validator:
        return Verification.TRANSPORT if found.validator == etag else None
    began, made = row.intent_at, found.modified_at
    return Verification.SIZE if began is not None and made is not None and made >= began else None


def _found(
    recipient: Recipient, row: ObjectRow, found: ObjectInfo, crc64nvme: int, proof: Verification
) -> Arrived:
    """Write down what had been completed before."""
    size = found.size_bytes or 0
    finished = Finished(
        ordinal=row.ordinal,
        size_bytes=size,
        etag=found.validator,
        crc64nvme=crc64nvme,
        verification=proof,
    )
    write_down(recipient, row, finished)
    return Arrived(size_bytes=size, etag=found.validator, crc64nvme=crc64nvme, is_new=False)
