"""Where a broker is, how it is reached, and what its refusals mean; without the client for MQTT."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from dataferry.domain.errors import ConfigError, ConnectionFailedError, DataFerryError, UnauthorizedError
from dataferry.domain.location import Provenance
from dataferry.net.connections import Network
from dataferry.net.handles import SocketHandle
from dataferry.net.trust import tls_failure

# For TLS, and then for the answer to CONNECT.
CONNECT_TIMEOUT_S = 10.0
# What the kernel holds for a slow broker is old when it is read, and what comes after waits behind it.
SEND_BUFFER_BYTES = 64 * 1024
DOUBTS = ": is it an MQTT broker, does it speak this version (mqtt.version), does it expect TLS (mqtts://)?"
_CREDENTIALS = frozenset({"Bad user name or password", "Not authorized", "Bad authentication method"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where a broker is, and how this plane is known there.

    Attributes:
        is_tls: ``mqtts``.
        is_v5: MQTT 5.0; else 3.1.1.
        certificate, key: PEM files that are shown to the broker.
    """

    host: str
    port: int
    is_tls: bool
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    certificate: str | None = None
    key: str | None = None
    keepalive_s: int = 60
    is_v5: bool = True

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"broker {host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to publish.

    Attributes:
        expires_after_s: For how long a broker of MQTT 5.0 keeps it; None: for ever.
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    expires_after_s: int | None = None


def dialled(broker: Broker, network: Network, handle: SocketHandle) -> socket.socket:
    """Reach a broker as any place that the operator names; TLS is checked against its name.

    Args:
        broker: Which.
        network: The way out.
        handle: Told of the socket, so that another thread can shut it.

    Raises:
        ConfigError: A file or a proxy can't be used.
        UntrustedCertificateError: Its certificate is not right.
        ConnectionFailedError: It can't be reached.
    """
    context = None
    if broker.is_tls:
        context = network.authorities.showing(broker.certificate, broker.key, ca_file=broker.ca_file)
    sock = network.reach(
        broker.host,
        broker.port,
        Provenance.OPERATOR,
        # A tunnel either way: no proxy forwards what is not HTTP.
        proxy=network.proxy_of(scheme="https", host=broker.host, provenance=Provenance.OPERATOR),
        tunnels=True,
        handle=handle,
    )
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        sock.settimeout(CONNECT_TIMEOUT_S)
        if context is not None:
            try:
                sock = context.wrap_socket(sock, server_hostname=broker.host.rstrip("."))
            except (OSError, ValueError) as exc:
                raise tls_failure(exc, broker.host, broker.port) from exc
        handle.hold(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def refused(broker: Broker, reason: str) -> DataFerryError:
    """Return what a refusal of CONNECT means, with the way out.

    Args:
        broker: Whose.
        reason: The name of its reason code, as MQTT 5.0 has it.
    """
    if reason in _CREDENTIALS:
        return UnauthorizedError(
            f"{broker} refuses our credentials ({reason}): check mqtt.username, mqtt.password and"
            " mqtt.client_certificate"
        )
    if reason == "Unsupported protocol version":
        other = "3.1.1" if broker.is_v5 else "5"
        return ConfigError(f'{broker} does not speak this version of MQTT: set mqtt.version = "{other}"')
    if reason == "Client identifier not valid":
        return ConfigError(f"{broker} does not take the client id: set mqtt.client_id")
    return ConnectionFailedError(f"{broker} refuses the connection: {reason}")


def lost(broker: Broker, *, is_taken: bool, why: str | None) -> DataFerryError:
    """Return why a connection is over.

    Args:
        broker: With whom.
        is_taken: Whether the broker had answered to CONNECT.
        why: What it said; None if nothing.
    """
    if not is_taken:
        return ConnectionFailedError(f"{broker} ended the connection at once{DOUBTS}")
    if why == "Session taken over":
        return ConnectionFailedError(
            f"{broker}: another client came with our client id: give each its own mqtt.client_id"
        )
    return ConnectionFailedError(f"{broker} ended the connection: {why or 'without a word'}")
