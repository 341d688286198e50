"""Parts of big objects: how one is cut, and how one is moved."""

from __future__ import annotations

from dataferry.domain.errors import WrongRangeError
from dataferry.domain.objects import PartPlan, PartReceipt
from dataferry.engine.objects.hands import Hands, checked
from dataferry.engine.objects.work import MultipartObject


def carry_part(hands: Hands, owner: MultipartObject, plan: PartPlan) -> PartReceipt:
    """Read one range and send it as one part."""
    stream = hands.connections.reader.open(
        owner.source, offset_bytes=plan.offset_bytes, length_bytes=plan.length_bytes
    )
    try:
        checked(owner.source, stream.info)
        if stream.length_bytes not in (None, plan.length_bytes):
            raise WrongRangeError(
                f"{owner.source.name}: the source sends {stream.length_bytes} bytes of {plan.length_bytes}",
                operation="read",
            )
        write = hands.connections.writer.put_part(
            owner.upload, number=plan.number, offset_bytes=plan.offset_bytes, length_bytes=plan.length_bytes
        )
        return hands.carry(stream, write, plan.length_bytes)
    finally:
        stream.close()


def parts_of(size_bytes: int, part_size_bytes: int) -> list[PartPlan]:
    """Cut an object into uniform parts; the last one is what is left."""
    return [
        PartPlan(
            number=number,
            offset_bytes=offset,
            length_bytes=min(part_size_bytes, size_bytes - offset),
        )
        for number, offset in enumerate(range(0, size_bytes, part_size_bytes), start=1)
    ]
