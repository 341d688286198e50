"""Crashes at every moment, with the ledger of ``copy`` on disk, opened anew each time."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.engine.attempts import ONE, PART, content
from tests.unit.engine.memory import CrashError, MemorySink, MemorySource, Witness

from dataferry.engine.run import run
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import Result, Transfer
from dataferry.store.local import open_local_ledger


class Countdown:
    """Kills at the n-th request of source or sink, and everything after it."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self, operation: str, key: str, number: int) -> None:  # noqa: ARG002 - as faults are called
        """Count one request."""
        self.left -= 1
        if self.left <= 0:
            raise CrashError


def attempt(source: MemorySource, sink: MemorySink, path: Path) -> Result:
    """Run one attempt as a new process would."""
    ledger = open_local_ledger(path)
    try:
        epoch = ledger.begin("t").epoch
        transfer = Transfer(id="t", epoch=epoch, source=source, sink=sink, limits=ONE)
        return run(transfer, ledger, stop=Stop(), observer=Witness())
    finally:
        ledger.close()


@pytest.mark.parametrize("step", [1, 2, 3, 5, 8, 13, 21, 34])
def test_killed_again_and_again_every_object_arrives(tmp_path: Path, step: int) -> None:
    """Killed after ever more requests, the transfer ends with identical bytes and nothing open."""
    source = MemorySource({"a": b"", "b": content(5 * PART - 1), "c": b"small", "d": content(3 * PART, 2)})
    sink = MemorySink()
    kills = 0
    for number in range(200):
        source.fault = sink.fault = Countdown(step * (number + 1))
        try:
            result = attempt(source, sink, tmp_path / "ledger.db")
        except CrashError:
            kills += 1
        else:
            break

    total = sum(map(len, source.objects.values()))
    assert kills > 0
    assert (result.objects, result.bytes) == (4, total)
    assert sink.objects == {f"in/{name}": data for name, data in source.objects.items()}
    assert sink.uploads == {}
    assert sink.bytes_received <= total + kills * PART
