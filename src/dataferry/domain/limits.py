"""Bounds that every location may carry, whatever its mechanism: they are never shown to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from dataferry.domain.errors import InputError

MIB = 1024 * 1024
MAX_WORKERS = 256
MIN_PART_BYTES = MIB
# The largest that Amazon takes, for a part and for an object in one request.
MAX_PART_BYTES = 5 * 1024 * MIB
MAX_BANDWIDTH_BYTES_PER_S = 2**50

# From, to; both are allowed.
_BOUNDS = {
    "workers": (1, MAX_WORKERS),
    "part_size_bytes": (MIN_PART_BYTES, MAX_PART_BYTES),
    "multipart_threshold_bytes": (MIN_PART_BYTES, MAX_PART_BYTES),
    "bandwidth_bytes_per_s": (1, MAX_BANDWIDTH_BYTES_PER_S),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationLimits:
    """What a location asks of the transfers that read from it or write to it; None asks nothing.

    Attributes:
        workers: A transfer's threads at most.
        part_size_bytes: Least size of a part.
        multipart_threshold_bytes: Objects larger than this and than a part are sent in parts.
        bandwidth_bytes_per_s: All transfers of this process together.
    """

    workers: int | None = None
    part_size_bytes: int | None = None
    multipart_threshold_bytes: int | None = None
    bandwidth_bytes_per_s: int | None = None

    def as_settings(self) -> dict[str, Any]:
        """Return what is set, as it stands among a location's settings."""
        return {
            field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None
        }


def split_settings(name: str, settings: Mapping[str, Any]) -> tuple[LocationLimits, dict[str, Any]]:
    """Part a location's settings into those that all have and those of its mechanism.

    Args:
        name: The location's, for errors.
        settings: All of them.

    Raises:
        InputError: One that all have is out of its bounds.
    """
    limits: dict[str, int] = {}
    for key, (least, most) in _BOUNDS.items():
        value = settings.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InputError(f"location {name}: {key} must be a whole number from {least} to {most}")
        limits[key] = value
    own = {key: value for key, value in settings.items() if key not in _BOUNDS}
    return LocationLimits(**limits), own
