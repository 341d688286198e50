"""Which places two copies may write to at the same time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dataferry.app.place_lock import PlaceLock

TRY = """
import sys
from pathlib import Path
from dataferry.app.place_lock import PlaceLock
from dataferry.domain.errors import ConflictError
try:
    with PlaceLock(Path(sys.argv[1]), sys.argv[2], refusal="busy"):
        print("taken")
except ConflictError as error:
    print(error)
"""


def other(path: Path, identity: str) -> str:
    """What another process is told."""
    done = subprocess.run(
        [sys.executable, "-c", TRY, str(path), identity], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("s3+http://h/bucket/in/", "busy"),
        ("s3+http://h/bucket/in", "busy"),
        ("s3+http://h/bucket/", "busy"),
        ("s3+http://h/bucket/in/deeper/", "busy"),
        ("s3+http://h/bucket/other/", "taken"),
        ("s3+http://h/bucket/in2/", "taken"),
        ("s3+http://h/another/in/", "taken"),
    ],
)
def test_a_place_its_parts_and_what_it_is_part_of_are_one_copys(
    tmp_path: Path, place: str, told: str
) -> None:
    """Another process is refused there, and only there, until the first lets go."""
    path = tmp_path / "destinations.lock"
    with PlaceLock(path, "s3+http://h/bucket/in/", refusal="busy"):
        assert other(path, place) == told
    assert other(path, place) == "taken"
    assert path.stat().st_mode & 0o777 == 0o600
