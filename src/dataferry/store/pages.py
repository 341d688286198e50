"""Page cursors: opaque to callers, a place in the order of a list to us."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from uuid import UUID

from dataferry.domain.errors import InputError
from dataferry.store.times import from_text, to_text

MAX_CURSOR_CHARS = 1_000
MAX_PAGE = 1_000


def encode(created_at: datetime, id: str) -> str:
    """Return the cursor of the row that a page ends with."""
    raw = json.dumps([to_text(created_at), id], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(cursor: str) -> tuple[datetime, str]:
    """Return ``(created_at, id)`` of the row that the page before ended with.

    Raises:
        InputError: It is no cursor that we gave.
    """
    try:
        if len(cursor) > MAX_CURSOR_CHARS:
            raise ValueError  # noqa: TRY301 - one handler
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        moment, row = json.loads(raw)
        if not isinstance(moment, str) or not isinstance(row, str):
            raise ValueError  # noqa: TRY004, TRY301 - as above
        return from_text(moment), row
    except (ValueError, TypeError, RecursionError) as exc:
        raise InputError("the cursor is not one that this service gave; start without one") from exc


def bounded(limit: int) -> int:
    """Return a page size that is at least 1 and at most ``MAX_PAGE``."""
    return max(1, min(limit, MAX_PAGE))


def decode_flow(cursor: str) -> tuple[datetime, UUID]:
    """Return what ``decode`` does, for lists whose ids are UUIDs.

    Raises:
        InputError: It is no cursor that we gave.
    """
    moment, row = decode(cursor)
    try:
        return moment, UUID(row)
    except ValueError as exc:
        raise InputError("the cursor is not one that this service gave; start without one") from exc
