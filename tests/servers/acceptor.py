"""What small servers of the tests have in common: a port of loopback, and a thread for each connection."""

from __future__ import annotations

import contextlib
import socket
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Acceptor(ABC):
    """A server, as a context manager; at its end every connection is shut and every thread joined.

    Args:
        port: Where to listen; 0 is a free one.
    """

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.port: int = self._listener.getsockname()[1]

    @abstractmethod
    def serve(self, client: socket.socket) -> None:
        """Serve one connection; sockets that it opens are to be kept with ``keep``."""

    def keep(self, *sockets: socket.socket) -> None:
        """Have sockets shut in the end."""
        self._sockets += sockets

    def spawn(self, target: object, *arguments: object) -> None:
        """Run something in a thread that is joined in the end."""
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def __enter__(self) -> Self:
        self.spawn(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(5)
        for sock in self._sockets:
            shut(sock)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.keep(client)
            self.spawn(self.serve, client)


def forward(source: socket.socket, target: socket.socket) -> None:
    """Carry bytes one way until either side ends; then end both."""
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
    except (OSError, ValueError):
        pass
    finally:
        shut(source)
        shut(target)


def shut(sock: socket.socket) -> None:
    """Shut and close a socket, also one that is so already."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        sock.close()
