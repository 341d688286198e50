"""Crashes at any moment, and faults of every kind: what arrives is the source, or the object has failed."""

# ruff: noqa: D102
from __future__ import annotations

import random
import threading
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.engine.memory import CrashError, MemoryLedger, MemorySink, MemorySource, Witness

from dataferry.domain.errors import (
    ConnectionFailedError,
    DataFerryError,
    ExhaustedError,
    ServerError,
    ShortBodyError,
    StallError,
    ThrottledError,
)
from dataferry.engine.run import run
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import EngineLimits, Transfer

TEMPORARY = (ConnectionFailedError, ServerError, ShortBodyError, ThrottledError, StallError)


class Weather:
    """Counts every call of source, sink and ledger, fails some, and kills the process at one."""

    def __init__(self, seed: int, fault_rate: float, crash_at: int | None) -> None:
        self._random = random.Random(seed)
        self._rate = fault_rate
        self._crash_at = crash_at
        self._calls = 0
        self._dead = False
        self._lock = threading.Lock()

    def at(self, *, may_fail: bool) -> Callable[[str, str, int], None]:
        def fault(operation: str, key: str, number: int) -> None:
            with self._lock:
                self._calls += 1
                if self._dead or self._calls == self._crash_at:
                    self._dead = True
                    raise CrashError
                fails = may_fail and self._random.random() < self._rate
                kind = self._random.choice(TEMPORARY)
            if fails:
                raise kind(f"injected in {operation}")

        return fault


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=6),
    part_size=st.integers(100, 1200),
    workers=st.integers(1, 4),
    fault_rate=st.sampled_from([0.0, 0.02, 0.1]),
    crashes=st.lists(st.integers(1, 120), max_size=5),
    keeps_crc=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_any_crashes_and_faults_leave_the_source_or_a_failure(
    *,
    sizes: list[int],
    part_size: int,
    workers: int,
    fault_rate: float,
    crashes: list[int],
    keeps_crc: bool,
    seed: int,
) -> None:
    """After any crashes and faults objects equal their source, no upload is open, little moved twice."""
    chance = random.Random(seed)
    source = MemorySource({f"o{number}": chance.randbytes(size) for number, size in enumerate(sizes)})
    sink, ledger = MemorySink(), MemoryLedger()
    sink.keeps_crc = keeps_crc
    limits = EngineLimits(
        workers=workers,
        part_size_bytes=part_size,
        multipart_threshold_bytes=part_size + 1,
        attempts=8,
        backoff_s=0.0,
        max_backoff_s=0.0,
    )

    def attempt(weather: Weather) -> bool:
        epoch = ledger.begin("t").epoch
        source.fault = sink.fault = weather.at(may_fail=True)
        ledger.fault = weather.at(may_fail=False)
        transfer = Transfer(id="t", epoch=epoch, source=source, sink=sink, limits=limits)
        try:
            result = run(transfer, ledger, stop=Stop(), observer=Witness())
        except CrashError:
            return False
        except ExhaustedError:
            return False
        return result.is_complete

    for number, crash_at in enumerate(crashes):
        attempt(Weather(seed + number, fault_rate, crash_at))
    for name, data in source.objects.items():
        assert sink.objects.get(f"in/{name}", data) == data
    received_before = sink.bytes_received
    committed = ledger.totals("t").bytes_done if crashes else 0
    assert attempt(Weather(0, 0.0, None))

    total = sum(sizes)
    assert sink.objects == {f"in/{name}": data for name, data in source.objects.items()}
    assert sink.uploads == {}
    assert ledger.totals("t").bytes_done == total
    assert sink.bytes_received - received_before <= total - committed
    if fault_rate == 0.0:
        assert sink.bytes_received <= total + len(crashes) * workers * max(part_size, 0)


def test_weather_can_kill() -> None:
    """The crash of this file's own tests really ends an attempt."""
    source, sink, ledger = MemorySource({"a": b"x"}), MemorySink(), MemoryLedger()
    ledger.begin("t")
    source.fault = Weather(0, 0.0, 1).at(may_fail=True)
    transfer = Transfer(id="t", epoch=1, source=source, sink=sink)
    try:
        run(transfer, ledger, stop=Stop(), observer=Witness())
    except CrashError:
        return
    except DataFerryError as error:
        raise AssertionError from error
    raise AssertionError("nothing was raised")
