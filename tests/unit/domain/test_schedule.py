"""Weekly windows of bandwidth: which bound holds when, and when that changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataferry.domain.errors import InputError
from dataferry.domain.schedule import DAYS, Schedule, Window, windows_of

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
# Clocks of Berlin: forward on 29 March 2026 at 01:00 UTC, back on 25 October at 01:00 UTC.
SPRING = datetime(2026, 3, 28, tzinfo=UTC)
AUTUMN = datetime(2026, 10, 24, tzinfo=UTC)


def window(begin: str, end: str, rate: int = 0, zone: str = "UTC", days: tuple[str, ...] = ()) -> Window:
    return Window.of(
        {"days": days, "from": begin, "to": end, "timezone": zone, "bandwidth_bytes_per_s": rate}
    )


def berlin(day: str, *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)


def shut_minutes(schedule: Schedule, begin: datetime, hours: int) -> list[str]:
    """When it begins and ends to be shut, by the clock in Berlin, found a minute at a time."""
    found, before = [], schedule.at(begin)
    for minute in range(hours * 60):
        moment = begin + timedelta(minutes=minute)
        if schedule.at(moment) != before:
            before = schedule.at(moment)
            found.append(f"{moment.astimezone(ZoneInfo('Europe/Berlin')):%H:%M %z}")
    return found


def test_a_window_holds_from_its_beginning_to_just_before_its_end() -> None:
    """On its days, in place of the bound that holds else."""
    schedule = Schedule(bytes_per_s=7, windows=(window("06:00", "20:30", 3, days=("mon", "fri")),))
    monday = datetime(2026, 11, 23, 6, tzinfo=UTC)
    assert schedule.at(monday - timedelta(seconds=1)) == 7
    assert schedule.at(monday) == 3
    assert schedule.at(monday + timedelta(hours=14, minutes=29, seconds=59)) == 3
    assert schedule.at(monday + timedelta(hours=14, minutes=30)) == 7
    assert schedule.at(monday + timedelta(days=1)) == 7
    assert schedule.next_change(monday) == monday + timedelta(hours=14, minutes=30)
    assert schedule.change_text(monday + timedelta(days=1)) == "Fri 06:00 UTC"


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    """Friday 22:00 to 06:00 ends on Saturday morning; Sunday's reaches into Monday."""
    schedule = Schedule(windows=(window("22:00", "06:00", days=("fri", "sun")),))
    saturday = datetime(2026, 11, 28, tzinfo=UTC)
    assert [schedule.at(saturday + timedelta(hours=hour)) for hour in (-3, -2, 5, 6, 23)] == [
        None, 0, 0, None, None,
    ]  # fmt: skip
    assert schedule.at(saturday + timedelta(days=2, hours=5)) == 0
    assert schedule.next_change(saturday) == saturday + timedelta(hours=6)


def test_midnight_may_be_written_either_way() -> None:
    """To 24:00 and to 00:00 are the same end; 00:00 to 24:00 is the whole day."""
    late = datetime(2026, 11, 28, 23, 59, 59, tzinfo=UTC)
    for end in ("24:00", "00:00"):
        schedule = Schedule(windows=(window("22:00", end),))
        assert (schedule.at(late), schedule.at(late + timedelta(seconds=1))) == (0, None)
    always = Schedule(windows=(window("00:00", "24:00", 5),))
    assert (always.at(late), always.next_change(late), always.change_text(late)) == (5, None, None)


def test_of_several_windows_the_least_holds() -> None:
    """Whatever their order, and though outside of windows less would hold."""
    schedule = Schedule(bytes_per_s=1, windows=(window("00:00", "24:00", 9), window("10:00", "11:00", 4)))
    noon = datetime(2026, 11, 28, 12, tzinfo=UTC)
    assert (schedule.at(noon), schedule.at(noon - timedelta(hours=2))) == (9, 4)


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        ("02:00", "02:30", []),
        ("02:30", "04:00", ["03:00 +0200", "04:00 +0200"]),
        ("01:30", "02:30", ["01:30 +0100", "03:00 +0200"]),
        ("23:00", "02:30", ["23:00 +0100", "03:00 +0200"]),
    ],
)
def test_clocks_put_forward(begin: str, end: str, expected: list[str]) -> None:
    """What the clock does not show does not happen."""
    day = "sat" if begin == "23:00" else "sun"
    schedule = Schedule(windows=(window(begin, end, zone="Europe/Berlin", days=(day,)),))
    assert shut_minutes(schedule, SPRING, 48) == expected


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        ("02:00", "03:00", ["02:00 +0200", "03:00 +0100"]),
        ("02:15", "02:45", ["02:15 +0200", "02:45 +0200", "02:15 +0100", "02:45 +0100"]),
        ("01:00", "02:30", ["01:00 +0200", "02:30 +0200", "02:00 +0100", "02:30 +0100"]),
    ],
)
def test_clocks_put_back(begin: str, end: str, expected: list[str]) -> None:
    """What the clock shows twice happens twice."""
    schedule = Schedule(windows=(window(begin, end, zone="Europe/Berlin", days=("sun",)),))
    assert shut_minutes(schedule, AUTUMN, 48) == expected


# On quarters of an hour, on which every change of these zones' clocks falls too: a grid that finds all.
QUARTER = timedelta(minutes=15)
WINDOWS = st.builds(
    Window,
    days=st.lists(st.sampled_from(DAYS), min_size=1, unique=True).map(tuple),
    begin_minute=st.integers(0, 95).map(lambda quarter: 15 * quarter),
    end_minute=st.integers(0, 96).map(lambda quarter: 15 * quarter),
    timezone=st.sampled_from(ZONES),
    bytes_per_s=st.integers(0, 3),
)


@settings(max_examples=60, deadline=None)
@given(
    windows=st.lists(WINDOWS, max_size=3),
    base=st.none() | st.integers(1, 3),
    moment=st.sampled_from([SPRING, AUTUMN, datetime(2026, 4, 4, tzinfo=UTC)]),
    seconds=st.integers(0, 2 * 86_400),
)
@example(
    windows=[Window(begin_minute=120, end_minute=180, timezone="Europe/Berlin", bytes_per_s=0)],
    base=None,
    moment=SPRING,
    seconds=86_400,
)
@example(  # begins when the clocks are put forward
    windows=[Window(begin_minute=150, end_minute=240, timezone="Europe/Berlin", bytes_per_s=0)],
    base=None,
    moment=SPRING,
    seconds=86_400,
)
@example(  # begins a second time in the hour that comes twice
    windows=[Window(begin_minute=135, end_minute=165, timezone="Europe/Berlin", bytes_per_s=0)],
    base=None,
    moment=AUTUMN,
    seconds=86_400 + 3000,
)
def test_nothing_changes_before_the_next_change(
    windows: list[Window], base: int | None, moment: datetime, seconds: int
) -> None:
    """Up to the change the same bound holds, from it on another; over changes of clocks too."""
    schedule = Schedule(bytes_per_s=base, windows=tuple(windows))
    moment += timedelta(seconds=seconds)
    change, now = schedule.next_change(moment), schedule.at(moment)
    if change is not None:
        assert change > moment
        assert schedule.at(change) != now
        assert schedule.at(change - timedelta(microseconds=1)) == now
    until = min(change or moment + timedelta(days=9), moment + timedelta(days=9))
    moment = moment.replace(minute=moment.minute // 15 * 15, second=0) + QUARTER
    while moment < until:
        assert schedule.at(moment) == now
        moment += QUARTER


@settings(deadline=None)
@given(windows=st.lists(WINDOWS, max_size=3))
def test_windows_read_back_as_written(windows: list[Window]) -> None:
    """As settings and back nothing is lost."""
    whole = [w for w in windows if w.begin_minute != w.end_minute]
    ordered = [Window.of(w.as_settings()) for w in whole]
    assert windows_of([w.as_settings() for w in ordered]) == tuple(ordered)
    assert [set(w.days) for w in ordered] == [set(w.days) for w in whole]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timezone": "Europe/Nowhere"}, "there is no time zone 'Europe/Nowhere'"),
        ({"timezone": "../../etc/passwd"}, "there is no time zone"),
        ({"timezone": "Europe"}, "there is no time zone"),
        ({"timezone": 7}, "there is no time zone"),
        ({"from": "25:00"}, "HH:MM"),
        ({"from": "6:00"}, "HH:MM"),
        ({"to": None}, "HH:MM"),
        ({"to": "08:00"}, "must not end where it begins"),
        ({"from": "24:00"}, "must not end where it begins"),
        ({"days": ["monday"]}, "days are mon"),
        ({"days": "mon"}, "days are mon"),
        ({"bandwidth_bytes_per_s": -1}, "whole number"),
        ({"bandwidth_bytes_per_s": "1"}, "whole number"),
        ({"bandwidth_bytes_per_s": None}, "whole number"),
        ({"until": "x"}, "has the keys"),
    ],
)
def test_a_wrong_window_is_refused(change: dict[str, Any], message: str) -> None:
    """The error says what is wrong, and what would be right."""
    right = {"from": "08:00", "to": "09:00", "bandwidth_bytes_per_s": 0}
    with pytest.raises(InputError, match=message):
        Window.of(right | change)


def test_too_many_windows_are_refused() -> None:
    """There is a bound, since each is looked at."""
    with pytest.raises(InputError, match="at most 50"):
        windows_of([{"from": "08:00", "to": "09:00", "bandwidth_bytes_per_s": 0}] * 51)
