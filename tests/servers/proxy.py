"""A TCP proxy on loopback whose faults can be changed while connections are open."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass, field

from dataferry.demo.processes import Running

PIECE_BYTES = 64 * 1024


@dataclass(slots=True)
class Faults:
    """What the proxy does to connections; each may be set at any moment.

    Attributes:
        rate_bytes_per_s: All connections together, each direction on its own; None is no bound.
        latency_s: Added before the first byte of each piece from the server.
        cut_up_after_bytes: A connection is reset once it has carried so many bytes to the server.
        cut_down_after_bytes: The same for bytes from the server.
        refuse: New connections are reset at once.
        blackhole: Bytes are accepted and go nowhere; nor does the other end hear of the connection's.
        flip_up_at_byte: One bit of that byte of a connection's, counted from 0, changes on its way to the
            server; of the first connection that has so many, then no more.
        flip_down_at_byte: The same for bytes from the server.
    """

    rate_bytes_per_s: float | None = None
    latency_s: float = 0.0
    cut_up_after_bytes: int | None = None
    cut_down_after_bytes: int | None = None
    refuse: bool = False
    blackhole: bool = False
    flip_up_at_byte: int | None = None
    flip_down_at_byte: int | None = None


@dataclass(slots=True)
class _Pace:
    """A rate that connections share."""

    next_at: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, size_bytes: int, rate_bytes_per_s: float | None, stopped: threading.Event) -> None:
        """Wait until so many bytes may pass."""
        if not rate_bytes_per_s:
            return
        with self.lock:
            now = time.monotonic()
            self.next_at = max(now, self.next_at) + size_bytes / rate_bytes_per_s
            pause = self.next_at - now
        stopped.wait(pause)


class Proxy(Running):
    """Forwards a free port of loopback to a server, counting the bytes both ways.

    Args:
        target_port: Where the server listens on loopback.
        faults: What goes wrong; nothing if None.
    """

    def __init__(self, target_port: int, faults: Faults | None = None) -> None:
        self.target_port = target_port
        self.faults = faults or Faults()
        self.bytes_up = 0
        self.bytes_down = 0
        self.connections = 0
        self.port = 0
        self._listener: socket.socket | None = None
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._up, self._down = _Pace(), _Pace()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    @property
    def endpoint_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen; on the same port again after a ``stop``."""
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept, self._listener)

    def stop(self) -> None:
        """Close everything and join the threads."""
        self._stopped.set()
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)
        self._threads.clear()

    def cut(self) -> None:
        """Reset every open connection."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for each in sockets:
            _reset(each)

    def _spawn(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopped.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            if self.faults.refuse:
                _reset(client)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port), timeout=10)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets |= {client, server}
            self._spawn(self._forward, client, server, True)  # noqa: FBT003 - the direction
            self._spawn(self._forward, server, client, False)  # noqa: FBT003 - the direction

    def _forward(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        """Carry one direction of one connection until it ends or a fault ends it."""
        carried = 0
        try:
            while piece := source.recv(PIECE_BYTES):
                (self._up if up else self._down).wait(len(piece), self.faults.rate_bytes_per_s, self._stopped)
                if self.faults.blackhole:
                    continue
                if not up and self.faults.latency_s:
                    self._stopped.wait(self.faults.latency_s)
                target.sendall(self._flipped(piece, carried, up=up))
                carried += len(piece)
                self._count(len(piece), up=up)
                limit = self.faults.cut_up_after_bytes if up else self.faults.cut_down_after_bytes
                if limit is not None and carried >= limit:
                    _reset(source)
                    _reset(target)
                    return
            if not self.faults.blackhole:
                target.shutdown(socket.SHUT_WR)
        except OSError:
            _reset(source)
            _reset(target)

    def _flipped(self, piece: bytes, carried: int, *, up: bool) -> bytes:
        """Change one bit, if its turn is in this piece."""
        name = "flip_up_at_byte" if up else "flip_down_at_byte"
        with self._lock:
            at = getattr(self.faults, name)
            if at is None or not carried <= at < carried + len(piece):
                return piece
            setattr(self.faults, name, None)
        spoiled = bytearray(piece)
        spoiled[at - carried] ^= 1
        return bytes(spoiled)

    def _count(self, size_bytes: int, *, up: bool) -> None:
        with self._lock:
            if up:
                self.bytes_up += size_bytes
            else:
                self.bytes_down += size_bytes


def _reset(connection: socket.socket) -> None:
    """Close at once; the other end sees a reset where bytes were pending."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        connection.close()
