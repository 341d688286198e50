"""How another thread makes a blocked call of a connection's owner fail."""

from __future__ import annotations

import socket
import threading

from dataferry.domain.errors import ConnectionFailedError


class SocketHandle:
    """Holds the socket of the moment, so that another thread can make its owner's calls fail at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self.is_shut = False

    def hold(self, sock: socket.socket | None) -> None:
        """Remember the socket in use.

        Raises:
            ConnectionFailedError: It was shut already: nothing may be dialled any more.
        """
        with self._lock:
            if self.is_shut:
                raise ConnectionFailedError("the connection was shut down by us")
            self._sock = sock

    def shut(self) -> None:
        """Shut the socket down, now and for good; its owner still closes it. Any thread."""
        with self._lock:
            self.is_shut = True
            sock = self._sock
        if sock is None:
            return
        try:
            # The plain socket's method: SSLSocket.shutdown would drop the TLS layer under a running read.
            # The descriptor is not closed here, or the reading thread could meet its number reused.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        except OSError:
            return  # not connected (any more): nothing is blocked on it
