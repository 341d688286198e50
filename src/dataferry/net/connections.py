"""Connections that go where the egress guard allows, and nowhere else.

Standard library ``http.client``: no proxies from the environment, no redirects followed, nothing retried.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any, cast

from dataferry.domain.errors import AddressError, ConfigError, ConnectionFailedError
from dataferry.domain.location import Provenance
from dataferry.net.egress import EgressGuard
from dataferry.net.heads import closes, read_head, write_fields

DEFAULT_PORTS = {"http": 80, "https": 443}
# A reply's head must be whole within so many stall time-outs: a byte now and then is no stall.
HEAD_STALLS = 2
# A small object comes with its head in one read.
READ_AHEAD_BYTES = 32 * 1024
BODYLESS = frozenset({*range(100, 200), 204, 304})  # statuses whose replies have no body


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


class _TimedReader(io.RawIOBase):
    """A socket's bytes, optionally until a deadline: a time-out alone never ends a server that drips."""

    def __init__(self, inner: io.RawIOBase, sock: socket.socket) -> None:
        self._inner = inner
        self._sock = sock
        self.deadline: float | None = None

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return a buffer on top: all that ``http.client`` wants of a socket."""
        return io.BufferedReader(self, READ_AHEAD_BYTES)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        """Read some bytes.

        Raises:
            TimeoutError: None came for too long, or the deadline is over.
        """
        if self.deadline is None:
            return self._inner.readinto(buffer)
        usual_s = self._sock.gettimeout()
        left_s = self.deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the reply takes too long")
        if usual_s is not None and usual_s <= left_s:
            return self._inner.readinto(buffer)  # setting time-outs costs system calls
        self._sock.settimeout(left_s)
        try:
            return self._inner.readinto(buffer)
        finally:
            self._sock.settimeout(usual_s)

    def close(self) -> None:
        """Close the reading side."""
        self._inner.close()
        super().close()


class PinnedResponse(http.client.HTTPResponse):
    """A reply whose head must come in time, and whose body can be made to."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        self._timed = _TimedReader(sock.makefile("rb", buffering=0), sock)
        self._stall_s = sock.gettimeout()
        self._is_bodyless = options.get("method") == "HEAD"
        super().__init__(cast("socket.socket", self._timed), *args, **options)

    def begin(self) -> None:
        """Read the head.

        Raises:
            TimeoutError: It is not whole in time.
            HTTPException: It is no head, or longer than allowed.
        """
        self.limit(HEAD_STALLS)
        self.version, self.status, self.reason, self.headers = read_head(self.fp)
        self._timed.deadline = None
        self.code, self.msg = self.status, self.headers
        self.chunked = (self.headers.get("transfer-encoding") or "").lower() == "chunked"
        self.chunk_left = None
        self.length = None if self.chunked else self._announced()
        if self._is_bodyless or self.status in BODYLESS:
            self.length = 0
        endless = self.length is None and not self.chunked
        self.will_close = endless or closes(self.version, self.headers)

    def _announced(self) -> int | None:
        """Return the body's length; None if it goes on until the connection ends."""
        try:
            length = int(self.headers.get("content-length") or "-1")
        except ValueError:
            return None
        return None if length < 0 else length

    def limit(self, stalls: float) -> None:
        """Let reading end with ``TimeoutError`` after so many stall time-outs from now."""
        if self._stall_s is not None:
            self._timed.deadline = time.monotonic() + stalls * self._stall_s


class PinnedConnection(http.client.HTTPConnection):
    """An HTTP/1.1 connection to the address that was checked, under the host's own name.

    ``shut()`` may be called from any thread, all else from its owner's only.
    """

    response_class = PinnedResponse

    def __init__(
        self, network: Network, *, host: str, port: int, provenance: Provenance, tls: bool, timeout_s: float
    ) -> None:
        self.default_port = DEFAULT_PORTS["https" if tls else "http"]
        super().__init__(host, port, timeout=timeout_s)
        self._network = network
        self._provenance = provenance
        self._tls = tls
        self._timeout_s = timeout_s
        self._handle = SocketHandle()
        self._fields = b""
        self._holds = False
        self._held = b""

    def send_head(
        self, method: str, target: str, headers: Mapping[str, str], *, with_body: bool = False
    ) -> None:
        """Send the head of a request.

        Args:
            method: E.g. ``GET``.
            target: Path and query, encoded.
            headers: All of them, ``Host`` included.
            with_body: It goes out with the next bytes that are sent: a small object is one packet less.

        Raises:
            ValueError: Something has characters that a head can't have.
            OSError, DataFerryError: It can't be sent; the connection is of no use any more.
        """
        fields = write_fields(headers)
        self.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        self._fields, self._holds = fields, with_body
        self.endheaders()

    def send(self, data: Any) -> None:
        """Send bytes, after the head that is held back."""
        if self._fields:
            # The request line and the blank line, from ``endheaders``: the fields go between them.
            data, self._fields = data[:-2] + self._fields + data[-2:], b""
            if self._holds:
                if self.sock is None:
                    self.connect()
                self._holds, self._held = False, data
                return
        held, self._held = self._held, b""
        if held and len(data) <= READ_AHEAD_BYTES:
            super().send(b"".join((held, data)))
            return
        if held:
            super().send(held)
        super().send(data)

    def close(self) -> None:
        """Close it; the next request dials anew."""
        self._fields, self._holds, self._held = b"", False, b""
        super().close()

    def connect(self) -> None:
        """Dial, and wrap in TLS where the scheme says so.

        Raises:
            EgressDeniedError: The guard refuses the host.
            ConnectionFailedError: It can't be reached, or its certificate is not right.
        """
        sock = self._network.dial(self.host, self.port, self._provenance, handle=self._handle)
        try:
            sock.settimeout(self._timeout_s)
            if self._tls:
                sock = self._wrap(sock)
            self._handle.hold(sock)
        except BaseException:
            sock.close()
            raise
        self.sock = sock

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

    def getresponse(self) -> PinnedResponse:
        """Read the head of the reply."""
        if self._held:
            self.send(b"")
        return cast("PinnedResponse", super().getresponse())

    @property
    def is_shut(self) -> bool:
        """True once ``shut`` was called."""
        return self._handle.is_shut

    def shut(self) -> None:
        """Make a blocked call of the owner fail at once, and every later one too. Any thread."""
        self._handle.shut()
