"""Bandwidth that transfers share: never exceeded, fair, and let go of at once."""

from __future__ import annotations

import gc
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Lock, Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.engine.attempts import LIMITS, ONE, PART, Rig, content
from tests.unit.engine.memory import MemoryWriter

from dataferry.domain.clock import SystemClock
from dataferry.domain.errors import DataFerryError, StoppedError
from dataferry.domain.schedule import Schedule, Window
from dataferry.engine.rates.bandwidth import (
    Bandwidth,
    Bandwidths,
    Share,
    WindowClosedError,
    refuse_closed,
)
from dataferry.engine.rates.bucket import Bucket, most_of
from dataferry.engine.run import run
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import EngineLimits, Result, Transfer

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
NIGHTS = Window(begin_minute=6 * 60, end_minute=20 * 60, bytes_per_s=0)


@dataclass
class HeldClock:
    """Time that stands until a test moves it."""

    at_s: float = 0.0
    begin: datetime = MONDAY

    def now(self) -> datetime:
        """Of day."""
        return self.begin + timedelta(seconds=self.at_s)

    def monotonic(self) -> float:
        """Seconds."""
        return self.at_s


def drawn(bucket: Bucket, clock: HeldClock, until_s: float, count: int = 1 << 20) -> int:
    """Take whatever may flow until then, waiting as long as the bucket says; return how much that was."""
    taken = 0
    while clock.at_s < until_s:
        bucket.fill()
        got = bucket.take(count)
        taken += got
        if not got:
            wait_s = bucket.wait_s(count)
            clock.at_s = min(until_s, clock.at_s + max(1e-4, until_s if wait_s is None else wait_s))
    return taken


@pytest.mark.parametrize("rate", [1, 19, 1000, 65_536, 10**6, 123_456_789])
def test_exactly_the_rate_flows(rate: int) -> None:
    """Whoever always asks has the rate, from the first second on, and no byte more."""
    clock = HeldClock()
    bucket = Bucket(Schedule(bytes_per_s=rate), clock)
    got = drawn(bucket, clock, 10.0)
    assert 10 * rate * 0.95 - 1 <= got <= 10 * rate


@settings(deadline=None)
@given(
    rate=st.integers(1, 10**9),
    steps=st.lists(st.tuples(st.floats(0, 20), st.integers(1, 1 << 20), st.integers(1, 50)), max_size=30),
)
def test_however_it_is_asked_no_more_flows(rate: int, steps: list[tuple[float, int, int]]) -> None:
    """Idle hours and bursts of asking: in any time the rate times it, and a tenth of a second's bytes."""
    clock = HeldClock()
    bucket = Bucket(Schedule(bytes_per_s=rate), clock)
    moments = [(0.0, 0)]
    for pause_s, count, asked in steps:
        clock.at_s += pause_s
        bucket.fill()
        taken = sum(bucket.take(count) for _ in range(asked))
        moments.append((clock.at_s, moments[-1][1] + taken))
    for index, (begin_s, before) in enumerate(moments):
        for end_s, after in moments[index + 1 :]:
            assert after - before <= rate * (end_s - begin_s) + most_of(rate) + 1


def test_a_window_holds_from_the_second_it_begins() -> None:
    """Much before, little in it, nothing while it is shut, much after; also for who waits already."""
    clock = HeldClock(at_s=6 * 3600 - 10)
    slow = replace(NIGHTS, end_minute=7 * 60, bytes_per_s=1)
    shut = replace(NIGHTS, begin_minute=7 * 60)
    bucket = Bucket(Schedule(bytes_per_s=10**6, windows=(slow, shut)), clock)
    assert 9.4 * 10**6 <= drawn(bucket, clock, 6 * 3600) <= 10 * 10**6
    # A piece of 50,000 bytes at a byte a second would take 14 hours: pieces get smaller at once.
    assert 3500 <= drawn(bucket, clock, 7 * 3600) <= 3602
    assert drawn(bucket, clock, 20 * 3600) <= 2
    assert 9.4 * 10**6 <= drawn(bucket, clock, 20 * 3600 + 10) <= 10 * 10**6


def test_a_clock_set_back_is_noticed() -> None:
    """The time of day decides, whatever it was before."""
    clock = HeldClock(at_s=21 * 3600)
    bucket = Bucket(Schedule(windows=(NIGHTS,)), clock)
    before = bucket.rate
    clock.begin -= timedelta(hours=10)
    bucket.fill()
    assert (before, bucket.rate, bucket.opens_in_s()) == (None, 0, 9 * 3600)
    assert bucket.change_text == "Mon 20:00 UTC"


def moved(bounds: list[list[Bandwidth]], threads: list[int], total: int) -> Counter[int]:
    """Have transfers of so many threads each draw from their bounds until so much flowed altogether."""
    counts: Counter[int] = Counter()
    stop, lock = Stop(), Lock()

    def draw(number: int, share: Share) -> None:
        try:
            while not stop.is_set:
                got = share.take(share.piece_bytes)
                with lock:
                    counts[number] += got
                    if counts.total() >= total:
                        stop.set()
        except StoppedError:
            pass

    shares = [Share(own, stop) for own in bounds]
    drawing = [
        Thread(target=draw, args=(number, share))
        for number, (share, count) in enumerate(zip(shares, threads, strict=True))
        for _ in range(count)
    ]
    for thread in drawing:
        thread.start()
    for thread in drawing:
        thread.join(20)
        assert not thread.is_alive()
    return counts


def test_two_transfers_have_half_each_whatever_their_threads() -> None:
    """Twelve threads of one take no more from the bound than the single one of the other."""
    bound = Bandwidth("it", Schedule(bytes_per_s=20_000_000), SystemClock())
    counts = moved([[bound], [bound]], [12, 1], 10_000_000)
    assert 0.4 < counts[1] / counts.total() < 0.6


def test_what_one_transfer_may_not_take_another_one_has() -> None:
    """A transfer with a small bound of its own leaves the rest of the shared one."""
    clock = SystemClock()
    small = Bandwidth("own", Schedule(bytes_per_s=200_000), clock)
    shared = Bandwidth("shared", Schedule(bytes_per_s=2_000_000), clock)
    counts = moved([[small, shared], [shared]], [4, 4], 1_000_000)
    assert 0 < counts[0] / counts.total() < 0.2


def test_a_stop_ends_every_wait_at_once_and_only_its_own() -> None:
    """The threads of one transfer let go; the bound and the other transfer go on."""
    bound = Bandwidth("it", Schedule(bytes_per_s=1000), SystemClock())
    stop, others = Stop(), Stop()
    share, other = Share([bound], stop), Share([bound], others)
    ended: list[DataFerryError] = []

    def wait() -> None:
        try:
            while True:
                share.take(1 << 20)
        except DataFerryError as error:
            ended.append(error)

    threads = [Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    stop.set()
    for thread in threads:
        thread.join(20)
    assert [type(error) for error in ended] == [StoppedError] * 8
    assert other.take(1) == 1


def test_what_is_not_sent_is_given_back() -> None:
    """A piece that a narrower bound cuts down is taken from the wider one only as far as it is sent."""
    clock = SystemClock()
    wide = Bandwidth("wide", Schedule(bytes_per_s=10**6), clock)
    narrow = Bandwidth("narrow", Schedule(bytes_per_s=1000), clock)
    share = Share([wide, narrow], Stop())
    assert share.take(50_000) == 50
    # Had the wide one counted 50,000, the next piece of it would be 50 ms away.
    assert wide._bucket._bytes > 49_000


def test_another_schedule_holds_at_once_for_who_waits() -> None:
    """A thread that waits for a byte in an hour has it when the bound is taken away."""
    bounds = Bandwidths(SystemClock())
    (bound,) = bounds.of("it", Schedule(bytes_per_s=1))
    share = Share([bound], Stop())
    waiting = Thread(target=lambda: [share.take(1) for _ in range(10_000)])
    waiting.start()
    assert bounds.of("it", Schedule()) == (bound,)
    waiting.join(20)
    assert not waiting.is_alive()


def test_bounds_are_shared_by_name_and_forgotten_when_nobody_uses_them() -> None:
    """One object for a name while it is in use; none for what bounds nothing."""
    bounds = Bandwidths(SystemClock())
    first = bounds.of("a", Schedule(bytes_per_s=5))
    assert bounds.of("a", Schedule(bytes_per_s=6)) == first
    assert first[0].state() == (6, None)
    assert bounds.of("b", Schedule()) == ()
    del first
    gc.collect()
    assert bounds.of("a", Schedule()) == ()


def test_a_shut_window_is_refused_with_what_to_wait_for() -> None:
    """The one that opens last is named; one that opens in a moment is waited for instead."""
    clock = HeldClock(at_s=12 * 3600)
    days = Bandwidth("location plant-a", Schedule(windows=(NIGHTS,)), clock)
    never = Bandwidth(
        "this plane", Schedule(windows=(replace(NIGHTS, begin_minute=0, end_minute=1440),)), clock
    )
    with pytest.raises(WindowClosedError, match="of location plant-a until Mon 20:00 UTC") as caught:
        refuse_closed([days])
    assert caught.value.opens_in_s == 8 * 3600
    with pytest.raises(WindowClosedError, match="of this plane until its windows are changed"):
        refuse_closed([never, days])
    clock.at_s = 20 * 3600 - 5
    refuse_closed([days])


class Attempt:
    """A transfer in memory under a bound, at a held time of day."""

    def __init__(self, clock: HeldClock, schedule: Schedule) -> None:
        self.clock = clock
        self.rig = Rig({"big": content(6 * PART), **{f"s{n}": content(100, n) for n in range(20)}})
        self.bound = Bandwidth("location plant-a", schedule, clock)
        self.stop = Stop()

    def go(self, *, waits: bool, limits: EngineLimits = LIMITS) -> Result:
        """Run it."""
        transfer = Transfer(
            id="t",
            epoch=self.rig.ledger.begin("t").epoch,
            source=self.rig.source,
            sink=self.rig.sink,
            limits=limits,
            bandwidths=(self.bound,),
            waits_for_windows=waits,
        )
        return run(transfer, self.rig.ledger, stop=self.stop, observer=self.rig.witness, clock=self.clock)


def test_a_transfer_waits_for_its_window_and_says_so() -> None:
    """Shut: no byte, no request, an event and progress say until when. Open: it goes on."""
    clock = HeldClock(at_s=12 * 3600)
    attempt = Attempt(clock, Schedule(windows=(NIGHTS,)))
    rig = attempt.rig
    told = "waiting for the bandwidth window of location plant-a until Mon 20:00 UTC"

    def open_it(kind: str, message: str) -> None:
        if kind == "waiting":
            assert (message, rig.source.opens, rig.sink.objects) == (told, [], {})
            clock.at_s = 20 * 3600

    rig.witness.noting = open_it
    assert attempt.go(waits=True).is_complete
    assert rig.arrived
    assert [text for kind, text in rig.witness.notes if kind in {"waiting", "bandwidth"}][:1] == [told]
    assert told in {moment.waiting for moment in rig.witness.progress}
    assert rig.witness.progress[-1].waiting is None


def test_a_window_that_shuts_in_the_middle_costs_no_try() -> None:
    """Requests under way are dropped and made again when it opens, however often, and nothing fails."""
    clock = HeldClock(at_s=20 * 3600)
    attempt = Attempt(clock, Schedule(windows=(NIGHTS,)))
    rig = attempt.rig
    shut_at = {"in/big", "in/s3", "in/s11"}

    def shut(operation: str, key: str, number: int) -> None:
        if operation == "send" and key in shut_at:
            shut_at.discard(key)
            clock.at_s += 12 * 3600

    def open_it(kind: str, message: str) -> None:
        if kind == "waiting":
            clock.at_s += 12 * 3600

    rig.sink.fault, rig.witness.noting = shut, open_it
    result = attempt.go(waits=True)
    assert result.is_complete
    assert rig.arrived
    assert "retry" not in rig.witness.kinds()


def test_a_transfer_that_may_not_wait_ends_and_goes_on_later() -> None:
    """What is committed stays; the next attempt, in the window, moves the rest."""
    clock = HeldClock(at_s=20 * 3600)
    attempt = Attempt(clock, Schedule(windows=(NIGHTS,)))
    rig = attempt.rig

    def shut(operation: str, key: str, number: int) -> None:
        if operation == "put_part" and number == 3:
            clock.at_s = 36 * 3600.0

    rig.sink.fault = shut
    with pytest.raises(WindowClosedError, match="until Tue 20:00 UTC"):
        attempt.go(waits=False)
    with pytest.raises(WindowClosedError):
        attempt.go(waits=False)
    rig.calm()
    clock.at_s = 44 * 3600.0
    assert attempt.go(waits=False).is_complete
    assert rig.arrived


def test_a_stop_ends_the_wait_for_a_window() -> None:
    """Whoever waits for hours lets go at once."""
    attempt = Attempt(HeldClock(at_s=12 * 3600), Schedule(windows=(NIGHTS,)))

    def stop(kind: str, message: str) -> None:
        if kind == "waiting":
            attempt.stop.set()

    attempt.rig.witness.noting = stop
    with pytest.raises(StoppedError):
        attempt.go(waits=True)


def test_waiting_for_bandwidth_is_no_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte a second: each waits longer than the watchdog allows a silent store, and none is ended."""
    rig = Rig({"a": b"a", "b": b"b"})
    ended: list[object] = []
    monkeypatch.setattr(MemoryWriter, "abort", ended.append)
    assert rig.go(limits=replace(LIMITS, bandwidth_bytes_per_s=1, stall_timeout_s=0.7)).is_complete
    assert ended == []


def test_what_has_arrived_is_written_down_before_a_long_wait() -> None:
    """Small objects do not wait for their rows until a window opens: a kill would cost them."""
    clock = HeldClock(at_s=20 * 3600)
    attempt = Attempt(clock, Schedule(windows=(NIGHTS,)))
    rig = attempt.rig = Rig({f"s{number}": content(100, number) for number in range(9)})

    def shut(operation: str, key: str, number: int) -> None:
        if operation == "send" and key == "in/s5" and len(rig.sink.objects) == 5:
            clock.begin += timedelta(hours=12)

    written: list[int] = []

    def open_it(kind: str, message: str) -> None:
        if kind == "waiting":
            deadline = time.monotonic() + 10
            while rig.ledger.totals("t").objects_done < 6 and time.monotonic() < deadline:
                time.sleep(0.01)
            written.append(rig.ledger.totals("t").objects_done)
            clock.begin += timedelta(hours=12)

    rig.sink.fault, rig.witness.noting = shut, open_it
    assert attempt.go(waits=True, limits=ONE).is_complete
    assert written[:1] == [6]
