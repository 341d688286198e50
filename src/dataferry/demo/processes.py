"""Programs that the demo starts and ends: each in its own process group, none outlives its starter."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

# Runs the program given as arguments, after asking Linux to kill it when its starter is gone. A separate
# interpreter, because code between fork and exec of a process with threads may deadlock. The starter's id is
# compared to notice that it died before we asked.
_LAUNCHER = """
import os, signal, sys
starter, program = int(sys.argv[1]), sys.argv[2:]
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != starter:
    sys.exit(1)
os.execv(program[0], program)
"""

LOG_TAIL_CHARS = 2_000


class StartError(Exception):
    """A program did not come up; the message ends with the last of its log."""


def free_port() -> int:
    """Return a TCP port on loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Running(ABC):
    """Something that runs for the length of a ``with`` block, or from ``start`` to ``stop``."""

    @abstractmethod
    def start(self) -> None:
        """Start it; one that was stopped comes back."""

    @abstractmethod
    def stop(self) -> None:
        """End it; one that does not run is left as it is."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class ChildProcess(Running):
    """One program with its log; ends with its owner, even where the owner is killed (on Linux).

    Start it from a thread that lives as long as the program shall: Linux ties the program to that thread.

    Args:
        name: What messages call it.
        command: The program's absolute path and its arguments.
        log: Where its output goes; appended to, so that restarts keep one log.
        environment: The whole environment of the program.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = log
        self._command = [sys.executable, "-I", "-c", _LAUNCHER, str(os.getpid()), *command]
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The program's process id; it leads its process group.

        Raises:
            StartError: It was never started.
        """
        if self._process is None:
            raise StartError(f"{self.name} was not started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """True until the program has ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """What it ended with; negative for a signal; None while it runs."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it; returns at once."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    def wait_until_http(self, url_port: int, path: str, *, timeout_s: float = 30.0, below: int = 600) -> None:
        """Wait until it answers HTTP on a loopback port.

        Args:
            url_port: The port.
            path: What to GET.
            timeout_s: When to give up.
            below: Answers with a status from this on do not count.

        Raises:
            StartError: It ended, or did not answer in time.
        """
        deadline = time.monotonic() + timeout_s
        while not _answers(url_port, path, below):
            if not self.is_running:
                raise StartError(f"{self.name} ended with {self.exit_code} at start:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise StartError(f"{self.name} did not answer within {timeout_s:.0f} s:\n{self.log_tail()}")
            time.sleep(0.03)

    def stop(self, *, timeout_s: float = 10.0) -> None:
        """End it: politely first, then for certain. Safe to repeat."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        # What it may have started itself is in its group.
        self._signal(signal.SIGKILL)
        self._process.wait()

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would, and wait until it is gone."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def wait(self, *, timeout_s: float) -> int:
        """Wait for its end; return what it ended with.

        Raises:
            StartError: It was never started, or did not end in time.
        """
        if self._process is None:
            raise StartError(f"{self.name} was not started")
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise StartError(
                f"{self.name} did not end within {timeout_s:.0f} s:\n{self.log_tail()}"
            ) from None

    def log_tail(self) -> str:
        """The last of its log."""
        with contextlib.suppress(OSError):
            return self.log.read_text(errors="replace")[-LOG_TAIL_CHARS:]
        return ""

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def _answers(port: int, path: str, below: int) -> bool:
    """Whether something speaks HTTP there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < below
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
