"""Bounds that every location may carry, whatever its mechanism: they are never shown to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dataferry.domain.errors import InputError
from dataferry.domain.schedule import MAX_BANDWIDTH_BYTES_PER_S, Schedule, Window, windows_of

MIB = 1024 * 1024
MAX_WORKERS = 256
MIN_PART_BYTES = MIB
# The largest that Amazon takes, for a part and for an object in one request.
MAX_PART_BYTES = 5 * 1024 * MIB
WINDOWS = "bandwidth_windows"

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
        bandwidth_windows: Times of the week in which another bound holds.
    """

    workers: int | None = None
    part_size_bytes: int | None = None
    multipart_threshold_bytes: int | None = None
    bandwidth_bytes_per_s: int | None = None
    bandwidth_windows: tuple[Window, ...] = ()

    @property
    def bandwidth(self) -> Schedule:
        """The bound that all transfers share, with its windows."""
        return Schedule(bytes_per_s=self.bandwidth_bytes_per_s, windows=self.bandwidth_windows)

    def as_settings(self) -> dict[str, Any]:
        """Return what is set, as it stands among a location's settings."""
        told: dict[str, Any] = {key: value for key in _BOUNDS if (value := getattr(self, key)) is not None}
        if self.bandwidth_windows:
            told[WINDOWS] = [window.as_settings() for window in self.bandwidth_windows]
        return told


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
    try:
        windows = windows_of(settings.get(WINDOWS) or ())
    except InputError as error:
        raise InputError(f"location {name}: {error.message}") from error
    own = {key: value for key, value in settings.items() if key not in {*_BOUNDS, WINDOWS}}
    return LocationLimits(**limits, bandwidth_windows=windows), own
