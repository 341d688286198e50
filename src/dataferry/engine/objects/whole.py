"""Small objects: one read, one request to the sink, one row. No look-up beside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from dataferry.domain.errors import DataFerryError, IntegrityError, WrongRangeError
from dataferry.domain.ledger import Finished, ObjectRow
from dataferry.domain.objects import ObjectInfo, PartReceipt
from dataferry.engine.attempt.tags import AttributesOf
from dataferry.engine.objects.completion import refuse_existing
from dataferry.engine.objects.hands import Hands, checked
from dataferry.engine.objects.readback import read_back_whole
from dataferry.engine.proofs.proving import ProvedBody
from dataferry.engine.transfer import Overwrite
from dataferry.mechanisms.base import ByteStream, PartWrite


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A body that the sink has taken.

    Attributes:
        source: As the reply that was read described it.
        md5: Of what was streamed, where it was summed up.
    """

    source: ObjectInfo
    receipt: PartReceipt
    md5: str | None = None


def send_whole(hands: Hands, row: ObjectRow) -> Finished:
    """Move one object in one piece, and return what is to be written of it.

    Raises:
        SourceChangedError: It is not the planned version.
        DataFerryError: It failed for good.
    """
    return sent_in_one(hands, row, lambda again: _send(hands, row, again=again))


def sent_in_one(hands: Hands, row: ObjectRow, send: Callable[[bool], Sent]) -> Finished:
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
        sent = send(number > 1)
        if not course.reads_back:
            return _finished(hands, row, sent, confirmed=sent.receipt.confirmed)
        try:
            read_back_whole(
                hands,
                row.target_key,
                size_bytes=sent.receipt.size_bytes,
                etag=sent.receipt.etag or None,
                crc64nvme=sent.receipt.crc64nvme,
            )
        except DataFerryError as error:
            hands.take_back(sent.receipt.size_bytes)
            if number == tries or not isinstance(error, IntegrityError):
                raise
            course.observer.noted("object_restarted", f"{row.source.name} begins anew: {error}")
        else:
            return _finished(hands, row, sent, confirmed=True)
    raise AssertionError(row.source.name)


def _finished(hands: Hands, row: ObjectRow, sent: Sent, *, confirmed: bool) -> Finished:
    """What is to be written of an object that has arrived."""
    return Finished(
        ordinal=row.ordinal,
        size_bytes=sent.receipt.size_bytes,
        etag=sent.receipt.etag or None,
        crc64nvme=sent.receipt.crc64nvme,
        verification=hands.course.etags.level(sent.source, sent.receipt, sent.md5, confirmed=confirmed),
    )


def _send(hands: Hands, row: ObjectRow, *, again: bool) -> Sent:
    """Send an object in one piece; ``again`` if all of it was sent before."""
    size = row.source.size_bytes or 0
    refuse_existing(hands, row.target_key)
    looks = _Looks(hands)

    def once(attributes_of: AttributesOf) -> Sent:
        stream = hands.connections.reader.open(row.source)
        try:
            info = _found(row.source, stream)
            write = hands.connections.writer.put(
                row.target_key,
                length_bytes=size,
                attributes=attributes_of(info),
                only_if_absent=hands.course.transfer.overwrite is Overwrite.NEVER,
            )
            return looks.sent(stream, write, info, size)
        finally:
            stream.close()

    sent_before = size if again else 0
    return hands.course.tags.sent(
        lambda: hands.connections.reader,
        lambda attributes_of: hands.moving(
            row.source.name, lambda: once(attributes_of), sent_before=sent_before
        ),
    )


class _Looks:
    """Sends a body, and once more where ETags that should agree do not: then it is they that are no MD5s.

    Args:
        hands: The worker's.
    """

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._doubted = False

    def sent(self, stream: ByteStream, write: PartWrite, info: ObjectInfo, size: int) -> Sent:
        """Send one body.

        Raises:
            IntegrityError: Something does not agree, for the first time; or a CRC-64/NVME.
        """
        course, etags = self._hands.course, self._hands.course.etags
        wants_md5 = self._doubted or etags.wants_md5(info, size, reads_back=course.reads_back)
        trusts_etag = info.crc64nvme is None and not self._doubted and etags.source is not False
        body: PartWrite = write
        proved = None
        if wants_md5 or info.crc64nvme is not None:
            body = proved = ProvedBody(write, info, size, wants_md5=wants_md5, trusts_etag=trusts_etag)
        try:
            receipt = self._hands.carry(stream, body, size, to_end=True)
        except IntegrityError:
            self._doubted = True
            raise
        md5 = None if proved is None else proved.md5
        etags.learn(info, receipt, md5)
        if not self._doubted and etags.doubts(info, receipt, md5):
            self._doubted = True
            if course.transfer.overwrite is not Overwrite.NEVER:
                raise IntegrityError(
                    f"{info.name}: the destination's ETag is not the MD5 of what was sent", operation="write"
                )
        if self._doubted:
            etags.distrust(info, receipt, md5)
        return Sent(source=info, receipt=receipt, md5=md5)


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
