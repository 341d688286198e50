"""An httpx client whose connections pass the egress guard: for control planes and other JSON partners."""

from __future__ import annotations

import select
import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx

from dataferry.domain.errors import ConnectionFailedError
from dataferry.domain.location import Provenance
from dataferry.net.connections import Network
from dataferry.net.routes import Proxy
from dataferry.net.tunnels import AUTHENTICATION_REQUIRED, refuse

_MAX_CONNECTIONS = 20
# An answer must be read within so many time-outs: one that drips would hold its reader for ever.
_EXCHANGE_TIMEOUTS = 2


def guarded_client(network: Network, provenance: Provenance, *, timeout_s: float) -> httpx.Client:
    """Return a client that dials through the guard, follows no redirect and reads no environment.

    ``EgressDeniedError`` and ``AddressError`` leave its calls as they are; what fails to connect is
    ``httpx.ConnectError``. The caller closes it.

    Args:
        network: Whose guard and certificates are used.
        provenance: Whose word the URLs are.
        timeout_s: For each of dialling, sending and waiting for bytes; a whole exchange may take twice that.
    """
    return httpx.Client(
        transport=_GuardedTransport(network, provenance, exchange_s=_EXCHANGE_TIMEOUTS * timeout_s),
        timeout=timeout_s,
        trust_env=False,
        follow_redirects=False,
    )


class _GuardedTransport(httpx.HTTPTransport):
    """httpx's own transport, on a pool that dials by our network."""

    def __init__(self, network: Network, provenance: Provenance, *, exchange_s: float) -> None:
        super().__init__(verify=network.authorities.context(), trust_env=False)
        self._network = network
        self._provenance = provenance
        self._exchange_s = exchange_s
        self._exchange = _Exchange()
        self._pool = httpcore.ConnectionPool(
            ssl_context=network.authorities.context(),
            max_connections=_MAX_CONNECTIONS,
            keepalive_expiry=5.0,
            network_backend=_GuardedBackend(network, provenance, self._exchange),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; from now on the clock runs for its answer, body included."""
        self._exchange.at = time.monotonic() + self._exchange_s
        url = request.url
        proxy = self._network.proxy_of(scheme=url.scheme, host=url.host, provenance=self._provenance)
        self._exchange.proxy, self._exchange.tunnels = proxy, url.scheme == "https"
        forwards = proxy is not None and url.scheme != "https"
        if proxy is not None and forwards:
            request.extensions = {**request.extensions, "target": str(url).encode("ascii")}
            if proxy.authorization is not None:
                request.headers["Proxy-Authorization"] = proxy.authorization
        response = super().handle_request(request)
        if proxy is not None and forwards and response.status_code == AUTHENTICATION_REQUIRED:
            response.close()
            refuse(proxy, url.netloc.decode("ascii"), response.status_code)
        return response


class _Exchange(threading.local):
    """The calling thread's exchange: when it has to end, in monotonic seconds, and which way it goes."""

    at: float | None = None
    proxy: Proxy | None = None
    tunnels: bool = False

    def bounded(self, timeout_s: float | None) -> float | None:
        """Return the time-out of one more step.

        Raises:
            TimeoutError: The exchange is over its time.
        """
        if self.at is None:
            return timeout_s
        left_s = self.at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the answer takes too long")
        return left_s if timeout_s is None else min(timeout_s, left_s)


class _GuardedBackend(httpcore.NetworkBackend):
    """Dials through the guard."""

    def __init__(self, network: Network, provenance: Provenance, exchange: _Exchange) -> None:
        self._network = network
        self._provenance = provenance
        self._exchange = exchange

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the interface's
        local_address: str | None = None,  # noqa: ARG002 - the interface's
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002 - the interface's
    ) -> httpcore.NetworkStream:
        """Dial; the pool has no say in where to."""
        try:
            exchange = self._exchange
            sock = self._network.reach(
                host, port, self._provenance, proxy=exchange.proxy, tunnels=exchange.tunnels
            )
            return _Stream(sock, exchange)
        except ConnectionFailedError as exc:
            raise httpcore.ConnectError(exc.message) from exc

    def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002 - as above
        timeout: float | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """Refuse: control planes are not local sockets."""
        raise httpcore.ConnectError("no unix sockets")

    def sleep(self, seconds: float) -> None:  # noqa: ARG002
        """Refuse: nothing is retried here."""
        raise httpcore.ConnectError("no retries")


class _Stream(httpcore.NetworkStream):
    """A connected socket, as the pool wants it."""

    def __init__(self, sock: Any, exchange: _Exchange) -> None:
        self._sock = sock
        self._exchange = exchange

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read some bytes."""
        try:
            self._sock.settimeout(self._exchange.bounded(timeout))
            return bytes(self._sock.recv(max_bytes))
        except TimeoutError as exc:
            raise httpcore.ReadTimeout(str(exc)) from exc
        except OSError as exc:
            raise httpcore.ReadError(str(exc)) from exc

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all bytes."""
        self._sock.settimeout(timeout)
        try:
            self._sock.sendall(buffer)
        except TimeoutError as exc:
            raise httpcore.WriteTimeout(str(exc)) from exc
        except OSError as exc:
            raise httpcore.WriteError(str(exc)) from exc

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Do the handshake."""
        self._sock.settimeout(timeout)
        try:
            secured = ssl_context.wrap_socket(self._sock, server_hostname=server_hostname)
            return _Stream(secured, self._exchange)
        except (OSError, ValueError) as exc:
            self._sock.close()
            raise httpcore.ConnectError(str(exc)) from exc

    def get_extra_info(self, info: str) -> Any:
        """Answer what the pool asks about the socket."""
        if info == "ssl_object" and isinstance(self._sock, ssl.SSLSocket):
            return self._sock
        if info == "socket":
            return self._sock
        if info == "is_readable":
            return _is_readable(self._sock)
        return None


def _is_readable(sock: Any) -> bool:
    """Say if an idle socket has something to read, i.e. was closed by the other side."""
    if sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))
