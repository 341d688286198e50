"""The hot loop: bytes from a source's stream into a sink's body, through one reused buffer.

The sink computes the checksum of what it sends, so the loop touches no byte itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from dataferry.domain.errors import ShortBodyError
from dataferry.engine.bandwidth import Share
from dataferry.mechanisms.base import ByteStream, PartWrite

BUFFER_BYTES = 1024 * 1024


@dataclass(slots=True)
class Meter:
    """One worker's counters. Only its thread writes, so nobody waits; readers add them up.

    Attributes:
        bytes: Sent by this attempt, in flight included; taken back when a part fails.
        copied: Bytes that the store copied by itself.
        retransferred: Of bytes that had been sent before.
        lost: Committed bytes that count no more: missing at the destination, or of an object that failed.
        unresumed: Those of them that an earlier attempt had committed.
        verified: Read back from the destination and compared.
        done, skipped, failed: Objects ended.
        done_by_copy: Those of ``done`` that the store copied by itself.
        sized, sized_bytes: Objects whose length turned out on the way, and the sum of those lengths.
        beat: Grows with every sign of life.
        busy: True inside a call that must show life.
        waiting: True while it waits for bandwidth: then it need not.
    """

    bytes: int = 0
    copied: int = 0
    retransferred: int = 0
    lost: int = 0
    unresumed: int = 0
    verified: int = 0
    done: int = 0
    done_by_copy: int = 0
    skipped: int = 0
    failed: int = 0
    sized: int = 0
    sized_bytes: int = 0
    beat: int = 0
    busy: bool = False
    waiting: bool = False


def pump(
    stream: ByteStream,
    write: PartWrite,
    length_bytes: int,
    buffer: memoryview,
    meter: Meter,
    bandwidth: Share | None = None,
) -> None:
    """Move exactly ``length_bytes`` from ``stream`` to ``write``, counting them in ``meter``.

    Raises:
        ShortBodyError: The stream ended early.
        StorageError: As of ``readinto`` and ``send``.
        StoppedError: While waiting for bandwidth.
        WindowClosedError: Nothing may flow for some time.
    """
    left = length_bytes
    while left:
        piece = len(buffer) if bandwidth is None else min(len(buffer), bandwidth.piece_bytes)
        count = stream.readinto(buffer[: min(piece, left)])
        if not count:
            raise ShortBodyError(f"the source ended {left} bytes early", operation="read")
        if bandwidth is None:
            write.send(buffer[:count])
        else:
            _send_bounded(write, buffer[:count], meter, bandwidth)
        left -= count
        meter.bytes += count
        meter.beat += 1


def _send_bounded(write: PartWrite, data: memoryview, meter: Meter, bandwidth: Share) -> None:
    """Send as bandwidth allows: where that became less meanwhile, in smaller pieces."""
    sent = 0
    while sent < len(data):
        count = paced(len(data) - sent, meter, bandwidth)
        write.send(data[sent : sent + count])
        meter.beat += 1
        sent += count


def paced(count_bytes: int, meter: Meter, bandwidth: Share) -> int:
    """Wait until some of ``count_bytes`` may flow, which is no stall; return how many.

    Raises:
        StoppedError, WindowClosedError: As of ``Share.take``.
    """
    meter.waiting = True
    try:
        return bandwidth.take(count_bytes)
    finally:
        meter.waiting = False
