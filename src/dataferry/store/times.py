"""Times as text: UTC, fixed width: their order as text is their order in time. Standard library only."""

from __future__ import annotations

from datetime import UTC, datetime

TIME_CHARS = 27


def to_text(moment: datetime) -> str:
    """Write an aware time as ``2026-11-23T01:12:14.123456Z``.

    Raises:
        ValueError: It has no time zone: then nobody knows which moment it is.
    """
    if moment.tzinfo is None:
        raise ValueError("a time without a time zone cannot be stored")
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(timespec="microseconds") + "Z"


def from_text(text: str) -> datetime:
    """Read what ``to_text`` wrote."""
    return datetime.fromisoformat(text)
