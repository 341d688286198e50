"""A destination that is full fails the object clearly, and keeps no half of it under its name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.plane import MIB

from dataferry.demo.processes import ChildProcess


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB; only root can make one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system can't be mounted here: that needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_fails_the_copy_and_leaves_no_object(small_disk: Path, tmp_path: Path) -> None:
    """What does not fit is named with the reason, and the exit code is 1."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "fits").write_bytes(bytes(1 * MIB))
    (source / "too-large").write_bytes(bytes(40 * MIB))
    command = [sys.executable, "-m", "dataferry.cli.main", "copy", f"{source}/", f"{small_disk}/in/"]
    copy = ChildProcess(
        "copy",
        [*command, "--json", "--ledger", str(tmp_path / "ledger.db")],
        log=tmp_path / "copy.log",
        environment={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )
    copy.start()
    assert copy.wait(timeout_s=60) == 1
    assert "too-large" in copy.log.read_text()
    assert "No space left on device" in copy.log.read_text()
    assert not (small_disk / "in" / "too-large").exists()
    results = [json.loads(line) for line in copy.log.read_text().splitlines() if line.startswith("{")]
    assert [result["state"] for result in results] == ["failed"]
