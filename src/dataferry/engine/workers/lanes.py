"""Lanes of an attempt: processes that send small objects, as one interpreter is soon full with them.

A worker that has a seat in a lane gives it objects and waits for its report; then it writes that down, as it
does with what it sent itself. So the ledger has one writer, and rules 2, 6 and 7 hold as they do without:
what a lane has in hand is no more than a part, a fence is felt at the commit, and stopping ends the process.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import BoundedSemaphore, Lock

from dataferry.domain.errors import StoppedError
from dataferry.domain.ledger import ObjectRow
from dataferry.domain.objects import Capability
from dataferry.engine.attempt.course import Course
from dataferry.engine.selection import Selection
from dataferry.engine.workers.lane import BEAT, Report, packed, receive_message, send_message, slips

# A lane takes a tenth of a second of a processor to begin: so many objects must be left that it is worth it.
MANY_OBJECTS = 2_000
SMALL_BYTES = 256 * 1024
# Beside this process, whatever runs in it: with two, all together have some 100 MiB; a third is 16 MiB more.
MAX_LANES = 2
# One for this process, one for all that has to do with it: without a third a lane only costs.
BUSY_PROCESSORS = 2
BATCH_OBJECTS = 32
# Run so, and not as a module: what it pickles must be of the same module here and there.
PROGRAM = "from dataferry.engine.workers.lane import main; main()"
EXIT_S = 10.0
MAX_BEATS = 4_096
_slots = BoundedSemaphore(MAX_LANES)


@dataclass(slots=True, eq=False)
class _Process:
    """A lane.

    Attributes:
        control: Our end of its standard input.
        heard_at: When it showed life, by the attempt's clock; its beginning counts.
        is_ready: It has said that it can be given sockets.
    """

    process: subprocess.Popen[bytes]
    control: socket.socket
    heard_at: float
    is_ready: bool = False
    is_lost: bool = False


class Seat:
    """A worker's place in a lane; belongs to that worker's thread.

    Args:
        lanes: To tell when the lane is lost.
        lane: Whose.
        sock: Our end.
    """

    def __init__(self, lanes: Lanes, lane: _Process, sock: socket.socket) -> None:
        self._lanes = lanes
        self._lane = lane
        self._sock = sock

    @property
    def is_lost(self) -> bool:
        """True once the lane has ended."""
        return self._lane.is_lost

    def send(self, rows: Sequence[ObjectRow]) -> Report | None:
        """Have objects sent; None if the lane is lost: what became of them nobody knows.

        Raises:
            StoppedError: The attempt is to end.
        """
        report: Report | None = None
        with contextlib.suppress(OSError):
            send_message(self._sock, slips(rows))
            report = receive_message(self._sock)
        if report is None:
            self._sock.close()
            self._lanes.lose(self._lane)
        else:
            self._lanes.heard(report)
        return report

    def close(self) -> None:
        """Give it up."""
        self._sock.close()


class Lanes:
    """Owns the processes.

    Args:
        course: The attempt.

    Attributes:
        processor_s: Processor time that they told of.
    """

    def __init__(self, course: Course) -> None:
        self._course = course
        self._lock = Lock()
        self._lanes: list[_Process] = []
        self._tried = False
        self._ended = False
        self.processor_s = 0.0

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._lanes)

    def consider(self) -> None:
        """Begin them if there is enough for them to do; called whenever more is known to be left."""
        if self._tried or self._course.route.is_copying:
            return
        left, left_bytes = self._course.tally.left()
        if left < MANY_OBJECTS or left_bytes > left * SMALL_BYTES:
            return
        self._tried = True
        count = min(MAX_LANES, processors() - BUSY_PROCESSORS, self._course.transfer.limits.workers - 1)
        message = self._message() if count > 0 else None
        if message is None:
            return
        try:
            while self.count < count and _slots.acquire(blocking=False):
                self._begin(message)
        except OSError as error:
            self._course.observer.noted("lanes", f"{self.count} processes more for small objects: {error}")
        else:
            self._course.observer.noted("lanes", f"{self.count} more processes send small objects")

    def seat(self, number: int) -> Seat | None:
        """Return a place for a worker; None if it is to send small objects itself, or no lane is ready yet.

        Workers take turns: this process is one more lane.
        """
        index = number % (self.count + 1) - 1
        if index < 0:
            return None
        lane = self._lanes[index]
        try:
            with self._lock:
                if lane.is_lost or self._ended or not self._is_ready(lane):
                    return None
                ours, theirs = socket.socketpair()
                with theirs:
                    socket.send_fds(lane.control, [BEAT], [theirs.fileno()])
        except OSError:
            self.lose(lane)
            return None
        return Seat(self, lane, ours)

    def watch(self) -> None:
        """Called by the monitor: kill lanes that show no life, so that those who wait for them go on."""
        limit_s = self._course.transfer.limits.stall_timeout_s
        for lane in tuple(self._lanes):
            with self._lock, contextlib.suppress(OSError):
                if not lane.is_lost and not self._ended:
                    self._listen(lane)
            if not lane.is_lost and self._course.clock.monotonic() - lane.heard_at >= limit_s:
                lane.heard_at = self._course.clock.monotonic()
                lane.process.kill()
                self._course.observer.noted(
                    "lane_stalled", f"a process that sends small objects showed no life for {limit_s:g} s"
                )

    def heard(self, report: Report) -> None:
        """Take in what a report says beside its outcomes."""
        with self._lock:
            self.processor_s += report.processor_s
        for kind, message in report.notes:
            self._course.observer.noted(kind, message)

    def lose(self, lane: _Process) -> None:
        """End a lane that does not answer: what it had in hand may be sent again once it can't any more.

        Raises:
            StoppedError: It was ended by us.
        """
        with self._lock:
            known, lane.is_lost = lane.is_lost, True
        _kill(lane)
        if self._course.halt.is_set:
            raise StoppedError("stopped: the lane was ended")
        if not known:
            code = lane.process.returncode
            self._course.observer.noted(
                "lane_lost", f"a process that sent small objects has ended ({code}); others send them again"
            )

    def end(self) -> None:
        """End them all, now. Any thread."""
        with self._lock:
            self._ended = True
        for lane in tuple(self._lanes):
            lane.process.kill()

    def close(self) -> None:
        """End them, and wait until they have."""
        self.end()
        while self._lanes:
            _kill(self._lanes.pop())
            _slots.release()

    def _is_ready(self, lane: _Process) -> bool:
        """Look if a lane has said that it is ready.

        Raises:
            OSError: It has ended.
        """
        if not lane.is_ready:
            self._listen(lane)
        return lane.is_ready

    def _listen(self, lane: _Process) -> None:
        """Take in what a lane has said meanwhile.

        Raises:
            OSError: It has ended.
        """
        with contextlib.suppress(BlockingIOError):
            if not lane.control.recv(MAX_BEATS, socket.MSG_DONTWAIT):
                raise BrokenPipeError
            lane.is_ready, lane.heard_at = True, self._course.clock.monotonic()

    def _message(self) -> bytes | None:
        """Write the transfer for another process; None if its ends can't be there."""
        transfer, bandwidth = self._course.transfer, self._course.bandwidth
        both = transfer.source.capabilities & transfer.sink.capabilities
        if (
            bandwidth is not None
            or Capability.PORTABLE not in both
            or not sys.executable
            or os.name != "posix"
        ):
            return None
        return packed(replace(transfer, selection=Selection()))

    def _begin(self, message: bytes) -> None:
        """Start a process, and tell it what it needs.

        Raises:
            OSError: The system gives none.
        """
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            _slots.release()
            raise
        with theirs:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-c", PROGRAM],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # the terminal's Ctrl-C is ours to answer
                )
            except OSError:
                _slots.release()
                ours.close()
                raise
        lane = _Process(process=process, control=ours, heard_at=self._course.clock.monotonic())
        with self._lock:
            self._lanes.append(lane)
            if self._ended:
                process.kill()
        ours.sendall(message)


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _kill(lane: _Process) -> None:
    """End a process for good."""
    lane.process.kill()
    lane.process.wait(EXIT_S)
    lane.control.close()
