"""The hot loop: bytes from a source's stream into a sink's body, through one reused buffer.

The sink computes the checksum of what it sends, so the loop touches no byte itself.
"""

from __future__ import annotations

from dataferry.domain.errors import ShortBodyError
from dataferry.engine.attempt.progress import Meter
from dataferry.engine.rates.bandwidth import Share
from dataferry.mechanisms.base import ByteStream, PartWrite

BUFFER_BYTES = 1024 * 1024


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
