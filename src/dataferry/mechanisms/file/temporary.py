"""The names of temporary files: ``.NAME.UPLOAD.dataferry-part``; the upload's id begins with its time."""

from __future__ import annotations

import hashlib
import secrets
import time
from datetime import UTC, datetime

from dataferry.mechanisms.file.tree import MAX_SEGMENT_BYTES, TEMPORARY_SUFFIX

TIME_CHARS = 12


def new_upload_id() -> str:
    """Make an id of 24 hexadecimal digits: milliseconds since 1970, then chance."""
    return f"{time.time_ns() // 1_000_000:0{TIME_CHARS}x}{secrets.token_hex(6)}"


def begun_at(upload_id: str) -> datetime:
    """Read the time out of an upload's id."""
    return datetime.fromtimestamp(int(upload_id[:TIME_CHARS], 16) / 1000, UTC)


def temporary_name(name: str, upload_id: str) -> str:
    """Name the temporary file of a file; a name too long for it is replaced by its digest."""
    label = name
    if len(name.encode()) + len(upload_id) + len(TEMPORARY_SUFFIX) + 2 > MAX_SEGMENT_BYTES:
        label = hashlib.sha256(name.encode()).hexdigest()
    return f".{label}.{upload_id}{TEMPORARY_SUFFIX}"
