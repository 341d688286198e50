"""The checksum that sinks sum up while they send: awscrt's, loaded when the first body is sent.

It takes long to load, and most commands send none.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Protocol


class Checksum(Protocol):
    """A checksum that can be gone on with."""

    def __call__(self, data: Any, previous: int = 0, /) -> int:
        """Return the checksum of ``previous``'s bytes followed by ``data``."""
        ...


@cache
def crc64nvme() -> Checksum:
    """Return the CRC-64/NVME."""
    from awscrt.checksums import crc64nvme as function

    found: Checksum = function
    return found
