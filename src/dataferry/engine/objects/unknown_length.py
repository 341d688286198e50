"""Objects whose source does not say their length: one stream, held a part at a time.

Each part is read before it is sent, so that a fault of the sink costs the part only; a fault of the source
begins the object anew. Nothing is resumed: no later read could be told where to go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dataferry.domain.ledger import Finished, ObjectRow
from dataferry.domain.objects import ObjectInfo, PartReceipt
from dataferry.engine.attempt.spool import Spool
from dataferry.engine.attempt.tags import AttributesOf
from dataferry.engine.objects.completion import refuse_existing
from dataferry.engine.objects.hands import Hands, checked
from dataferry.engine.objects.opening import forget, open_upload
from dataferry.engine.objects.streaming import begun_anew
from dataferry.engine.objects.whole import Sent, sent_in_one
from dataferry.engine.objects.work import BigObject, MultipartObject
from dataferry.engine.proofs.verification import compare_with_source
from dataferry.engine.transfer import Overwrite
from dataferry.mechanisms.base import ByteStream


def send_unknown(hands: Hands, work: BigObject) -> MultipartObject | Finished:
    """Move one object of unknown length.

    Returns:
        What is to be written of it, if it ended within a part; else the object with all its parts sent, still
        to be completed.

    Raises:
        TooLargeError: It is longer than allowed.
        DataFerryError: It failed for good.
    """
    course = hands.course
    row, sent_before = begun_anew(hands, work.row)
    sent_before = max(sent_before, len(work.sent_before) * course.bounds_of_unknown().part_bytes)
    refuse_existing(hands, row.target_key)
    with Spool(course.transfer.limits.spool_directory) as spool:

        def once() -> MultipartObject | ObjectInfo:
            stream = hands.connections.reader.open(row.source)
            try:
                return _receive(hands, replace(work, row=row), stream, spool)
            finally:
                stream.close()

        came = hands.moving(row.source.name, once, sent_before=sent_before)
        if isinstance(came, MultipartObject):
            return came
        return sent_in_one(
            hands, row, lambda again: Sent(source=came, receipt=_put(hands, row, came, spool, again=again))
        )


def _receive(hands: Hands, work: BigObject, stream: ByteStream, spool: Spool) -> MultipartObject | ObjectInfo:
    """Read to the end, and send what comes in parts; an object that ends within one is held, and not sent."""
    source = checked(work.row.source, stream.info)
    stretches = _stretches(hands, stream, spool, source.name)
    if next(stretches):
        return source
    owner = _opened(hands, work, source)
    try:
        _put_part(hands, owner, spool)
        for _ in stretches:
            _put_part(hands, owner, spool)
    except BaseException:
        forget(hands, owner.row, (), abandon=True)
        raise
    owner.source = replace(source, size_bytes=sum(part.size_bytes for part in owner.receipts.values()))
    return owner


def _stretches(hands: Hands, stream: ByteStream, spool: Spool, name: str) -> Iterator[bool]:
    """Hold one part after the other; tell of each if it is the last. The first may be empty.

    Raises:
        TooLargeError: More comes than allowed.
    """
    bounds = hands.course.bounds_of_unknown()
    held, ahead = 0, b""
    while True:
        spool.clear()
        spool.add(memoryview(ahead))
        ahead = hands.hold(stream, spool, min(bounds.part_bytes, bounds.most_bytes - held))
        held += spool.size_bytes
        if ahead and held >= bounds.most_bytes:
            raise bounds.refusal(name)
        yield not ahead
        if not ahead:
            return


def _put(hands: Hands, row: ObjectRow, source: ObjectInfo, spool: Spool, *, again: bool) -> PartReceipt:
    """Send what is held as a whole object."""
    compare_with_source(source, spool.crc64nvme)
    refuse_existing(hands, row.target_key)

    def once(attributes_of: AttributesOf) -> PartReceipt:
        write = hands.connections.writer.put(
            row.target_key,
            length_bytes=spool.size_bytes,
            attributes=attributes_of(source),
            only_if_absent=hands.course.transfer.overwrite is Overwrite.NEVER,
        )
        return hands.carry(spool.stream(source), write, spool.size_bytes)

    sent_before = spool.size_bytes if again else 0
    return hands.course.tags.sent(
        lambda: hands.connections.reader,
        lambda attributes_of: hands.moving(
            row.source.name, lambda: once(attributes_of), sent_before=sent_before
        ),
    )


def _opened(hands: Hands, work: BigObject, source: ObjectInfo) -> MultipartObject:
    """Open an upload whose parts are those of ``Bounds``."""
    part_bytes = hands.course.bounds_of_unknown().part_bytes
    with hands.keeping_reader():
        upload, row = open_upload(hands, replace(work.row, part_size_bytes=part_bytes), source)
    return MultipartObject(row, source, upload, {}, work.tries, sent_before=work.sent_before)


def _put_part(hands: Hands, owner: MultipartObject, spool: Spool) -> None:
    """Send what is held as the next part, and write it down."""
    course = hands.course
    number = len(owner.receipts) + 1

    def once() -> PartReceipt:
        write = hands.connections.writer.put_part(
            owner.upload,
            number=number,
            offset_bytes=(number - 1) * (owner.row.part_size_bytes or 0),
            length_bytes=spool.size_bytes,
        )
        return hands.carry(spool.stream(owner.source), write, spool.size_bytes)

    with hands.keeping_reader():
        receipt = hands.moving(f"part {number} of {owner.source.name}", once)
    course.ledger.add_part(course.attempt, owner.row.ordinal, receipt)
    owner.receipts[number] = receipt
