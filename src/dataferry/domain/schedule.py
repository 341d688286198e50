"""How many bytes a second may flow when: a bound, and weekly windows in which another one holds.

Windows are told by the clock on the wall of their time zone. Where that is put forward, what it leaves out
does not happen: a window from 02:00 to 02:30 falls out that night, one from 02:30 to 04:00 begins at 03:00.
Where it is put back, what it shows twice happens twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any

from dataferry.domain.errors import InputError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_WINDOWS = 50
MAX_BANDWIDTH_BYTES_PER_S = 2**50
DAY_MINUTES = 24 * 60
# A window may fall out in one week, when the clocks are put forward; never in two in a row.
_HORIZON_DAYS = 16
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_KEYS = frozenset({"days", "from", "to", "timezone", "bandwidth_bytes_per_s"})


def zone_of(name: str) -> tzinfo:
    """Return the time zone of an IANA name.

    Raises:
        InputError: There is none of that name on this machine.
    """
    if name == "UTC":  # also where a machine has no time zones
        return UTC
    from zoneinfo import ZoneInfo

    if len(name) <= 100 and _ZONE.fullmatch(name):  # noqa: PLR2004 - longer than any
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            pass
    raise InputError(
        f"there is no time zone {name[:100]!r} here: write an IANA name such as Europe/Berlin; a machine"
        " without any needs its package of time zones, or `pip install tzdata`"
    )


def minute_of(text: str) -> int:
    """Read ``HH:MM`` as minutes since midnight; ``24:00`` is the end of the day.

    Raises:
        InputError: It is no time of day.
    """
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        raise InputError("a time of day is written HH:MM, from 00:00 to 24:00")
    return int(text[:2]) * 60 + int(text[3:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A time of the week in which a bound of its own holds.

    Attributes:
        days: Days on which it begins, as in ``DAYS``.
        begin_minute, end_minute: Since midnight; it reaches into the next day if it does not end after it
            begins.
        timezone: IANA name.
        bytes_per_s: The bound; 0 lets nothing flow.
    """

    days: tuple[str, ...] = DAYS
    begin_minute: int
    end_minute: int
    timezone: str = "UTC"
    bytes_per_s: int

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Window:
        """Read one as it stands in a configuration: ``days``, ``from``, ``to``, ``timezone``, ….

        Raises:
            InputError: It is none.
        """
        if not isinstance(settings, Mapping) or not set(settings) <= _KEYS:
            raise InputError(f"a bandwidth window has the keys {', '.join(sorted(_KEYS))}")
        days = settings.get("days") or DAYS
        if not isinstance(days, list | tuple) or any(day not in DAYS for day in days):
            raise InputError(f"days are {', '.join(DAYS)}")
        begin, end = minute_of(settings.get("from", "")), minute_of(settings.get("to", ""))
        if begin in {end, DAY_MINUTES}:
            raise InputError(
                "a bandwidth window must not end where it begins; the whole day is 00:00 to 24:00"
            )
        timezone, rate = settings.get("timezone", "UTC"), settings.get("bandwidth_bytes_per_s")
        zone_of(timezone if isinstance(timezone, str) else "")
        if isinstance(rate, bool) or not isinstance(rate, int) or not 0 <= rate <= MAX_BANDWIDTH_BYTES_PER_S:
            raise InputError("bandwidth_bytes_per_s of a window is a whole number; 0 lets nothing flow")
        known = tuple(day for day in DAYS if day in days)
        return cls(days=known, begin_minute=begin, end_minute=end, timezone=str(timezone), bytes_per_s=rate)

    def as_settings(self) -> dict[str, Any]:
        """Return it as it stands in a configuration."""
        return {
            "days": list(self.days),
            "from": _clock_time(self.begin_minute),
            "to": _clock_time(self.end_minute),
            "timezone": self.timezone,
            "bandwidth_bytes_per_s": self.bytes_per_s,
        }

    @property
    def is_over_midnight(self) -> bool:
        """True if it ends on the day after."""
        return self.end_minute <= self.begin_minute

    def is_active(self, moment: datetime) -> bool:
        """Return whether it holds at an aware time."""
        local = moment.astimezone(zone_of(self.timezone))
        minute = local.hour * 60 + local.minute
        today, yesterday = DAYS[local.weekday()] in self.days, DAYS[local.weekday() - 1] in self.days
        if not self.is_over_midnight:
            return today and self.begin_minute <= minute < self.end_minute
        return (today and minute >= self.begin_minute) or (yesterday and minute < self.end_minute)

    def edges(self, moment: datetime) -> Iterator[datetime]:
        """Give every time in the next two weeks at which it may begin or end, in no order."""
        zone = zone_of(self.timezone)
        first = moment.astimezone(zone).date() - timedelta(days=1)
        for offset in range(_HORIZON_DAYS):
            day = first + timedelta(days=offset)
            for minute in (self.begin_minute, self.end_minute):
                wall = datetime.combine(day, time()) + timedelta(minutes=minute)
                for fold in (0, 1):
                    yield wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
            yield from _clock_change(day, zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A bound in bytes a second, and weekly windows.

    In a window its bound holds instead of the other one; of several windows the smallest.

    Attributes:
        bytes_per_s: Outside of windows; None is no bound.
        windows: See ``Window``.
    """

    bytes_per_s: int | None = None
    windows: tuple[Window, ...] = ()

    @property
    def is_open(self) -> bool:
        """True if it never bounds anything."""
        return self.bytes_per_s is None and not self.windows

    def window(self, moment: datetime) -> Window | None:
        """Return the window that holds at an aware time; None outside of all."""
        active = [window for window in self.windows if window.is_active(moment)]
        return min(active, key=lambda window: window.bytes_per_s, default=None)

    def at(self, moment: datetime) -> int | None:
        """Return the bound at an aware time, bytes a second; 0 lets nothing flow, None is no bound."""
        window = self.window(moment)
        return self.bytes_per_s if window is None else window.bytes_per_s

    def next_change(self, moment: datetime) -> datetime | None:
        """Return the first time after ``moment`` at which another bound holds, in UTC; None if none comes."""
        now = self.at(moment)
        edges = {edge for window in self.windows for edge in window.edges(moment) if edge > moment}
        return next((edge for edge in sorted(edges) if self.at(edge) != now), None)

    def change_text(self, moment: datetime) -> str | None:
        """Tell when the next change comes, e.g. ``Mon 06:00 Europe/Berlin``; None if none does."""
        change = self.next_change(moment)
        if change is None:
            return None
        window = self.window(moment) or self.window(change) or self.windows[0]
        local = change.astimezone(zone_of(window.timezone))
        return f"{DAYS[local.weekday()].title()} {local:%H:%M} {window.timezone}"


def windows_of(entries: Any) -> tuple[Window, ...]:
    """Read windows as they stand in a configuration.

    Raises:
        InputError: One of them is wrong, or there are too many.
    """
    if not isinstance(entries, list | tuple) or len(entries) > MAX_WINDOWS:
        raise InputError(f"bandwidth_windows is a list of at most {MAX_WINDOWS} windows")
    return tuple(Window.of(entry) for entry in entries)


def _clock_time(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _clock_change(day: date, zone: tzinfo) -> Iterator[datetime]:
    """Give the time in a day (of UTC) at which a zone's clocks are put forward or back, if there is one."""
    low = datetime.combine(day, time(), tzinfo=UTC)
    high = low + timedelta(days=1)
    before = low.astimezone(zone).utcoffset()
    if before == high.astimezone(zone).utcoffset():
        return
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    yield high
