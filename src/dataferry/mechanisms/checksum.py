"""CRC-64/NVME: what the engine and every mechanism sum bytes up with.

awscrt does it with instructions of the processor, and takes a twentieth of a second to load: more than all
that a copy of one small file does. So a process sums its first bytes up itself.

Source: NVM Express NVM Command Set Specification, "64b CRC Definition" (reflected, all ones in and out).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

Buffer = bytes | bytearray | memoryview
# Some 60 ns a byte, so that no process spends more than a tenth on it of what loading would take.
OWN_BYTES = 64 * 1024
_POLYNOMIAL = 0x9A6C9329AC4BC9B5
_ONES = 0xFFFF_FFFF_FFFF_FFFF
_own_bytes = 0


def crc64nvme(data: Buffer, previous: int = 0) -> int:
    """Return the checksum of ``previous``'s bytes followed by ``data``."""
    global _own_bytes  # noqa: PLW0603 - of the process; two threads that miscount only load sooner or later
    if _own_bytes >= OWN_BYTES or len(data) > OWN_BYTES - _own_bytes:
        _own_bytes = OWN_BYTES
        return _loaded()(data, previous)
    _own_bytes += len(data)
    return own_crc64nvme(data, previous)


def followed_by(first: int, second: int, second_bytes: int) -> int:
    """Return the checksum of bytes that follow each other, from those of both and the second's length."""
    from awscrt.checksums import combine_crc64nvme

    crc: int = combine_crc64nvme(first, second, second_bytes)
    return crc


def own_crc64nvme(data: Buffer, previous: int = 0) -> int:
    """Sum up byte by byte."""
    table, crc = _table(), previous ^ _ONES
    for byte in memoryview(data).cast("B"):
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ _ONES


@cache
def _table() -> tuple[int, ...]:
    """What each value of a byte does to the sum."""

    def entry(crc: int) -> int:
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
        return crc

    return tuple(map(entry, range(256)))


@cache
def _loaded() -> Callable[[Buffer, int], int]:
    from awscrt.checksums import crc64nvme as function

    loaded: Callable[[Buffer, int], int] = function
    return loaded
