"""Rows of the ledger and the domain's objects, one into the other. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from dataferry.domain.ledger import Cleanup, Finished, ObjectRow, ObjectState, PlannedObject
from dataferry.domain.objects import Attributes, ObjectInfo, PartReceipt, Upload, Verification
from dataferry.store.times import from_text, to_text

OBJECT_COLUMNS = (
    "ordinal, source_name, source_key, size_bytes, validator, version_id, source_crc64nvme, modified_at, "
    "attributes, target_key, target_identity, state, part_size_bytes, intent_at, upload_id, "
    "upload_started_at, upload_keeps_crc64nvme, etag, crc64nvme, verification, error_kind, error"
)
PART_COLUMNS = "number, size_bytes, etag, crc64nvme, confirmed"
CLEANUP_COLUMNS = (
    "id, transfer_id, target_identity, upload_id, upload_key, upload_started_at, upload_keeps_crc64nvme, "
    "attempts, last_error, intent_at"
)


@dataclass(frozen=True, slots=True)
class Counts:
    """What one object adds to its transfer's counters; the difference of two is what a change adds."""

    objects_total: int = 0
    bytes_total: int = 0
    objects_done: int = 0
    objects_skipped: int = 0
    objects_failed: int = 0
    bytes_done: int = 0
    bytes_skipped: int = 0
    objects_unsized: int = 0

    def __sub__(self, other: Counts) -> Counts:
        return Counts(
            self.objects_total - other.objects_total,
            self.bytes_total - other.bytes_total,
            self.objects_done - other.objects_done,
            self.objects_skipped - other.objects_skipped,
            self.objects_failed - other.objects_failed,
            self.bytes_done - other.bytes_done,
            self.bytes_skipped - other.bytes_skipped,
            self.objects_unsized - other.objects_unsized,
        )

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.objects_total + other.objects_total,
            self.bytes_total + other.bytes_total,
            self.objects_done + other.objects_done,
            self.objects_skipped + other.objects_skipped,
            self.objects_failed + other.objects_failed,
            self.bytes_done + other.bytes_done,
            self.bytes_skipped + other.bytes_skipped,
            self.objects_unsized + other.objects_unsized,
        )

    @classmethod
    def of(cls, state: ObjectState, size_bytes: int | None, parts_bytes: int) -> Counts:
        """Return what an object in this state, with parts of so many bytes, stands for."""
        size = size_bytes or 0
        there = state in {ObjectState.DONE, ObjectState.SKIPPED}
        return cls(
            objects_total=1,
            bytes_total=size,
            objects_done=int(state is ObjectState.DONE),
            objects_skipped=int(state is ObjectState.SKIPPED),
            objects_failed=int(state is ObjectState.FAILED),
            bytes_done=size if there else parts_bytes,
            bytes_skipped=size if state is ObjectState.SKIPPED else 0,
            objects_unsized=int(size_bytes is None and not there),
        )


def object_row(row: Sequence[Any]) -> ObjectRow:
    """Read ``OBJECT_COLUMNS``."""
    upload_id, key = row[14], row[9]
    upload = None
    if upload_id is not None:
        upload = Upload(
            upload_id=upload_id, key=key, started_at=_time(row[15]), keeps_crc64nvme=bool(row[16])
        )
    return ObjectRow(
        ordinal=row[0],
        source=ObjectInfo(
            name=row[1],
            key=row[2],
            size_bytes=row[3],
            validator=row[4],
            version_id=row[5],
            crc64nvme=_crc(row[6]),
            modified_at=_time(row[7]),
            attributes=_attributes(row[8]),
        ),
        target_key=key,
        target_identity=row[10],
        state=ObjectState(row[11]),
        part_size_bytes=row[12],
        upload=upload,
        intent_at=_time(row[13]),
        etag=row[17],
        crc64nvme=_crc(row[18]),
        verification=Verification(row[19]),
        error_kind=row[20],
        error=row[21],
    )


def source_values(source: ObjectInfo) -> dict[str, Any]:
    """Write a source as the columns that describe it."""
    return {
        "source_name": source.name,
        "source_key": source.key,
        "size_bytes": source.size_bytes,
        "validator": source.validator,
        "version_id": source.version_id,
        "source_crc64nvme": crc_text(source.crc64nvme),
        "modified_at": time_text(source.modified_at),
        "attributes": None if source.attributes is None else json.dumps(asdict(source.attributes)),
    }


def planned_values(transfer_id: str, ordinal: int, planned: PlannedObject) -> dict[str, Any]:
    """Write a planned object as its row."""
    skipped = planned.skip_reason is not None
    return {
        "transfer_id": transfer_id,
        "ordinal": ordinal,
        **source_values(planned.source),
        "target_key": planned.target_key,
        "target_identity": planned.target_identity,
        "state": (ObjectState.SKIPPED if skipped else ObjectState.PENDING).value,
        "error": planned.skip_reason,
        "etag": planned.skip_etag,
        "verification": int(planned.skip_level),
        "crc64nvme": crc_text(planned.skip_crc64nvme),
    }


def finished_values(transfer_id: str, item: Finished) -> dict[str, Any]:
    """Write what has arrived as the values of ``FINISH_WHOLE``."""
    return {
        "id": transfer_id,
        "ordinal": item.ordinal,
        "size_bytes": item.size_bytes,
        "etag": item.etag,
        "crc64nvme": crc_text(item.crc64nvme),
        "verification": int(item.verification),
    }


def part_values(transfer_id: str, ordinal: int, part: PartReceipt) -> dict[str, Any]:
    """Write a part as its row."""
    return {
        "transfer_id": transfer_id,
        "ordinal": ordinal,
        "number": part.number,
        "size_bytes": part.size_bytes,
        "etag": part.etag,
        "crc64nvme": crc_text(part.crc64nvme),
        "confirmed": int(part.confirmed),
    }


def part_receipt(row: Sequence[Any]) -> PartReceipt:
    """Read ``PART_COLUMNS``."""
    return PartReceipt(
        number=row[0], size_bytes=row[1], etag=row[2], crc64nvme=_crc(row[3]), confirmed=bool(row[4])
    )


def cleanup(row: Sequence[Any]) -> Cleanup:
    """Read ``CLEANUP_COLUMNS``."""
    upload_id, key = row[3], row[4]
    upload = None
    if upload_id is not None:
        upload = Upload(upload_id=upload_id, key=key, started_at=_time(row[5]), keeps_crc64nvme=bool(row[6]))
    return Cleanup(
        id=row[0],
        transfer_id=row[1],
        target_identity=row[2],
        key=key,
        upload=upload,
        attempts=row[7],
        last_error=row[8],
        since=_time(row[9]),
    )


def crc_text(crc: int | None) -> str | None:
    """Write a 64-bit checksum as 16 hex digits: databases have no unsigned 64-bit integers."""
    return None if crc is None else f"{crc:016x}"


def time_text(moment: datetime | None) -> str | None:
    """Write a time, or None."""
    return None if moment is None else to_text(moment)


def _crc(text: str | None) -> int | None:
    return None if text is None else int(text, 16)


def _time(text: str | None) -> datetime | None:
    return None if text is None else from_text(text)


def _attributes(text: str | None) -> Attributes | None:
    if text is None:
        return None
    stored = json.loads(text)
    for pairs in ("user_metadata", "tags"):
        stored[pairs] = tuple((name, value) for name, value in stored[pairs])
    return Attributes(**stored)
