"""A small HTTP proxy: CONNECT, and requests in absolute form; it alone knows where names lead."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from tests.servers.acceptor import Acceptor, forward

MAX_HEAD_BYTES = 65536


class HttpProxy(Acceptor):
    """The proxy, as a context manager.

    Args:
        ports: The ports of loopback that names lead to; a name that is not there can't be reached.
        authorization: What ``Proxy-Authorization`` must be; None asks for none.
        refused: Names that are refused.

    Attributes:
        asked: The first line of each request, in their order.
        heads: The whole heads.
    """

    def __init__(
        self,
        ports: Mapping[str, int],
        *,
        authorization: str | None = None,
        refused: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self._ports = ports
        self._authorization = authorization
        self._refused = refused
        self.asked: list[str] = []
        self.heads: list[str] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def serve(self, client: socket.socket) -> None:
        """Serve one connection: one tunnel, or one request that closes it."""
        with contextlib.suppress(OSError):
            head, rest = self._head(client)
            if head:
                self._answer(client, head, rest)
        with contextlib.suppress(OSError):
            client.close()

    def _head(self, client: socket.socket) -> tuple[str, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = client.recv(4096)
            if not piece or len(data) > MAX_HEAD_BYTES:
                return "", b""
            data += piece
        head, _, rest = data.partition(b"\r\n\r\n")
        return head.decode("latin-1"), rest

    def _answer(self, client: socket.socket, head: str, rest: bytes) -> None:
        line, *fields = head.split("\r\n")
        self.asked.append(line)
        self.heads.append(head)
        method, target, version = line.split(" ")
        tunnels = method == "CONNECT"
        host = target.rpartition(":")[0] if tunnels else urlsplit(target).hostname or ""
        given = next((it.partition(": ")[2] for it in fields if it.lower().startswith("proxy-auth")), None)
        if given != self._authorization:
            _reply(client, "407 Proxy Authentication Required")
        elif host in self._refused:
            _reply(client, "403 Forbidden")
        elif host not in self._ports:
            _reply(client, "502 Bad Gateway")
        else:
            server = socket.create_connection(("127.0.0.1", self._ports[host]), timeout=10)
            server.settimeout(None)
            self.keep(server)
            if tunnels:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                parts = urlsplit(target)
                path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
                kept = [it for it in fields if not it.lower().startswith(("proxy-", "connection:"))]
                lines = [f"{method} {path} {version}", *kept, "Connection: close", "", ""]
                server.sendall("\r\n".join(lines).encode("latin-1"))
            server.sendall(rest)
            self.spawn(forward, server, client)
            forward(client, server)


def _reply(client: socket.socket, status: str) -> None:
    client.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
