"""Server-side copies: the store is asked, and what came of it is compared. No byte passes here.

What a store refuses, or copies wrongly, is streamed instead; only what would fail streaming too is an error.
"""

from __future__ import annotations

from dataferry.domain.errors import (
    BucketNotFoundError,
    DataFerryError,
    FencedError,
    IntegrityError,
    StallError,
    StoppedError,
    UnsupportedError,
    UploadGoneError,
)
from dataferry.domain.ledger import Finished, ObjectRow
from dataferry.domain.objects import ObjectInfo, PartPlan, PartReceipt, Verification
from dataferry.engine.attempt.retry import dooms_attempt
from dataferry.engine.objects.hands import Hands
from dataferry.engine.objects.opening import look_up
from dataferry.engine.objects.work import MultipartObject
from dataferry.engine.proofs.verification import stored_level
from dataferry.mechanisms.abilities import CopyingWriter

# Not asked for again: a copy that took too long would take as long again.
AT_ONCE = (UploadGoneError, IntegrityError, StallError)


def copied_whole(hands: Hands, row: ObjectRow) -> Finished | None:
    """Have the store copy one object.

    Returns:
        What is to be written of it; None if it is to be streamed.

    Raises:
        StoppedError, FencedError: As ever.
        DataFerryError: Nothing can go on.
    """
    route, size = hands.course.route, row.source.size_bytes
    if size is None or row.source.validator is None or not hands.course.copies_whole(row):
        return None
    try:
        finished = _copy_whole(hands, row, size)
    except DataFerryError as error:
        _refused(hands, row.source.name, error)
        return None
    route.succeeded()
    hands.meter.copied += size
    return finished


def copied_part(hands: Hands, owner: MultipartObject, plan: PartPlan) -> PartReceipt | None:
    """Have the store copy one part of an open object.

    Returns:
        Its receipt, which has no checksum; None if it is to be streamed.

    Raises:
        UploadGoneError: There is no such upload.
        StoppedError, FencedError: As ever.
        DataFerryError: Nothing can go on.
    """
    course = hands.course
    if not course.route.is_copying or owner.source.validator is None:
        return None
    what = f"part {plan.number} of {owner.row.source.name}"

    def once() -> PartReceipt:
        return _copying(hands).copy_part(
            course.transfer.source,
            owner.upload,
            owner.source,
            number=plan.number,
            offset_bytes=plan.offset_bytes,
            length_bytes=plan.length_bytes,
        )

    try:
        receipt = hands.trying(f"copying {what}", once, at_once=AT_ONCE)
    except DataFerryError as error:
        _refused(hands, what, error)
        return None
    course.route.succeeded()
    hands.meter.copied += plan.length_bytes
    return receipt


def prove_copied(hands: Hands, owner: MultipartObject) -> None:
    """Look, before an object becomes visible, whether the store copied what it was asked for.

    Stores that ignore the condition or the range of a copy exist, and their receipts don't tell.

    Raises:
        SourceChangedError: The source is another version by now.
        IntegrityError: A part has another size.
        UploadGoneError: There is no such upload.
    """
    look_up(hands, owner.row)
    listed = hands.trying(
        f"listing parts of {owner.row.source.name}",
        lambda: hands.connections.writer.list_parts(owner.upload),
    )
    for number, there in (listed or {}).items():
        receipt = owner.receipts.get(number)
        if receipt is not None and receipt.size_bytes != there.size_bytes:
            raise IntegrityError(
                f"part {number} of {owner.row.source.name}: the store was asked to copy {receipt.size_bytes} "
                f"bytes, and has {there.size_bytes}",
                operation="copy",
            )


def _copy_whole(hands: Hands, row: ObjectRow, size: int) -> Finished:
    """Copy and compare: by the checksums in the reply, else by a look at both ends."""
    source = row.source

    def once() -> ObjectInfo:
        return _copying(hands).copy(hands.course.transfer.source, row.source, row.target_key)

    done = hands.trying(f"copying {source.name}", once, at_once=AT_ONCE)
    level = stored_level(source, done)
    if level is Verification.SIZE:
        # Stores that ignore the condition exist: it must still be the version that was asked for.
        source = look_up(hands, row)
        done = _found(hands, row.target_key, size)
        level = stored_level(source, done)
    return Finished(
        ordinal=row.ordinal,
        size_bytes=size,
        etag=done.validator,
        crc64nvme=done.crc64nvme,
        verification=level,
    )


def _found(hands: Hands, key: str, size: int) -> ObjectInfo:
    """Look at what was made.

    Raises:
        IntegrityError: It is not there, or has another size.
    """
    found = hands.trying(f"looking at {key}", lambda: hands.connections.writer.stat(key))
    if found is None or found.size_bytes != size:
        there = "nothing" if found is None else f"{found.size_bytes} bytes"
        raise IntegrityError(f"{key}: {size} bytes were to be copied, and there is {there}", operation="copy")
    return found


def _copying(hands: Hands) -> CopyingWriter:
    """Return the writer, which has time: the mechanism bounds how long the store may copy in silence."""
    hands.meter.busy = False
    writer = hands.connections.writer
    if not isinstance(writer, CopyingWriter):
        raise UnsupportedError("the destination's writer can't have objects copied", operation="copy")
    return writer


def _refused(hands: Hands, what: str, error: DataFerryError) -> None:
    """Leave what was not copied to streaming, which fails by itself where it must.

    Raises:
        DataFerryError: ``error``, where another look or another way does not help.
    """
    if isinstance(error, StoppedError | FencedError | UploadGoneError):
        raise error
    # A bucket that only copies don't find: some gateways name buckets differently there.
    if dooms_attempt(error) and not isinstance(error, BucketNotFoundError):
        raise error
    hands.course.route.refused(what, error)
