"""An object that this side writes in parts, whoever cut them: its upload, and how it becomes visible."""

from __future__ import annotations

from dataclasses import replace

from dataferry.domain.ledger import Finished, ObjectRow
from dataferry.domain.objects import Attributes, PartReceipt, Upload, Verification
from dataferry.engine.proofs.verification import combined_crc64nvme
from dataferry.flows.recipient import Arrived, Recipient
from dataferry.mechanisms.base import PartWrite


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
