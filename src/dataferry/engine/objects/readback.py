"""Reading back: what the destination gives out is summed up and compared with what was sent (rule 8).

A small object is read by the worker that sent it; the parts of a big one go through the feed a second time,
so that all workers read. Nothing is written down before, so that a crash does not skip it.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

from dataferry.domain.errors import (
    AccessDeniedError,
    ConflictError,
    CredentialsExpiredError,
    IntegrityError,
    SourceChangedError,
    UnsupportedError,
    WrongRangeError,
)
from dataferry.domain.objects import Capability, ObjectInfo, PartPlan
from dataferry.engine.objects.hands import Hands
from dataferry.engine.objects.work import Arrival, MultipartObject
from dataferry.engine.transfer import Transfer, Verify
from dataferry.mechanisms.sink_faults import fault_of_sink

_OPERATION = "read back"
# A byte may change on its way back too: a second look is cheaper than sending it all again.
LOOKS = 2


def refuse_unreadable(transfer: Transfer) -> None:
    """Refuse before a byte moves what could not be read back.

    Raises:
        UnsupportedError: The sink can't be read.
    """
    if transfer.verify is Verify.READBACK and Capability.READ_BACK not in transfer.sink.capabilities:
        raise UnsupportedError(
            f"{transfer.sink.identity} can't be read, so that nothing could be read back: "
            "use verify = best, or a destination that can be read"
        )


def parts_to_read(owner: MultipartObject) -> list[PartPlan]:
    """Return the parts of a big object as they lie in it."""
    receipts = [owner.receipts[number] for number in sorted(owner.receipts)]
    ends = accumulate(receipt.size_bytes for receipt in receipts)
    return [
        PartPlan(
            number=receipt.number, offset_bytes=end - receipt.size_bytes, length_bytes=receipt.size_bytes
        )
        for receipt, end in zip(receipts, ends, strict=True)
    ]


def read_back_part(hands: Hands, owner: MultipartObject, arrival: Arrival, part: PartPlan) -> None:
    """Read one part of a big object from the destination.

    Raises:
        IntegrityError: It is not what was sent.
        ConflictError: Somebody else has replaced the object.
    """
    key = owner.row.target_key
    there = replace(arrival.found, name=key, key=key, size_bytes=owner.source.size_bytes)
    sent = owner.receipts[part.number].crc64nvme
    _compare(hands, there, part, sent, f"part {part.number} of {key}")


def read_back_whole(
    hands: Hands, key: str, *, size_bytes: int, etag: str | None, crc64nvme: int | None
) -> None:
    """Read an object that was sent in one piece from the destination.

    Raises:
        IntegrityError: It is not what was sent.
        ConflictError: Somebody else has replaced it.
    """
    there = ObjectInfo(name=key, key=key, size_bytes=size_bytes, validator=etag)
    _compare(hands, there, PartPlan(number=1, offset_bytes=0, length_bytes=size_bytes), crc64nvme, key)


def _compare(hands: Hands, there: ObjectInfo, part: PartPlan, sent: int | None, what: str) -> None:
    if sent is None:
        # Copied by the store in an earlier attempt, when reading back was not asked for.
        raise IntegrityError(f"{what} can't be compared: no checksum of it is known", operation=_OPERATION)

    def once() -> int:
        return _sum(hands, there, part)

    def tried() -> int:
        return hands.trying(f"reading back {what}", once, at_once=(IntegrityError,))

    for _ in range(LOOKS):
        if hands.when_open(tried) == sent:
            hands.meter.verified += part.length_bytes
            return
    raise IntegrityError(
        f"{what} is not what was sent when it is read back; it is there all the same: do not use it",
        operation=_OPERATION,
    )


@fault_of_sink
def _sum(hands: Hands, there: ObjectInfo, part: PartPlan) -> int:
    """Return the CRC-64/NVME of a range as the destination gives it out."""
    try:
        stream = hands.connections.written.open(
            there, offset_bytes=part.offset_bytes, length_bytes=part.length_bytes
        )
        try:
            return hands.sum_up(stream, part.length_bytes)
        finally:
            stream.close()
    except SourceChangedError as error:
        raise ConflictError(
            f"{there.key} was replaced by somebody else before it could be read back", operation=_OPERATION
        ) from error
    except WrongRangeError as error:
        raise IntegrityError(
            f"{there.key} has another size when it is read back", operation=_OPERATION
        ) from error
    except CredentialsExpiredError:
        raise
    except AccessDeniedError as error:
        raise AccessDeniedError(
            f"{there.key} was written, and may not be read back: allow these credentials to read there, "
            f"or use verify = best ({error.message})",
            operation=_OPERATION,
        ) from error
