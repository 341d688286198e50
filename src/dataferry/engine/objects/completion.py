"""How a big object becomes visible, and what is proved about it (rules 6 and 8)."""

from __future__ import annotations

from collections.abc import Iterable

from dataferry.domain.errors import (
    AccessDeniedError,
    CredentialsExpiredError,
    DestinationExistsError,
    IntegrityError,
    UploadGoneError,
)
from dataferry.domain.ledger import ObjectRow
from dataferry.domain.objects import ObjectInfo, PartReceipt, Verification
from dataferry.engine.objects.hands import Hands
from dataferry.engine.objects.work import Arrival, MultipartObject
from dataferry.engine.proofs.verification import (
    combined_crc64nvme,
    compare_with_source,
    composite_etag,
    level,
    stored_level,
)
from dataferry.engine.transfer import Overwrite


def complete(hands: Hands, owner: MultipartObject) -> Arrival:
    """Make an object visible whose parts are all committed.

    Raises:
        UploadGoneError: There is no such upload, and no object that is ours: begin anew.
        IntegrityError: Checksum or size differ: begin anew.
        FencedError: A newer attempt owns the transfer; nothing was completed.
    """
    course = hands.course
    row, source = owner.row, owner.source
    size = source.size_bytes or 0
    parts = [owner.receipts[number] for number in sorted(owner.receipts)]
    streamed = combined_crc64nvme(parts)
    compare_with_source(source, streamed)
    refuse_existing(hands, row.target_key)

    def once() -> ObjectInfo:
        course.ledger.check(course.attempt)
        writer = hands.connections.writer
        # Large objects take a store minutes to put together, without a byte on the wire.
        hands.meter.busy = False
        done = writer.complete(
            owner.upload,
            parts,
            size_bytes=size,
            # Of what the store copied by itself nobody here saw a byte: it is to be what the source keeps.
            crc64nvme=source.crc64nvme if streamed is None else streamed,
            only_if_absent=course.transfer.overwrite is Overwrite.NEVER,
        )
        return done if done.size_bytes is not None else (writer.stat(row.target_key) or done)

    done = hands.trying(f"completing {row.source.name}", once, at_once=(UploadGoneError, IntegrityError))
    if done.size_bytes is not None and done.size_bytes != size:
        raise IntegrityError(f"{row.target_key} has {done.size_bytes} bytes of {size}", operation="complete")
    if streamed is None:
        proof = stored_level(source, done)
    else:
        confirmed = done.crc64nvme == streamed
        if done.crc64nvme is not None and not confirmed:
            raise IntegrityError(f"{row.target_key}: the store's CRC-64/NVME differs", operation="complete")
        proof = level(source, streamed, confirmed=confirmed)
    return Arrival(found=done, crc64nvme=streamed, verification=proof)


def refuse_existing(hands: Hands, key: str) -> None:
    """Look a last time before an object becomes visible, where nothing may be overwritten (rule 9).

    The plan may be old, and many stores ignore the condition that the request itself carries.

    Raises:
        DestinationExistsError: Somebody else has made it since.
    """
    if hands.course.transfer.overwrite is not Overwrite.NEVER:
        return
    try:
        found = hands.trying(f"looking at {key}", lambda: hands.connections.writer.stat(key))
    except CredentialsExpiredError:
        raise
    except AccessDeniedError:
        return  # who may only write has but the condition
    if found is not None:
        raise DestinationExistsError(f"{key} is there, and overwrite is never", operation="write")


def find_gone(
    hands: Hands, row: ObjectRow, source: ObjectInfo, receipts: Iterable[PartReceipt]
) -> Arrival | None:
    """Look at the object of an upload that is gone: it may have been completed before a crash (rule 6).

    Returns:
        The object there if it is ours.
    """
    parts = sorted(receipts, key=lambda receipt: receipt.number)
    size = source.size_bytes or 0
    if sum(part.size_bytes for part in parts) != size:
        return None
    try:
        found = hands.trying(
            f"looking at {row.target_key}", lambda: hands.connections.writer.stat(row.target_key)
        )
    except CredentialsExpiredError:
        raise
    except AccessDeniedError:
        return None  # who may only write can't look, and sends it again
    if found is None or found.size_bytes != size:
        return None
    streamed = combined_crc64nvme(parts)
    proof = _proof(row, source, found, parts, streamed)
    if proof is None:
        return None
    hands.course.observer.noted(
        "completed_before", f"{row.source.name} had been completed by an earlier attempt"
    )
    return Arrival(found=found, crc64nvme=streamed, verification=proof)


def _proof(
    row: ObjectRow, source: ObjectInfo, found: ObjectInfo, parts: list[PartReceipt], streamed: int | None
) -> Verification | None:
    """Return how far the object there is proved to be ours; None if it is not."""
    if streamed is None and None not in (found.crc64nvme, source.crc64nvme):
        return Verification.DESTINATION if found.crc64nvme == source.crc64nvme else None
    if None not in (found.crc64nvme, streamed):
        return level(source, streamed, confirmed=True) if found.crc64nvme == streamed else None
    etag = composite_etag(parts)
    if etag is not None and found.validator is not None and "-" in found.validator:
        if found.validator != etag:
            return None
        return stored_level(source, found) if streamed is None else level(source, streamed, confirmed=False)
    # Nothing to compare but its size: ours only if it came to be after we began.
    newer = None not in (found.modified_at, row.intent_at) and found.modified_at >= row.intent_at  # type: ignore[operator]
    return Verification.SIZE if newer else None


def write_down(hands: Hands, owner: MultipartObject, arrival: Arrival) -> None:
    """Write that an object is at the destination; if it was read back, that is a proof too.

    Raises:
        FencedError: A newer attempt owns the transfer.
    """
    proof = arrival.verification
    if owner.reads_back:
        proof = max(proof, level(owner.source, arrival.crc64nvme, confirmed=True))
    hands.course.ledger.finish(
        hands.course.attempt,
        owner.row.ordinal,
        size_bytes=owner.source.size_bytes or 0,
        etag=arrival.found.validator,
        crc64nvme=arrival.crc64nvme,
        verification=proof,
    )
