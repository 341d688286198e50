"""Big objects of sources without ranges or strong validators: one stream, cut into parts, from its beginning.

No version can be named for a later read, so nothing is resumed: each try begins the object anew.
"""

from __future__ import annotations

from dataclasses import replace

from dataferry.domain.ledger import ObjectRow
from dataferry.domain.objects import PartPlan, PartReceipt
from dataferry.engine.objects.hands import Hands, checked
from dataferry.engine.objects.opening import forget, open_upload
from dataferry.engine.objects.parts import parts_of
from dataferry.engine.objects.work import BigObject, MultipartObject
from dataferry.mechanisms.base import ByteStream


def send_streamed(hands: Hands, work: BigObject) -> MultipartObject:
    """Move one big object through a single stream; it is still to be completed.

    Raises:
        DataFerryError: It failed for good.
    """
    row, sent_before = begun_anew(hands, work.row)
    size = row.source.size_bytes or 0
    if work.tries > 1:
        sent_before = size

    def once() -> MultipartObject:
        stream = hands.connections.reader.open(row.source)
        try:
            source = replace(checked(row.source, stream.info), size_bytes=size)
            upload, opened = open_upload(hands, row, source)
            parts = parts_of(size, opened.part_size_bytes or 1)
            receipts: dict[int, PartReceipt] = {}
            owner = MultipartObject(opened, source, upload, receipts, work.tries)
            try:
                for part in parts:
                    receipts[part.number] = _send(hands, owner, part, stream)
            except BaseException:
                forget(hands, opened, (), abandon=True)
                raise
            return owner
        finally:
            stream.close()

    return hands.moving(row.source.name, once, sent_before=sent_before)


def begun_anew(hands: Hands, row: ObjectRow) -> tuple[ObjectRow, int]:
    """Forget what an earlier attempt sent of an object; return its row, and how many bytes those were."""
    if row.upload is None:
        return row, 0
    receipts = hands.course.ledger.parts(hands.course.attempt.transfer_id, row.ordinal)
    forget(hands, row, receipts, abandon=True)
    return row.anew, sum(receipt.size_bytes for receipt in receipts)


def _send(hands: Hands, owner: MultipartObject, part: PartPlan, stream: ByteStream) -> PartReceipt:
    course = hands.course
    write = hands.connections.writer.put_part(
        owner.upload, number=part.number, offset_bytes=part.offset_bytes, length_bytes=part.length_bytes
    )
    size = owner.source.size_bytes or 0
    last = part.offset_bytes + part.length_bytes == size
    receipt = hands.carry(stream, write, part.length_bytes, to_end=last)
    course.ledger.add_part(course.attempt, owner.row.ordinal, receipt)
    return receipt
