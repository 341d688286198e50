"""A lane: a process of ours that sends small objects for workers of its parent.

It is told which, and answers what became of each; it writes no ledger, and begins, completes and aborts no
upload. Everything comes through sockets that only parent and lane hold: the transfer, credentials included,
then a socket a worker. When the parent ends, however it ends, so does the lane, in the middle of whatever it
does: a body that is cut short makes no object.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from threading import Thread
from typing import Any, cast

from dataferry.domain.clock import SystemClock
from dataferry.domain.errors import DataFerryError
from dataferry.domain.ledger import Attempt, Finished, Ledger, ObjectRow, ObjectState
from dataferry.domain.objects import ObjectInfo, Totals
from dataferry.domain.progress import Progress
from dataferry.engine.attempt.course import Course
from dataferry.engine.attempt.progress import INTERVAL_S, Tally
from dataferry.engine.attempt.retry import Retrier
from dataferry.engine.attempt.route import Route
from dataferry.engine.attempt.tags import Tags
from dataferry.engine.objects.hands import Hands
from dataferry.engine.objects.whole import send_whole
from dataferry.engine.rates.pause import Pause
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import Transfer

# What was sent is written down only after the report: it comes within this time, and one object.
MAX_AGE_S = 0.1
MAX_NOTES = 1_000
# First that it is ready, then, several times a second, that it is not stopped or stuck.
BEAT = b"."
# Of a worker's meter; how objects ended the parent counts itself.
COUNTED = ("bytes", "retransferred", "lost", "unresumed", "verified")
_LENGTH = struct.Struct("!I")


_FIELDS = tuple(field.name for field in fields(ObjectInfo))
_values = attrgetter(*_FIELDS)


def slips(rows: Sequence[ObjectRow]) -> list[tuple[Any, ...]]:
    """Write rows for a lane: what it needs of them, as tuples, which travel in a fifth of the time."""
    return [(row.ordinal, row.target_key, row.target_identity, *_values(row.source)) for row in rows]


def _row(ordinal: int, target_key: str, target_identity: str, *source: Any) -> ObjectRow:
    """Read a slip."""
    return ObjectRow(
        ordinal=ordinal,
        source=ObjectInfo(**dict(zip(_FIELDS, source, strict=True))),
        target_key=target_key,
        target_identity=target_identity,
        state=ObjectState.PENDING,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of the first of the objects that a lane was given.

    Attributes:
        outcomes: One for each object that was tried, in their order; the others were not begun.
        counted: What is to be added to the worker's meter.
        processor_s: That the thread took.
        notes: Events: kind and message.
    """

    outcomes: list[Finished | DataFerryError]
    counted: dict[str, int]
    processor_s: float
    notes: list[tuple[str, str]]


def send_message(sock: socket.socket, message: object) -> None:
    """Send something to the other process."""
    sock.sendall(packed(message))


def packed(message: object) -> bytes:
    """Write a message as it is sent."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)) + data


def receive_message(sock: socket.socket) -> Any:
    """Receive what the other process of ours sent; None if it has ended."""
    head = _exactly(sock, _LENGTH.size)
    data = None if head is None else _exactly(sock, _LENGTH.unpack(head)[0])
    return None if data is None else pickle.loads(data)  # noqa: S301 - from our own process, by a private socket


def _exactly(sock: socket.socket, count: int) -> bytes | None:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            return None
        data += piece
    return data


class _Notes:
    """The observer of a lane: what it is told goes out with the next report."""

    def __init__(self) -> None:
        self._notes: deque[tuple[str, str]] = deque(maxlen=MAX_NOTES)

    def progressed(self, progress: Progress) -> None:
        """Nothing: the parent counts."""

    def noted(self, kind: str, message: str) -> None:
        """Keep it."""
        self._notes.append((kind, message))

    def taken(self) -> list[tuple[str, str]]:
        """Give away what was kept."""
        return [self._notes.popleft() for _ in range(len(self._notes))]


class Lane:
    """Sends what it is given, for several workers at a time.

    Args:
        transfer: As the parent has it.
    """

    def __init__(self, transfer: Transfer) -> None:
        clock, halt = SystemClock(), Stop()
        self._notes = _Notes()
        self._course = Course(
            transfer=transfer,
            ledger=cast("Ledger", None),  # there is one writer, and it is not here
            attempt=Attempt(transfer_id=transfer.id, epoch=transfer.epoch),
            observer=self._notes,
            clock=clock,
            halt=halt,
            retrier=Retrier(transfer.limits, halt, Pause(clock, halt), self._notes),
            route=Route(transfer, self._notes),
            tally=Tally(Totals(), clock),
            tags=Tags(transfer, self._notes),
            bandwidth=None,
        )
        self._hands: list[Hands] = []

    def serve(self, sock: socket.socket) -> None:
        """Do as a worker's socket says until it is closed."""
        hands = Hands(self._course)
        self._hands.append(hands)
        try:
            with sock:
                while (given := receive_message(sock)) is not None:
                    send_message(sock, self._report(hands, [_row(*slip) for slip in given]))
        finally:
            self._hands.remove(hands)
            hands.connections.close()

    def watch(self, control: socket.socket) -> None:
        """End calls that stall, and tell the parent that somebody does, for ever."""
        while True:
            time.sleep(INTERVAL_S)
            with contextlib.suppress(OSError):  # it does not listen, or has ended: neither is this thread's
                control.send(BEAT, socket.MSG_DONTWAIT)
            now = self._course.clock.monotonic()
            for hands in tuple(self._hands):
                hands.look(now)

    def _report(self, hands: Hands, rows: list[ObjectRow]) -> Report:
        meter, begun, processor_s = hands.meter, time.monotonic(), time.thread_time()
        before = {name: getattr(meter, name) for name in COUNTED}
        outcomes: list[Finished | DataFerryError] = []
        for row in rows:
            try:
                outcomes.append(send_whole(hands, row))
            except DataFerryError as error:
                outcomes.append(error)
            if time.monotonic() - begun > MAX_AGE_S:
                break
        return Report(
            outcomes=outcomes,
            counted={name: getattr(meter, name) - count for name, count in before.items()},
            processor_s=time.thread_time() - processor_s,
            notes=self._notes.taken(),
        )


def main() -> None:
    """Serve on the socket that is the standard input, until the other end is closed."""
    control = socket.socket(fileno=0)
    transfer = receive_message(control)
    if transfer is None:
        return
    lane = Lane(transfer)
    control.sendall(BEAT)
    Thread(target=lane.watch, args=(control,), daemon=True).start()
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not descriptors:
            os._exit(0)  # at once, whatever the threads are at
        sock = socket.socket(fileno=descriptors[0])
        Thread(target=lane.serve, args=(sock,), daemon=True).start()
