"""The manifest: what a transfer has brought, as JSON lines; the format stands here and nowhere else.

A line for each object that is at the destination, in the order of the names at the source, then one line that
sums up: without it a manifest is not whole. docs/howto/select.md describes it for its readers.
"""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

from dataferry.domain.ledger import ObjectRow, ObjectState
from dataferry.domain.objects import Attributes, ObjectInfo, Verification

NAME = "objects.jsonl"
ATTRIBUTES = Attributes(content_type="application/jsonl")


@dataclass(slots=True, kw_only=True)
class Summary:
    """The last line.

    Attributes:
        objects, size_bytes: Of the lines before.
        failed: Objects that are not there.
        kept: Objects that the destination had, of which nothing is known, since nothing may be overwritten.
        verification: The lowest level of any line.
    """

    objects: int = 0
    size_bytes: int = 0
    failed: int = 0
    kept: int = 0
    verification: Verification | None = None

    def add(self, row: ObjectRow) -> None:
        """Count one object."""
        if row.state is ObjectState.FAILED:
            self.failed += 1
        elif not is_delivered(row):
            self.kept += int(row.state is ObjectState.SKIPPED)
        else:
            self.objects += 1
            self.size_bytes += row.source.size_bytes or 0
            self.verification = min(self.verification or row.verification, row.verification)

    def line(self) -> bytes:
        """Return it as it is written."""
        level = self.verification or Verification.NONE
        return _line(
            {
                "summary": {
                    "objects": self.objects,
                    "bytes": self.size_bytes,
                    "failed": self.failed,
                    "kept": self.kept,
                    "verification": level.word,
                }
            }
        )


def is_delivered(row: ObjectRow) -> bool:
    """True if an object has a line: it arrived, or was known to be equal to what is there."""
    if row.state is ObjectState.SKIPPED:
        return row.verification is not Verification.NONE
    return row.state is ObjectState.DONE


def line(row: ObjectRow) -> bytes:
    """Return an object's line; ``modified`` is the source's time, the other values are the destination's.

    Source: Amazon S3 API Reference, "PutObject", ``x-amz-checksum-crc64nvme``: base64 of eight bytes.
    """
    modified = row.source.modified_at
    return _line(
        {
            "name": row.source.name,
            "key": row.target_key,
            "size": row.source.size_bytes,
            "checksum": _checksum(row.crc64nvme),
            "verification": row.verification.word,
            "etag": row.etag,
            "modified": None if modified is None else modified.isoformat(),
        }
    )


def listing_line(info: ObjectInfo) -> bytes:
    """Return the line of an object in the gateway's listing: all values are the source's."""
    return _line(
        {
            "name": info.name,
            "size": info.size_bytes,
            "checksum": _checksum(info.crc64nvme),
            "etag": info.validator,
            "modified": None if info.modified_at is None else info.modified_at.isoformat(),
        }
    )


def listing_summary(objects: int, size_bytes: int) -> bytes:
    """Return the last line of a listing: without it, it is not whole."""
    return _line({"summary": {"objects": objects, "bytes": size_bytes}})


def _checksum(crc64nvme: int | None) -> dict[str, str]:
    if crc64nvme is None:
        return {}
    return {"crc64nvme": b64encode(crc64nvme.to_bytes(8, "big")).decode()}


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
