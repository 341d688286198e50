"""What is estimated of a plan that was begun, or of ends that can do less."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from tests.unit.engine.attempts import LIMITS, PART, Rig, content
from tests.unit.engine.memory import SOURCE_ALL

from dataferry.domain.clock import SystemClock
from dataferry.domain.objects import Capability
from dataferry.domain.schedule import Schedule, Window
from dataferry.engine.plan.estimate import Duration, Requests
from dataferry.engine.preview import Preview, preview
from dataferry.engine.rates.bandwidth import Bandwidth
from dataferry.engine.transfer import Transfer


def previewed(rig: Rig, bandwidths: tuple[Bandwidth, ...] = ()) -> Preview:
    """What an attempt would do now."""
    transfer = Transfer(
        id="t",
        epoch=rig.ledger.begin("t").epoch,
        source=rig.source,
        sink=rig.sink,
        limits=LIMITS,
        bandwidths=bandwidths,
    )
    return preview(transfer, rig.ledger, rig.witness)


def test_parts_that_are_there_are_not_counted_again() -> None:
    """A crash after two of six parts leaves four, a listing of the parts, and no new upload."""
    rig = Rig({"large": content(6 * PART)})
    rig.crash("put_part", 3)

    found = previewed(rig)

    assert (found.requests.objects_in_parts, found.requests.parts) == (1, 4)
    assert found.requests.source == {"check": 1, "look": 1, "read": 4}
    assert found.requests.destination == {
        "check": 1, "list_parts": 1, "part": 4, "complete": 1, "look": 1,
    }  # fmt: skip
    assert found.bytes_to_move == 4 * PART


def test_a_source_without_ranges_is_read_once() -> None:
    """Its large objects are one read, and parts all the same."""
    rig = Rig({"large": content(6 * PART)})
    rig.source.capabilities = SOURCE_ALL - {Capability.RANGES}

    assert previewed(rig).requests.source == {"check": 1, "list": 1, "read": 1}


def test_the_time_follows_from_what_it_is_said_from() -> None:
    """Latency by workers, bytes by bound: whichever is longer; at a reference rate for comparison."""
    requests = Requests(source={"read": 100}, destination={"write": 100})

    def least_s(bound: int | None) -> float:
        return Duration(
            requests=requests,
            bytes_to_move=100 * 2**20,
            source_latency_s=0.1,
            destination_latency_s=0.3,
            workers=4,
            bandwidth_bytes_per_s=bound,
        ).least_s

    assert least_s(None) == 10.0
    assert least_s(2**20) == 100.0


def test_only_bounds_that_never_change_count() -> None:
    """The least of a transfer's own and those that it shares; one with windows may let more flow later."""
    rig = Rig({"a": b"a"})
    shared = Bandwidth("all", Schedule(bytes_per_s=3000), SystemClock())
    night = Window(days=("mon",), begin_minute=0, end_minute=360, bytes_per_s=20)
    changing = Bandwidth("by night", Schedule(bytes_per_s=10, windows=(night,)), SystemClock())

    found = previewed(rig, bandwidths=(shared, changing))

    assert found.duration is not None
    assert found.duration.bandwidth_bytes_per_s == 3000
    assert found.duration.opens_in_s == 0
    assert [" bytes a second by by night until " in told for told in found.duration.windows] == [True]


class Noon(SystemClock):
    """A Monday's."""

    def now(self) -> datetime:
        """Always the same."""
        return datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("end_minute", "least_s", "told"),
    [
        (13 * 60, 3600 + 3.0, "waiting for the bandwidth window of plant-a until Mon 13:00 UTC"),
        (1440, math.inf, "waiting for the bandwidth window of plant-a until its windows are changed"),
    ],
)
def test_what_is_shut_is_waited_for(end_minute: int, least_s: float, told: str) -> None:
    """Nothing ends before it opens, or nothing at all; what else bounds it still does."""
    rig = Rig({"a": content(300)})
    shut = Window(begin_minute=0, end_minute=end_minute, bytes_per_s=0)
    days = Bandwidth("plant-a", Schedule(windows=(shut,)), Noon())
    plane = Bandwidth("this plane", Schedule(bytes_per_s=100), Noon())

    duration = previewed(rig, bandwidths=(days, plane)).duration

    assert duration is not None
    assert (duration.bandwidth_bytes_per_s, duration.windows) == (100, (told,))
    assert duration.least_s == least_s
    assert duration.as_json()["least_s"] == (None if math.isinf(least_s) else least_s)


def test_who_moves_nothing_waits_for_no_window() -> None:
    """All of it is there."""
    requests = Requests()
    nothing = Duration(
        requests=requests,
        bytes_to_move=0,
        source_latency_s=0,
        destination_latency_s=0,
        workers=1,
        bandwidth_bytes_per_s=None,
        opens_in_s=math.inf,
    )
    assert nothing.least_s == nothing.at_reference_s == 0
