"""The demonstration: it proves what it says, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dataferry.demo.processes import ChildProcess


def _demo(directory: Path) -> ChildProcess:
    """``dataferry demo --small``, not started yet."""
    command = [sys.executable, "-m", "dataferry.cli.main", "demo", "--small", "--directory", str(directory)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    return ChildProcess("demo", command, log=directory / "demo.log", environment=environment)


def _processes_of(directory: Path) -> list[str]:
    """Command lines that name the directory, of all processes but this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in line:
            found.append(line)
    return found


def _wait_for(condition: Callable[[], bool], demo: ChildProcess, *, what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not {what} within {timeout_s} s:\n{demo.log_tail()}"
        time.sleep(0.05)


def test_the_demo_proves_every_byte(tmp_path: Path) -> None:
    """It ends with 0 and its verdict, within 80 columns, and its working directory is gone."""
    demo = _demo(tmp_path)
    with demo:
        _wait_for(lambda: not demo.is_running, demo, what="ended", timeout_s=100)
    text = demo.log.read_text()
    assert demo.exit_code == 0, text
    assert "Every byte arrived and was verified." in text
    assert "kill -9" in text
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["demo.log"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize(
    ("number", "word"),
    [(signal.SIGINT, "registered"), (signal.SIGTERM, "STARTED"), (signal.SIGKILL, "STARTED")],
)
def test_a_demo_that_is_ended_ends_what_it_started(number: signal.Signals, word: str, tmp_path: Path) -> None:
    """Ctrl-C, SIGTERM and even SIGKILL leave no process; what can clear up leaves no file either."""
    demo = _demo(tmp_path)
    with demo:
        _wait_for(lambda: word in demo.log_tail(), demo, what=word)
        assert len(_processes_of(tmp_path)) >= 5
        os.kill(demo.pid, number)
        _wait_for(lambda: not demo.is_running, demo, what="ended")
        _wait_for(lambda: _processes_of(tmp_path) == [], demo, what="cleared", timeout_s=10)
    if number is signal.SIGKILL:
        return
    assert demo.exit_code == 128 + number
    assert [entry.name for entry in tmp_path.iterdir()] == ["demo.log"]


def test_a_demo_without_room_says_so(tmp_path: Path) -> None:
    """Too little space is told before anything is made."""
    from dataferry.demo import main
    from dataferry.demo.cargo import CargoSize
    from dataferry.demo.stage import Pace

    huge = Pace(
        cargo=CargoSize(small_objects=1, large_bytes=1 << 60), bandwidth_bytes_per_s=1, part_size_bytes=1
    )
    with pytest.raises(main.NoSpaceError, match="--directory"):
        main._check_space(tmp_path, huge)
