"""Connections that go where the egress guard allows, and nowhere else.

No environment is read, no redirects followed, nothing retried.
"""

from __future__ import annotations

import http.client
import select
import socket
import time
from collections.abc import Mapping
from copy import copy
from dataclasses import replace

from dataferry.domain.errors import AddressError, ConnectionFailedError
from dataferry.domain.location import Provenance
from dataferry.net import at_once
from dataferry.net.egress import EgressGuard
from dataferry.net.handles import SocketHandle
from dataferry.net.heads import write_head
from dataferry.net.replies import READ_AHEAD_BYTES, Inbox, PinnedResponse
from dataferry.net.routes import NO_PROXIES, USUAL, Proxies, Proxy, Route
from dataferry.net.trust import Authorities, tls_failure
from dataferry.net.tunnels import AUTHENTICATION_REQUIRED, forwarded, open_tunnel, refuse

DEFAULT_PORTS = {"http": 80, "https": 443}
Buffer = bytes | bytearray | memoryview


class Network:
    """Opens connections to hosts by their names, to the addresses that the guard returned.

    One for a process is enough; any thread may use it.

    Args:
        guard: Decides about places from outside; the default refuses private networks for them.
        connect_timeout_s: To dial all addresses of a host together, TLS apart.
        stall_timeout_s: Default for how long a connection may give or take no byte.
        ca_file: PEM file of certificate authorities trusted beside the system's.
        proxies: What goes between, for places that the operator names.
    """

    def __init__(
        self,
        guard: EgressGuard | None = None,
        *,
        connect_timeout_s: float = 10.0,
        stall_timeout_s: float = 60.0,
        ca_file: str | None = None,
        proxies: Proxies = NO_PROXIES,
    ) -> None:
        self.guard = guard or EgressGuard()
        self.connect_timeout_s = connect_timeout_s
        self.stall_timeout_s = stall_timeout_s
        self.authorities = Authorities(ca_file)
        self.proxies = proxies

    def with_stall_timeout(self, stall_timeout_s: float) -> Network:
        """Return the same network, less patient with connections that give or take no byte."""
        other = copy(self)
        other.stall_timeout_s = stall_timeout_s
        return other

    def connect(
        self,
        *,
        scheme: str,
        host: str,
        port: int | None,
        provenance: Provenance,
        timeout_s: float | None = None,
        route: Route = USUAL,
    ) -> PinnedConnection:
        """Return a connection; it dials at its first request, and again at the next one after ``close``.

        Args:
            scheme: ``http`` or ``https``.
            host: Name or address, without brackets.
            port: None is the scheme's.
            provenance: Whose word the place is.
            timeout_s: No byte for this long fails a call; None is ``stall_timeout_s``.
            route: What the operator says about the way to this place; of no effect for places from outside.

        Raises:
            AddressError: The scheme is another one.
        """
        if scheme not in DEFAULT_PORTS:
            raise AddressError(f"endpoints are http or https, not {scheme[:20]!r}")
        return PinnedConnection(
            self,
            host=host,
            port=port or DEFAULT_PORTS[scheme],
            provenance=provenance,
            tls=scheme == "https",
            timeout_s=self.stall_timeout_s if timeout_s is None else timeout_s,
            route=route if provenance is Provenance.OPERATOR else USUAL,
        )

    def proxy_of(
        self, *, scheme: str, host: str, provenance: Provenance, route: Route = USUAL
    ) -> Proxy | None:
        """Return the proxy that a host is reached through, None if it is dialled.

        Raises:
            ConfigError: There is one, and it can't be used.
            EgressDeniedError: It is a place from outside that the policy does not let a proxy reach.
        """
        if provenance is Provenance.EXTERNAL:
            proxy = self.proxies.of(scheme, host) if self.guard.is_proxied(host) else None
            return None if proxy is None else replace(proxy, is_discreet=True)
        if route.is_direct or route.proxy is not None:
            return route.proxy
        return self.proxies.of(scheme, host)

    def reach(
        self,
        host: str,
        port: int,
        provenance: Provenance,
        *,
        proxy: Proxy | None,
        tunnels: bool,
        handle: SocketHandle | None = None,
    ) -> socket.socket:
        """Open a TCP connection to a host, or to the proxy in between.

        Args:
            host: Name or address.
            port: TCP port.
            provenance: Whose word the place is.
            proxy: As of ``proxy_of``.
            tunnels: The proxy is to connect us with the host; else it is told the host by each request.
            handle: As of ``dial``.

        Raises:
            ConfigError, EgressDeniedError, ConnectionFailedError: It can't be.
        """
        if proxy is None:
            return self.dial(host, port, provenance, handle=handle)
        try:
            # The proxy is the operator's word, whoever named the host behind it.
            sock = self.dial(proxy.host, proxy.port, Provenance.OPERATOR, handle=handle)
        except ConnectionFailedError as exc:
            raise ConnectionFailedError(f"{proxy} can't be reached") from exc
        try:
            if tunnels:
                open_tunnel(sock, proxy, host, port, timeout_s=self.stall_timeout_s)
        except BaseException:
            sock.close()
            raise
        return sock

    def dial(
        self, host: str, port: int, provenance: Provenance, *, handle: SocketHandle | None = None
    ) -> socket.socket:
        """Open a TCP connection to the first of the host's allowed addresses that answers.

        Args:
            host: Name or address.
            port: TCP port.
            provenance: Whose word the place is.
            handle: Told of each socket before it is dialled, so that another thread can shut it.

        Raises:
            EgressDeniedError: The guard refuses it.
            ConnectionFailedError: No address answers within ``connect_timeout_s``.
        """
        deadline = time.monotonic() + self.connect_timeout_s
        problem: OSError | None = None
        for address in self.guard.resolve(host, port, provenance):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM)
            try:
                if handle is not None:
                    handle.hold(sock)
                sock.settimeout(remaining)
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as exc:
                sock.close()
                problem = exc
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        reason = (
            "timed out"
            if problem is None or isinstance(problem, TimeoutError)
            else problem.strerror or problem
        )
        raise ConnectionFailedError(f"can't connect to {host}:{port}: {reason}") from problem


class PinnedConnection:
    """An HTTP/1.1 connection to the address that was checked, under the host's own name.

    ``shut()`` may be called from any thread, all else from its owner's only. A request may follow once the
    reply before it is read to its end.

    Attributes:
        sock: While it is dialled.
    """

    def __init__(
        self,
        network: Network,
        *,
        host: str,
        port: int,
        provenance: Provenance,
        tls: bool,
        timeout_s: float,
        route: Route = USUAL,
    ) -> None:
        self.default_port = DEFAULT_PORTS["https" if tls else "http"]
        self.host = host
        self.port = port
        self.timeout = timeout_s
        self.sock: socket.socket | None = None
        self._network = network
        self._provenance = provenance
        self._tls = tls
        self._route = route
        self._proxy: Proxy | None = None
        self._handle = SocketHandle()
        self._inbox: Inbox | None = None
        self._poll: select.poll | None = None
        self._method = ""
        self._is_due = False
        self._held = b""

    def send_head(
        self, method: str, target: str, headers: Mapping[str, str], *, with_body: bool = False
    ) -> None:
        """Send the head of a request, dialling first where needed.

        Args:
            method: E.g. ``GET``.
            target: Path and query, encoded.
            headers: All of them, ``Host`` included.
            with_body: It goes out with the next bytes that are sent: a small object is one packet less.

        Raises:
            ValueError: Something has characters that a head can't have.
            CannotSendRequest: A reply is due, or its body is not read.
            OSError, DataFerryError: It can't be sent; the connection is of no use any more.
        """
        if self._is_due:
            raise http.client.CannotSendRequest
        if self.sock is None:
            self.connect()
        if self._forwards is not None:
            target, headers = forwarded(self._forwards, target, headers)
        head = write_head(method, target, headers)
        self._method, self._is_due = method, True
        if with_body:
            self._held = head
        else:
            self._send(head)

    def send(self, data: Buffer) -> None:
        """Send bytes of a body, after the head that is held back.

        Raises:
            NotConnected: There is no connection (any more).
            OSError: It can't be sent.
        """
        held, self._held = self._held, b""
        if held and len(data) <= READ_AHEAD_BYTES:
            data = b"".join((held, data))
        elif held:
            self._send(held)
        self._send(data)

    def getresponse(self) -> PinnedResponse:
        """Read the head of the reply.

        Raises:
            ResponseNotReady: None is due.
            TimeoutError: It does not come in time.
            HTTPException: It is no head, or longer than allowed.
            ConfigError: A proxy in between wants other credentials.
        """
        if self._inbox is None or not self._is_due:
            raise http.client.ResponseNotReady
        if self._held:
            self.send(b"")
        response = PinnedResponse(self._inbox, self._method, self._settled)
        if self._forwards is not None and response.status == AUTHENTICATION_REQUIRED:
            response.close()
            refuse(self._forwards, f"{self.host}:{self.port}", response.status)
        return response

    @property
    def is_answered(self) -> bool:
        """True if there is something to read, or the other side has closed."""
        if self.sock is None or self._inbox is None or self._poll is None:
            return False
        if not self._inbox.is_empty:
            return True
        return bool(self._poll.poll(0)) if self._tls else at_once.has_news(self.sock)

    def close(self) -> None:
        """Close it; the next request dials anew."""
        sock, self.sock, self._inbox, self._poll = self.sock, None, None, None
        self._held, self._is_due = b"", False
        if sock is not None:
            sock.close()

    def connect(self) -> None:
        """Dial, and wrap in TLS where the scheme says so.

        Raises:
            EgressDeniedError: The guard, or a proxy, refuses the host.
            UntrustedCertificateError: Its certificate is not right.
            ConfigError: A CA file can't be read, or a proxy not be used.
            ConnectionFailedError: It can't be reached.
        """
        scheme = "https" if self._tls else "http"
        self._proxy = self._network.proxy_of(
            scheme=scheme, host=self.host, provenance=self._provenance, route=self._route
        )
        sock = self._network.reach(
            self.host,
            self.port,
            self._provenance,
            proxy=self._proxy,
            tunnels=self._tls,
            handle=self._handle,
        )
        try:
            sock.settimeout(self.timeout)
            if self._tls:
                sock = self._wrap(sock)
            self._handle.hold(sock)
            poll = select.poll()
            poll.register(sock.fileno(), select.POLLIN)
        except BaseException:
            sock.close()
            raise
        self.sock, self._inbox, self._poll = sock, Inbox(sock, self.timeout), poll

    @property
    def is_shut(self) -> bool:
        """True once ``shut`` was called."""
        return self._handle.is_shut

    def shut(self) -> None:
        """Make a blocked call of the owner fail at once, and every later one too. Any thread."""
        self._handle.shut()

    @property
    def _forwards(self) -> Proxy | None:
        """The proxy that is told the host by each request; through a tunnel it is not."""
        return None if self._tls else self._proxy

    def _send(self, data: Buffer) -> None:
        if self.sock is None:
            raise http.client.NotConnected
        try:
            sent = 0
            if len(data) <= at_once.MAX_BYTES and not self._tls:
                sent = at_once.send(self.sock, bytes(data))
            if sent < len(data):
                self.sock.sendall(data[sent:])
        except BlockingIOError as exc:
            raise TimeoutError("no byte was taken for too long") from exc

    def _settled(self, is_good: bool) -> None:
        """The reply has ended."""
        self._is_due = False
        if not is_good:
            self.close()

    def _wrap(self, sock: socket.socket) -> socket.socket:
        """Do the TLS handshake under the host's name."""
        context = self._network.authorities.context(self._route.ca_file)
        try:
            return context.wrap_socket(sock, server_hostname=self.host.rstrip("."))
        except (OSError, ValueError) as exc:
            raise tls_failure(exc, self.host, self.port) from exc
