"""Crashes at every moment, with the ledger of ``copy`` on disk, opened anew each time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.engine.attempts import ONE, PART, content
from tests.unit.engine.memory import CrashError, MemorySink, MemorySource, Witness

from dataferry.domain.ledger import Ledger
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


class MortalLedger:
    """A ledger whose process is killed before or after its n-th call, and with it every later one."""

    def __init__(self, ledger: Ledger, left: int, moment: str) -> None:
        self._ledger = ledger
        self._left = left
        self._moment = moment

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return the ledger's method, counted."""
        method = getattr(self._ledger, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left < 0 or (self._left == 0 and self._moment == "before"):
                raise CrashError
            answer = method(*arguments, **named)
            if self._left == 0:
                raise CrashError
            return answer

        return call


def attempt(
    source: MemorySource, sink: MemorySink, path: Path, *, kill_at: int = 10**9, moment: str = "before"
) -> Result:
    """Run one attempt as a new process would."""
    ledger = open_local_ledger(path)
    try:
        epoch = ledger.begin("t").epoch
        transfer = Transfer(id="t", epoch=epoch, source=source, sink=sink, limits=ONE)
        mortal = cast("Ledger", MortalLedger(ledger, kill_at, moment))
        return run(transfer, mortal, stop=Stop(), observer=Witness())
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


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_each_call_of_the_ledger_every_object_arrives(tmp_path: Path, moment: str) -> None:
    """Wherever between two commits a kill falls: the next attempt ends with all bytes, counted once."""
    objects = {"a": b"", "b": content(3 * PART - 1), "c": b"small"}
    total = sum(map(len, objects.values()))
    for number in range(1, 200):
        source, sink, path = MemorySource(objects), MemorySink(), tmp_path / f"{number}.db"
        try:
            attempt(source, sink, path, kill_at=number, moment=moment)
        except CrashError:
            result = attempt(source, sink, path)
        else:
            break
        assert (result.objects, result.bytes) == (3, total)
        assert sink.objects == {f"in/{name}": data for name, data in objects.items()}
        assert sink.uploads == {}
        assert sink.bytes_received <= total + PART
        assert result.bytes_moved + result.bytes_resumed == total
    assert number > 15, number


def test_a_power_cut_forgets_no_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was last brought to the disk knows that an upload was to be created: it is found and aborted."""
    source, sink = MemorySource({"big": content(4 * PART)}), MemorySink()
    path, saved = tmp_path / "ledger.db", tmp_path / "saved"
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        sync(descriptor)
        shutil.rmtree(saved, ignore_errors=True)
        saved.mkdir()
        for file in tmp_path.glob("ledger.db*"):
            shutil.copy(file, saved)

    def power_cut(operation: str, key: str, number: int) -> None:
        if operation == "put_part" and number > 1:
            raise CrashError

    sink.fault = power_cut
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(CrashError):
            attempt(source, sink, path)
    for file in tmp_path.glob("ledger.db*"):
        file.unlink()
    for file in saved.iterdir():
        shutil.copy(file, tmp_path)
    sink.fault = Countdown(10**9)

    result = attempt(source, sink, path)

    assert result.is_complete
    assert sink.objects == {"in/big": source.objects["big"]}
    assert sink.uploads == {}
