"""An attempt, end to end, in memory."""

from __future__ import annotations

import random

import pytest
from tests.unit.engine.memory import MemoryLedger, MemorySink, MemorySource, Witness

from dataferry.domain.objects import Verification
from dataferry.engine.run import run
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import EngineLimits, Overwrite, Result, Transfer

KIB = 1024
LIMITS = EngineLimits(
    workers=4,
    part_size_bytes=64 * KIB,
    multipart_threshold_bytes=128 * KIB,
    attempts=4,
    backoff_s=0.001,
    max_backoff_s=0.01,
)


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def go(
    source: MemorySource,
    sink: MemorySink,
    ledger: MemoryLedger,
    *,
    limits: EngineLimits = LIMITS,
    overwrite: Overwrite = Overwrite.IF_DIFFERENT,
    witness: Witness | None = None,
    stop: Stop | None = None,
) -> Result:
    attempt = ledger.begin("t")
    transfer = Transfer(
        id="t", epoch=attempt.epoch, source=source, sink=sink, limits=limits, overwrite=overwrite
    )
    return run(transfer, ledger, stop=stop or Stop(), observer=witness or Witness())


def mixed() -> dict[str, bytes]:
    sizes = [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 128 * KIB - 1, 128 * KIB, 128 * KIB + 1, 1000 * KIB]
    objects = {f"size {number} {size}": content(size, size) for number, size in enumerate(sizes)}
    return objects | {f"small/{number:04}": content(100, number) for number in range(300)}


def arrived(source: MemorySource, sink: MemorySink) -> bool:
    return sink.objects == {f"in/{name}": data for name, data in source.objects.items()}


def test_moves_every_size_around_part_boundaries() -> None:
    """Objects of all sizes arrive whole, with their attributes, and nothing is left open."""
    source, sink, ledger = MemorySource(mixed()), MemorySink(), MemoryLedger()
    witness = Witness()

    result = go(source, sink, ledger, witness=witness)

    assert arrived(source, sink)
    assert sink.uploads == {}
    assert set(sink.attributes.values()) == {source.attributes}
    assert (result.objects, result.objects_failed, result.objects_skipped) == (309, 0, 0)
    assert result.bytes == sum(map(len, source.objects.values()))
    assert (result.bytes_resumed, result.bytes_retransferred) == (0, 0)
    assert result.verification is Verification.DESTINATION
    last = witness.progress[-1]
    assert (last.bytes_transferred, last.percent_complete) == (result.bytes, 100.0)


def test_small_objects_cost_one_read_and_one_row() -> None:
    """A small object is neither looked at nor listed beside its read, and one row is written for it."""
    source, sink, ledger = MemorySource({str(n): b"x" for n in range(50)}), MemorySink(), MemoryLedger()

    go(source, sink, ledger)

    assert (source.stats, len(source.opens)) == (0, 50)
    assert ledger.calls.count("finish") == 50
    assert set(ledger.calls) == {"add", "finish_plan", "finish"}


@pytest.mark.parametrize("source_keeps", [False, True])
@pytest.mark.parametrize("sink_keeps", [False, True])
def test_verification_is_the_best_that_the_pair_gives(*, source_keeps: bool, sink_keeps: bool) -> None:
    """End to end with checksums at both ends, destination with the sink's, transport without."""
    source, sink, ledger = MemorySource(mixed()), MemorySink(), MemoryLedger()
    source.keeps_crc, sink.keeps_crc = source_keeps, sink_keeps

    result = go(source, sink, ledger)

    best = Verification.END_TO_END if source_keeps else Verification.DESTINATION
    assert result.verification is (best if sink_keeps else Verification.TRANSPORT)
