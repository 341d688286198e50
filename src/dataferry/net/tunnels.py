"""Requests through an HTTP proxy: by a tunnel where they are encrypted, else as the proxy forwards them.

Source: RFC 9110, section 9.3.6, "CONNECT"; RFC 9112, section 3.2.2, "absolute-form".
"""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Mapping

from dataferry.domain.errors import ConfigError, ConnectionFailedError, EgressDeniedError
from dataferry.net.heads import read_head
from dataferry.net.routes import Proxy

# A proxy's answer is some lines; one that never ends would be read for ever.
MAX_ANSWER_BYTES = 16 * 1024
AUTHENTICATION_REQUIRED = 407
_OK = range(200, 300)
_LATER = frozenset({408, 429, *range(500, 600)})


def open_tunnel(sock: socket.socket, proxy: Proxy, host: str, port: int, *, timeout_s: float) -> None:
    """Ask a proxy, which is dialled, to connect the socket with a host.

    Args:
        sock: To the proxy; afterwards to the host.
        proxy: Which.
        host: Name or address, without brackets.
        port: The host's.
        timeout_s: For the proxy's whole answer.

    Raises:
        ConfigError: It wants other credentials.
        EgressDeniedError: It refuses.
        ConnectionFailedError: It can't reach the host, or does not answer as a proxy.
    """
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    try:
        sock.settimeout(timeout_s)
        sock.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii"))
        _, status, _, _ = read_head(_Answer(sock, time.monotonic() + timeout_s))
    except TimeoutError as exc:
        raise ConnectionFailedError(f"{proxy} does not answer") from exc
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise ConnectionFailedError(
            f"{proxy} does not answer as an HTTP proxy: {type(exc).__name__}"
        ) from exc
    if status in _OK:
        return
    refuse(proxy, target, status)


def forwarded(proxy: Proxy, target: str, headers: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
    """Return target and headers of a request that a proxy is to forward; ``Host`` is among the headers."""
    own = {} if proxy.authorization is None else {"Proxy-Authorization": proxy.authorization}
    return f"http://{headers['Host']}{target}", {**headers, **own}


def refuse(proxy: Proxy, target: str, status: int) -> None:
    """Raise what a proxy's status means.

    Raises:
        ConfigError, EgressDeniedError, ConnectionFailedError: As of ``open_tunnel``.
    """
    if status == AUTHENTICATION_REQUIRED:
        wants = "other credentials" if proxy.authorization else "credentials"
        raise ConfigError(f"{proxy} wants {wants}: set proxy_username and proxy_password")
    if status in _LATER:
        raise ConnectionFailedError(f"{proxy} can't reach {target}: HTTP {status}")
    raise EgressDeniedError(f"{proxy} refuses to connect to {target}: HTTP {status}")


class _Answer:
    """Reads lines byte by byte: what follows the answer belongs to the host's TLS."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline
        self._left = MAX_ANSWER_BYTES

    def readline(self, limit: int, /) -> bytes:
        """Return a line with its end; shorter at the end of the connection, or at a bound."""
        line = b""
        while not line.endswith(b"\n") and len(line) < limit and self._left > 0:
            left_s = self._deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("the proxy's answer takes too long")
            self._sock.settimeout(left_s)
            byte = self._sock.recv(1)
            if not byte:
                break
            line += byte
            self._left -= 1
        return line
