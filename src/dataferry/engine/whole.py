"""Small objects: one read, one request to the sink, one row. No look-up beside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dataferry.domain.errors import DataFerryError, IntegrityError, WrongRangeError
from dataferry.domain.ledger import Finished, ObjectRow
from dataferry.domain.objects import ObjectInfo, PartReceipt
from dataferry.engine.completion import refuse_existing
from dataferry.engine.hands import Hands, checked
from dataferry.engine.readback import read_back_whole
from dataferry.engine.tags import AttributesOf
from dataferry.engine.transfer import Overwrite
from dataferry.engine.verification import compare_with_source, level
from dataferry.mechanisms.base import ByteStream, PartWrite


def send_whole(hands: Hands, row: ObjectRow) -> Finished:
    """Move one object in one piece, and return what is to be written of it.

    Raises:
        SourceChangedError: It is not the planned version.
        DataFerryError: It failed for good.
    """
    return sent_in_one(hands, row, lambda again: _send(hands, row, again=again))


def sent_in_one(
    hands: Hands, row: ObjectRow, send: Callable[[bool], tuple[ObjectInfo, PartReceipt]]
) -> Finished:
    """Send an object in one piece and read it back where that is asked for; again if it is not what was sent.

    Args:
        hands: Of the worker.
        row: The object.
        send: Sends it; told whether all of it was sent before.
    """
    course = hands.course
    # Where nothing may be overwritten there is one try: the next would find what this one wrote.
    tries = 1 if course.transfer.overwrite is Overwrite.NEVER else course.transfer.limits.attempts
    for number in range(1, tries + 1):
        info, receipt = send(number > 1)
        if not course.reads_back:
            return _finished(row, info, receipt, confirmed=receipt.confirmed)
        try:
            read_back_whole(
                hands,
                row.target_key,
                size_bytes=receipt.size_bytes,
                etag=receipt.etag or None,
                crc64nvme=receipt.crc64nvme,
            )
        except DataFerryError as error:
            hands.take_back(receipt.size_bytes)
            if number == tries or not isinstance(error, IntegrityError):
                raise
            course.observer.noted("object_restarted", f"{row.source.name} begins anew: {error}")
        else:
            return _finished(row, info, receipt, confirmed=True)
    raise AssertionError(row.source.name)


def _finished(row: ObjectRow, info: ObjectInfo, receipt: PartReceipt, *, confirmed: bool) -> Finished:
    """What is to be written of an object that has arrived."""
    return Finished(
        ordinal=row.ordinal,
        size_bytes=receipt.size_bytes,
        etag=receipt.etag or None,
        crc64nvme=receipt.crc64nvme,
        verification=level(info, receipt.crc64nvme, confirmed=confirmed),
    )


def _send(hands: Hands, row: ObjectRow, *, again: bool) -> tuple[ObjectInfo, PartReceipt]:
    """Send an object in one piece; ``again`` if all of it was sent before."""
    size = row.source.size_bytes or 0
    refuse_existing(hands, row.target_key)

    def once(attributes_of: AttributesOf) -> tuple[ObjectInfo, PartReceipt]:
        stream = hands.connections.reader.open(row.source)
        try:
            info = _found(row.source, stream)
            write = hands.connections.writer.put(
                row.target_key,
                length_bytes=size,
                attributes=attributes_of(info),
                only_if_absent=hands.course.transfer.overwrite is Overwrite.NEVER,
            )
            body: PartWrite = write if info.crc64nvme is None else ProvedBody(write, info)
            return info, hands.carry(stream, body, size, to_end=True)
        finally:
            stream.close()

    sent_before = size if again else 0
    return hands.course.tags.sent(
        lambda: hands.connections.reader,
        lambda attributes_of: hands.moving(
            row.source.name, lambda: once(attributes_of), sent_before=sent_before
        ),
    )


class ProvedBody:
    """A body that is compared with the source's own checksum before it becomes visible.

    Only for sources that keep a CRC-64/NVME: a whole object is visible once its request ends, so the sink's
    own sum would come too late.
    """

    def __init__(self, body: PartWrite, source: ObjectInfo) -> None:
        from awscrt.checksums import crc64nvme

        self._body = body
        self._source = source
        self._sum = crc64nvme
        self._crc64nvme = 0

    def send(self, data: memoryview) -> None:
        """Add to the sum and send."""
        self._crc64nvme = self._sum(data, self._crc64nvme)
        self._body.send(data)

    def finish(self) -> PartReceipt:
        """Compare, then end the body.

        Raises:
            IntegrityError: The bytes read are not those that the source keeps a checksum of.
        """
        compare_with_source(self._source, self._crc64nvme)
        receipt = self._body.finish()
        if receipt.crc64nvme not in (None, self._crc64nvme):
            raise IntegrityError(f"{self._source.name}: the bytes changed on their way", operation="write")
        return receipt

    def cancel(self) -> None:
        """Drop it."""
        self._body.cancel()


def _found(planned: ObjectInfo, stream: ByteStream) -> ObjectInfo:
    """Compare the reply with the plan; its checksum completes the listing's."""
    info = checked(planned, stream.info)
    if stream.length_bytes is not None and stream.length_bytes != planned.size_bytes:
        raise WrongRangeError(
            f"{planned.name}: the source sends {stream.length_bytes} bytes of {planned.size_bytes}",
            operation="read",
        )
    if info.crc64nvme is not None or planned.crc64nvme is None:
        return info
    return replace(info, crc64nvme=planned.crc64nvme)
