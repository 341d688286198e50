"""Which bounds of bandwidth hold now, for ``dataferry check``: windows are easily written wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from dataferry.app.reach import Finding
from dataferry.app.settings import Settings
from dataferry.app.wiring import total_bandwidth
from dataferry.domain.schedule import Schedule


def bandwidth_findings(settings: Settings, moment: datetime) -> Iterator[Finding]:
    """Tell of each bound that flows share what it is at an aware time, and until when.

    Wrong is only one that never lets anything flow.
    """
    schedules = {"this plane": total_bandwidth(settings)}
    schedules |= {f"location {name}": entry.limits.bandwidth for name, entry in settings.locations.items()}
    for name, schedule in schedules.items():
        if not schedule.is_open:
            yield _finding(f"bandwidth of {name}", schedule, moment)


def _finding(what: str, schedule: Schedule, moment: datetime) -> Finding:
    rate, change = schedule.at(moment), schedule.change_text(moment)
    if rate == 0 and change is None:
        return Finding(what=what, ok=False, detail="its windows let nothing flow, ever: change them")
    now = "no bound" if rate is None else f"at most {rate:,} bytes a second" if rate else "nothing flows"
    return Finding(what=what, ok=True, detail=f"{now} now" + (f", until {change}" if change else ""))
