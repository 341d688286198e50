"""Connections that go where the egress guard allows, and nowhere else.

No proxies from the environment, no redirects followed, nothing retried.
"""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from functools import cached_property

from dataferry.domain.errors import AddressError, ConfigError, ConnectionFailedError
from dataferry.domain.location import Provenance
from dataferry.net.egress import EgressGuard
from dataferry.net.heads import write_head
from dataferry.net.replies import READ_AHEAD_BYTES, Inbox, PinnedResponse

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
    """

    def __init__(
        self,
        guard: EgressGuard | None = None,
        *,
        connect_timeout_s: float = 10.0,
        stall_timeout_s: float = 60.0,
        ca_file: str | None = None,
    ) -> None:
        self.guard = guard or EgressGuard()
        self.connect_timeout_s = connect_timeout_s
        self.stall_timeout_s = stall_timeout_s
        self._ca_file = ca_file

    def connect(
        self,
        *,
        scheme: str,
        host: str,
        port: int | None,
        provenance: Provenance,
        timeout_s: float | None = None,
    ) -> PinnedConnection:
        """Return a connection; it dials at its first request, and again at the next one after ``close``.

        Args:
            scheme: ``http`` or ``https``.
            host: Name or address, without brackets.
            port: None is the scheme's.
            provenance: Whose word the place is.
            timeout_s: No byte for this long fails a call; None is ``stall_timeout_s``.

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
        )

    @cached_property
    def tls_context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer, certificates and names checked; made when first needed."""
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        if self._ca_file is not None:
            try:
                context.load_verify_locations(cafile=self._ca_file)
            except OSError as exc:
                raise ConfigError(f"the CA file {self._ca_file} can't be read: {exc}") from exc
        return context

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


class PinnedConnection:
    """An HTTP/1.1 connection to the address that was checked, under the host's own name.

    ``shut()`` may be called from any thread, all else from its owner's only. A request may follow once the
    reply before it is read to its end.

    Attributes:
        sock: While it is dialled.
    """

    def __init__(
        self, network: Network, *, host: str, port: int, provenance: Provenance, tls: bool, timeout_s: float
    ) -> None:
        self.default_port = DEFAULT_PORTS["https" if tls else "http"]
        self.host = host
        self.port = port
        self.timeout = timeout_s
        self.sock: socket.socket | None = None
        self._network = network
        self._provenance = provenance
        self._tls = tls
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
        head = write_head(method, target, headers)
        if self._is_due:
            raise http.client.CannotSendRequest
        if self.sock is None:
            self.connect()
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
        """
        if self._inbox is None or not self._is_due:
            raise http.client.ResponseNotReady
        if self._held:
            self.send(b"")
        return PinnedResponse(self._inbox, self._method, self._settled)

    @property
    def is_answered(self) -> bool:
        """True if there is something to read, or the other side has closed."""
        if self._poll is None or self._inbox is None:
            return False
        return not self._inbox.is_empty or bool(self._poll.poll(0))

    def close(self) -> None:
        """Close it; the next request dials anew."""
        sock, self.sock, self._inbox, self._poll = self.sock, None, None, None
        self._held, self._is_due = b"", False
        if sock is not None:
            sock.close()

    def connect(self) -> None:
        """Dial, and wrap in TLS where the scheme says so.

        Raises:
            EgressDeniedError: The guard refuses the host.
            ConnectionFailedError: It can't be reached, or its certificate is not right.
        """
        sock = self._network.dial(self.host, self.port, self._provenance, handle=self._handle)
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
        self.sock, self._inbox, self._poll = sock, Inbox(sock), poll

    @property
    def is_shut(self) -> bool:
        """True once ``shut`` was called."""
        return self._handle.is_shut

    def shut(self) -> None:
        """Make a blocked call of the owner fail at once, and every later one too. Any thread."""
        self._handle.shut()

    def _send(self, data: Buffer) -> None:
        if self.sock is None:
            raise http.client.NotConnected
        self.sock.sendall(data)

    def _settled(self, is_good: bool) -> None:
        """The reply has ended."""
        self._is_due = False
        if not is_good:
            self.close()

    def _wrap(self, sock: socket.socket) -> socket.socket:
        """Do the TLS handshake under the host's name."""
        name = self.host.rstrip(".")
        try:
            return self._network.tls_context.wrap_socket(sock, server_hostname=name)
        except ssl.SSLCertVerificationError as exc:
            raise ConnectionFailedError(
                f"the certificate of {self.host}:{self.port} is not trusted: {exc.verify_message}"
            ) from exc
        except (OSError, ValueError) as exc:
            raise ConnectionFailedError(f"no TLS connection to {self.host}:{self.port}: {exc}") from exc
