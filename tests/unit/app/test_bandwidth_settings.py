"""Bandwidth and its windows in the configuration, and what ``check`` says of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from dataferry.app.bandwidth_check import bandwidth_findings
from dataferry.app.configuration import load
from dataferry.app.wiring import Locations, total_bandwidth
from dataferry.domain.errors import ConfigError
from dataferry.domain.schedule import Window
from dataferry.mechanisms.registry import Registry

FILE = """
[engine]
total_bandwidth_bytes_per_s = 1000

[[engine.bandwidth_windows]]
from = "22:00"
to = "06:00"
bandwidth_bytes_per_s = 5000

[locations.plant-a]
type = "file"
root = "/"

[[locations.plant-a.bandwidth_windows]]
days = ["fri", "mon"]
from = "06:00"
to = "20:00"
timezone = "Europe/Berlin"
bandwidth_bytes_per_s = 0

[locations.shut]
type = "file"
root = "/"
bandwidth_windows = [{ from = "00:00", to = "24:00", bandwidth_bytes_per_s = 0 }]

[locations.free]
type = "file"
root = "/"
"""


def written(directory: Path, text: str = FILE) -> str:
    """A configuration file with that text."""
    file = directory / "dataferry.toml"
    file.write_text(text)
    return str(file)


def test_windows_are_read(tmp_path: Path) -> None:
    """Of the process and of a location; its mechanism does not see them."""
    settings = load(written(tmp_path))
    total = total_bandwidth(settings)
    assert (total.bytes_per_s, [window.is_over_midnight for window in total.windows]) == (1000, [True])
    plant = Locations(settings, Registry()).get("plant-a")
    assert dict(plant.settings) == {"root": "/"}
    assert plant.limits.bandwidth_windows == (
        Window(
            days=("mon", "fri"), begin_minute=360, end_minute=1200, timezone="Europe/Berlin", bytes_per_s=0
        ),
    )


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            '"Europe/Berlin"',
            '"Europe/Berln"',
            "plant-a.bandwidth_windows.*there is no time zone 'Europe/Berln'",
        ),
        ('to = "06:00"', 'to = "22:00"', "engine.bandwidth_windows.*must not end where it begins"),
        ('to = "06:00"', 'to = "6"', "engine.bandwidth_windows.*HH:MM"),
        ('"fri", "mon"', '"friday"', "plant-a.bandwidth_windows"),
        ("= 5000", "= -1", "engine.bandwidth_windows"),
        ('days = ["fri"', 'dayz = ["fri"', "unknown key.*did you mean 'days'"),
    ],
)
def test_a_wrong_window_is_refused_at_the_start(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    """With where it stands in the file."""
    with pytest.raises(ConfigError, match=message):
        load(written(tmp_path, FILE.replace(before, after)))


def test_check_says_which_bounds_hold_now(tmp_path: Path) -> None:
    """And until when; one that never opens is wrong."""
    monday = datetime(2026, 11, 23, 12, tzinfo=UTC)
    found = {one.what: (one.ok, one.detail) for one in bandwidth_findings(load(written(tmp_path)), monday)}
    assert found == {
        "bandwidth of this plane": (True, "at most 1,000 bytes a second now, until Mon 22:00 UTC"),
        "bandwidth of location plant-a": (True, "nothing flows now, until Mon 20:00 Europe/Berlin"),
        "bandwidth of location shut": (False, "its windows let nothing flow, ever: change them"),
    }
