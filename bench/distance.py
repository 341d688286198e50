"""A TCP proxy that puts a distance before a server: bytes arrive later than they were sent, none is slowed.

Run as a program: ``distance.py LISTENER_FD TARGET_PORT ONE_WAY_MS``; it ends with its standard input. Both
directions are delayed by as much, and the first bytes of a connection by a round trip more, which is what the
handshake with a distant server takes. What is in flight is bounded for each connection and direction, as it
is by the windows of real ones.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import time
from collections import deque

PIECE_BYTES = 1024 * 1024
# In flight in one direction of one connection: what a window of Linux' defaults lets through unacknowledged.
WINDOW_BYTES = 6 * 1024 * 1024


class Leg:
    """One direction of one connection.

    Args:
        source: Where bytes come from.
        target: Where they go.
        delay_s: How much later.
        opens_at: When the connection would be there.
    """

    def __init__(self, source: socket.socket, target: socket.socket, delay_s: float, opens_at: float) -> None:
        self.source = source
        self.target = target
        self._delay_s = delay_s
        self._opens_at = opens_at
        self._flying: deque[tuple[float, memoryview]] = deque()
        self._bytes = 0
        self.ended = False
        self.done = False

    @property
    def due_at(self) -> float | None:
        """When the next bytes arrive; None if none are on their way."""
        return self._flying[0][0] if self._flying else None

    @property
    def has_room(self) -> bool:
        """Whether more may be on their way."""
        return not self.ended and self._bytes < WINDOW_BYTES

    def read(self) -> None:
        """Take what the source has sent."""
        try:
            piece = self.source.recv(PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        self._flying.append((max(time.monotonic(), self._opens_at) + self._delay_s, memoryview(piece)))
        self._bytes += len(piece)
        self.ended = not piece

    def write(self, now: float) -> bool:
        """Deliver what has arrived; False if the target takes no more now."""
        while self._flying and self._flying[0][0] <= now:
            at, piece = self._flying[0]
            if not piece:
                with contextlib.suppress(OSError):
                    self.target.shutdown(socket.SHUT_WR)
                self._flying.clear()
                self.done = True
                return True
            try:
                sent = self.target.send(piece)
            except BlockingIOError:
                return False
            except OSError:
                self._flying.clear()
                self.ended = self.done = True
                return True
            self._bytes -= sent
            if sent < len(piece):
                self._flying[0] = (at, piece[sent:])
                return False
            self._flying.popleft()
        return True


class Distance:
    """All connections, in one thread.

    Args:
        listener: Where clients come in.
        target_port: Of the server, on loopback.
        delay_s: One way.
    """

    def __init__(self, listener: socket.socket, target_port: int, delay_s: float) -> None:
        self._listener = listener
        self._target_port = target_port
        self._delay_s = delay_s
        self._poll = select.epoll()
        self._legs: dict[int, tuple[Leg, Leg]] = {}
        self._masks: dict[int, int] = {}
        self._blocked: set[int] = set()
        listener.settimeout(0)
        self._poll.register(listener, select.EPOLLIN)
        self._poll.register(sys.stdin, select.EPOLLIN | select.EPOLLHUP)

    def run(self) -> None:
        """Forward until our standard input ends."""
        while True:
            due = [
                leg.due_at
                for leg, _ in self._legs.values()
                if leg.due_at is not None and not self._is_blocked(leg)
            ]
            wait_s = max(0.0, min(due) - time.monotonic()) if due else -1
            for number, events in self._poll.poll(wait_s):
                if number == self._listener.fileno():
                    self._accept()
                elif number == sys.stdin.fileno():
                    return
                elif number in self._legs:
                    self._ready(number, events)
            self._deliver()

    def _is_blocked(self, leg: Leg) -> bool:
        return leg.target.fileno() in self._blocked

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target_port))
                opens_at = time.monotonic() + 2 * self._delay_s
                up = Leg(client, server, self._delay_s, opens_at)
                down = Leg(server, client, self._delay_s, opens_at)
                for leg, other in ((up, down), (down, up)):
                    leg.source.settimeout(0)
                    leg.source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    number = leg.source.fileno()
                    self._legs[number] = (leg, other)
                    self._masks[number] = select.EPOLLIN
                    self._poll.register(number, select.EPOLLIN)

    def _ready(self, number: int, events: int) -> None:
        leg, _ = self._legs[number]
        if events & select.EPOLLOUT:
            self._blocked.discard(number)
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and leg.has_room:
            leg.read()
        self._watch(number)

    def _deliver(self) -> None:
        now = time.monotonic()
        for number, (leg, other) in list(self._legs.items()):
            if leg.due_at is None or leg.due_at > now or self._is_blocked(leg):
                continue
            target = leg.target.fileno()
            if not leg.write(now):
                self._blocked.add(target)
            if leg.done and other.done:
                self._forget(leg)
            else:
                self._watch(number)
                self._watch(target)

    def _watch(self, number: int) -> None:
        leg, _ = self._legs[number]
        mask = (select.EPOLLIN if leg.has_room else 0) | (select.EPOLLOUT if number in self._blocked else 0)
        if mask != self._masks[number]:
            self._masks[number] = mask
            self._poll.modify(number, mask)

    def _forget(self, leg: Leg) -> None:
        for end in (leg.source, leg.target):
            self._poll.unregister(end.fileno())
            del self._legs[end.fileno()], self._masks[end.fileno()]
            self._blocked.discard(end.fileno())
        leg.source.close()
        leg.target.close()


def main() -> None:
    """Forward until our starter ends."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    Distance(listener, int(sys.argv[2]), float(sys.argv[3]) / 1000).run()


if __name__ == "__main__":
    main()
