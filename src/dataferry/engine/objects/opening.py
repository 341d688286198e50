"""How a big object begins, or goes on: intent, recovery of lost uploads, reconciliation (rules 1, 3, 5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from dataferry.domain.errors import UploadGoneError
from dataferry.domain.ledger import ObjectRow
from dataferry.domain.objects import ObjectInfo, PartReceipt, Upload
from dataferry.engine.attempt.tags import AttributesOf
from dataferry.engine.cleanup import CLOCK_SKEW
from dataferry.engine.objects.completion import find_gone
from dataferry.engine.objects.hands import Hands, checked
from dataferry.engine.objects.parts import parts_of
from dataferry.engine.objects.work import BigObject, MultipartObject


def look_up(hands: Hands, row: ObjectRow) -> ObjectInfo:
    """Return the source as it is now, with attributes, if it is the planned version.

    Without a validator where it does not say its length: such a source is read in one stream only.

    Raises:
        SourceChangedError: It is not.
    """
    found = hands.trying(f"looking at {row.source.name}", lambda: hands.connections.reader.stat(row.source))
    info = checked(row.source, found)
    return replace(
        row.source,
        version_id=info.version_id or row.source.version_id,
        validator=None if info.size_bytes is None else info.validator,
        crc64nvme=info.crc64nvme or row.source.crc64nvme,
        attributes=info.attributes,
        tag_count=info.tag_count,
    )


def begin(hands: Hands, work: BigObject) -> MultipartObject | None:
    """Open the upload of a big object, or find it as an earlier attempt left it.

    Returns:
        What is to be sent; nothing if it turned out to be at the destination already. None if the source
        can't be read in parts of one version any more.

    Raises:
        SourceChangedError: The source is not the planned version.
        DataFerryError: It failed for good.
    """
    row, sent_before = work.row, work.sent_before
    source = look_up(hands, row)
    if source.validator is None:
        return None
    if row.upload is not None:
        try:
            return _go_on(hands, work, source, row.upload)
        except UploadGoneError:
            receipts = hands.course.ledger.parts(hands.course.attempt.transfer_id, row.ordinal)
            arrival = find_gone(hands, row, source, receipts)
            if arrival is not None:
                return MultipartObject(
                    row=row,
                    source=source,
                    upload=row.upload,
                    receipts={receipt.number: receipt for receipt in receipts},
                    kept=frozenset(receipt.number for receipt in receipts),
                    tries=work.tries,
                    arrival=arrival,
                )
            sent_before |= frozenset(receipt.number for receipt in receipts)
            forget(hands, row, receipts, abandon=False)
            row = row.anew
    upload, row = open_upload(hands, row, source)
    parts = parts_of(source.size_bytes or 0, row.part_size_bytes or 1)
    return MultipartObject(
        row=row,
        source=source,
        upload=upload,
        todo=deque(parts),
        receipts={},
        sent_before=sent_before,
        tries=work.tries,
    )


def open_upload(hands: Hands, row: ObjectRow, source: ObjectInfo) -> tuple[Upload, ObjectRow]:
    """Write the intent, create the upload, write it: in that order (rule 1)."""
    course = hands.course
    part_size = row.part_size_bytes or course.part_size_bytes(source.size_bytes or 0)
    intents = [row.intent_at] if row.intent_at is not None else []

    def once(attributes_of: AttributesOf) -> tuple[Upload, ObjectRow]:
        if intents:
            # An earlier creation may have happened without our knowing: its upload lies open.
            _clear_lost_uploads(hands, row, min(intents))
        intended = course.ledger.intend(
            course.attempt, row.ordinal, part_size_bytes=part_size, version_id=source.version_id
        )
        intents.append(intended.intent_at or course.clock.now())
        upload = hands.connections.writer.create_upload(
            row.target_key, size_bytes=source.size_bytes, attributes=attributes_of(source)
        )
        course.ledger.open_upload(course.attempt, row.ordinal, upload)
        return upload, replace(intended, upload=upload, part_size_bytes=part_size)

    return course.tags.sent(
        lambda: hands.connections.reader,
        lambda attributes_of: hands.trying(
            f"opening an upload of {row.source.name}", lambda: once(attributes_of)
        ),
    )


def forget(
    hands: Hands,
    row: ObjectRow,
    receipts: Iterable[PartReceipt],
    *,
    abandon: bool,
    kept: frozenset[int] | None = None,
) -> None:
    """Make an object begin anew; committed bytes are taken back, see ``Hands.lose``."""
    hands.course.ledger.restart(hands.course.attempt, row.ordinal, source=None, abandon=abandon)
    hands.lose(receipts, kept)


def _go_on(hands: Hands, work: BigObject, source: ObjectInfo, upload: Upload) -> MultipartObject:
    """Reconcile the rows with what the destination lists; what does not agree is sent again (rule 3)."""
    course, row = hands.course, work.row
    listed = hands.trying(
        f"listing parts of {row.source.name}", lambda: hands.connections.writer.list_parts(upload)
    )
    rows = {
        receipt.number: receipt for receipt in course.ledger.parts(course.attempt.transfer_id, row.ordinal)
    }
    parts = parts_of(
        source.size_bytes or 0, row.part_size_bytes or course.part_size_bytes(source.size_bytes or 0)
    )
    lengths = {part.number: part.length_bytes for part in parts}
    kept = {
        number: receipt
        for number, receipt in rows.items()
        if lengths.get(number) == receipt.size_bytes
        and _agrees(receipt, listed)
        # What the store copied by itself can't be compared with what is read back.
        and not (course.reads_back and receipt.crc64nvme is None)
    }
    dropped = sorted(set(rows) - set(kept))
    if dropped:
        course.ledger.drop_parts(course.attempt, row.ordinal, dropped)
        hands.lose(rows[number] for number in dropped)
        course.observer.noted(
            "parts_dropped", f"{row.source.name}: the destination does not have {len(dropped)} parts as sent"
        )
    return MultipartObject(
        row=row,
        source=source,
        upload=upload,
        todo=deque(part for part in parts if part.number not in kept),
        receipts=kept,
        kept=frozenset(kept),
        sent_before=work.sent_before | frozenset(dropped) | (frozenset(listed or ()) - frozenset(kept)),
        tries=work.tries,
    )


def _agrees(receipt: PartReceipt, listed: dict[int, PartReceipt] | None) -> bool:
    if listed is None:
        return True
    there = listed.get(receipt.number)
    return there is not None and (there.size_bytes, there.etag) == (receipt.size_bytes, receipt.etag)


def _clear_lost_uploads(hands: Hands, row: ObjectRow, since: datetime) -> None:
    """Abort uploads of this key that we may have created; report them where others upload too."""
    course = hands.course
    sink = course.transfer.sink
    uploads = hands.connections.writer.list_uploads(row.target_key, since=since - CLOCK_SKEW)
    if uploads is None:
        course.observer.noted(
            "uploads_not_listed",
            f"an upload of {row.target_key} may have been left open, and the destination does not let us "
            "list uploads: a lifecycle rule that aborts incomplete uploads removes it",
        )
        return
    known = course.ledger.known_uploads(sink.identity, row.target_key)
    lost = [upload for upload in uploads if upload.upload_id not in known]
    for upload in lost:
        if sink.exclusive:
            course.ledger.check(course.attempt)
            hands.connections.writer.abort_upload(upload)
    if lost:
        done = "aborted" if sink.exclusive else "left alone, since the location is not marked exclusive"
        course.observer.noted(
            "lost_uploads", f"{len(lost)} unknown uploads of {row.target_key} were open: {done}"
        )
