"""The egress guard: which hosts and addresses may be dialled, by whose word the place is.

What the operator configured is dialled as it is. What arrived in a message passes the guard: its name is
resolved once, every address it resolves to must be allowed, and those very addresses are dialled: a name
that answers differently a moment later changes nothing.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any

from dataferry.domain.errors import AddressError, ConfigError, ConnectionFailedError, EgressDeniedError
from dataferry.domain.location import Provenance

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[..., Iterable[tuple[Any, ...]]]

# Forms that carry an IPv4 address inside an IPv6 one: the network may deliver them to that address, so
# that checking the outer form alone would check nothing.
_EMBEDDING = tuple(
    ipaddress.ip_network(text)
    for text in (
        "::ffff:0:0/96",
        "::/96",
        "::ffff:0:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "2001::/32",
    )
)
# What `is_global` of some Python releases lets through.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(text)
    for text in (
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "fec0::/10",
        "100::/64",
        "3fff::/20",
        "5f00::/16",
    )
)
_MAX_HOST_CHARS = 253
# Names whose last label is a number: resolvers read some of them as addresses (127.1, 0x7f.1).
_NUMBER = re.compile(r"(?:^|\.)(?:0x[0-9a-f]*|[0-9]+)$")


class Reach(Enum):
    """What kind of place an address is."""

    PUBLIC = "public"
    PRIVATE = "private"
    SPECIAL = "special"


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """What places from outside may be.

    Attributes:
        allow: Host patterns (``*.example.com``) and networks (``10.2.0.0/16``) that are allowed though
            private. Link-local and other special addresses are allowed by a network only, never by a name.
        deny: Host patterns and networks that are refused; wins over ``allow``, but for ``*``, which means
            "all that is not in ``allow``".
        allow_private_networks: Private and loopback addresses are allowed; special ones stay refused.
        proxied: Host patterns that may be reached through the network's proxy, which resolves their names.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    allow_private_networks: bool = False
    proxied: tuple[str, ...] = ()


class EgressGuard:
    """Resolves hosts, and refuses those that the policy does not allow.

    Args:
        policy: What is allowed.
        resolve: Like ``socket.getaddrinfo``; tests put their own here.

    Raises:
        ConfigError: A pattern of the policy looks like a network and is none.
    """

    def __init__(self, policy: EgressPolicy | None = None, resolve: Resolver = socket.getaddrinfo) -> None:
        self.policy = policy or EgressPolicy()
        self._resolve = resolve
        self._allow_hosts, self._allow_networks = _split(self.policy.allow)
        self._deny_hosts, self._deny_networks = _split(
            pattern for pattern in self.policy.deny if pattern != "*"
        )
        self._only_allowed = "*" in self.policy.deny
        self._proxied, networks = _split(self.policy.proxied)
        if networks:
            raise ConfigError(f"[egress] proxied names hosts, and {networks[0]} is a network")

    def resolve(self, host: str, port: int, provenance: Provenance) -> tuple[tuple[str, int], ...]:
        """Return the addresses to dial for a host, each ``(ip, port)``, in the resolver's order.

        Raises:
            AddressError: The host or port cannot be one.
            EgressDeniedError: It is an external place that the policy refuses.
            ConnectionFailedError: The name does not resolve.
        """
        if not 0 < port < 65536:  # noqa: PLR2004 - the range of TCP ports
            raise AddressError(f"{port} is no TCP port")
        name = host.rstrip(".").lower()
        if not name or len(name) > _MAX_HOST_CHARS:
            raise AddressError("the host of an endpoint is empty or too long")
        external = provenance is Provenance.EXTERNAL
        if external and _matches(name, self._deny_hosts):
            raise EgressDeniedError(f"the egress policy refuses the host {name}")
        addresses = self._look_up(name, port)
        if external:
            for address in addresses:
                self._check(name, address)
        return tuple((str(address), port) for address in addresses)

    def is_proxied(self, host: str) -> bool:
        """Say if a place from outside goes through the network's proxy.

        Only its name can be looked at then: what the proxy resolves it to is the proxy's affair. So it must
        be a name with a dot that no resolver reads as an address, or be listed as it is.

        Raises:
            EgressDeniedError: It would, and the policy refuses the host.
        """
        name = host.rstrip(".").lower()
        if not _matches(name, self._proxied):
            return False
        unlisted = self._only_allowed and not _matches(name, self._allow_hosts)
        odd = ":" in name or _NUMBER.search(name) or ("." not in name and name not in self._proxied)
        if unlisted or odd or _matches(name, self._deny_hosts):
            raise EgressDeniedError(f"the egress policy refuses the host {name}")
        return True

    def _look_up(self, host: str, port: int) -> list[IpAddress]:
        """Ask the resolver once."""
        try:
            answers = list(self._resolve(host, port, type=socket.SOCK_STREAM))
        except UnicodeError as exc:
            raise AddressError(f"{host!r} is no host name") from exc
        except OSError as exc:
            raise ConnectionFailedError(f"the host {host} does not resolve: {exc.strerror or exc}") from exc
        addresses = list(dict.fromkeys(ipaddress.ip_address(answer[4][0]) for answer in answers))
        if not addresses:
            raise ConnectionFailedError(f"the host {host} has no address")
        return addresses

    def _check(self, host: str, address: IpAddress) -> None:
        """Refuse one address of an external host, or return."""
        inside = embedded(address)
        if any(_within(it, self._deny_networks) for it in (address, inside) if it is not None):
            raise EgressDeniedError(f"the egress policy refuses {address}, an address of {host}")
        if _within(address, self._allow_networks):
            return
        reach = reach_of(address)
        named = _matches(host, self._allow_hosts)
        if named and reach is not Reach.SPECIAL:
            return
        if reach is Reach.PRIVATE and self.policy.allow_private_networks and not self._only_allowed:
            return
        if reach is Reach.PUBLIC and not self._only_allowed:
            return
        raise EgressDeniedError(
            f"{host} is {address}, a {reach.value} address, and the egress policy does not allow it "
            "for places that arrive in messages ([egress] allow, allow_private_networks)"
        )


class HostPatterns:
    """Host patterns (``*.example.com``) and networks (``10.2.0.0/16``).

    Args:
        patterns: As written.

    Raises:
        ConfigError: One looks like a network and is none.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._hosts, self._networks = _split(patterns)

    def names(self, host: str) -> bool:
        """Say if a host is one of the patterns."""
        return _matches(host.rstrip(".").lower(), self._hosts)

    def covers(self, host: str) -> bool:
        """Say if a host is an address, and lies in one of the networks."""
        try:
            return _within(ipaddress.ip_address(host), self._networks)
        except ValueError:
            return False


def reach_of(address: IpAddress) -> Reach:
    """Say what kind of place an address is; only ``PUBLIC`` ones are open to places from outside.

    Source: IANA IPv4 and IPv6 Special-Purpose Address Registries.
    """
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return Reach.SPECIAL
    if address.is_loopback:
        return Reach.PRIVATE
    if _within(address, _EMBEDDING):
        return Reach.SPECIAL
    if isinstance(address, ipaddress.IPv4Address) and (address.is_reserved or address.packed[0] == 0):
        return Reach.SPECIAL
    if not address.is_global or address.is_reserved or _within(address, _NOT_PUBLIC):
        return Reach.PRIVATE
    return Reach.PUBLIC


def embedded(address: IpAddress) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 one carries (mapped, 6to4, NAT64, compatible), if any."""
    if isinstance(address, ipaddress.IPv4Address) or not _within(address, _EMBEDDING):
        return None
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    return ipaddress.IPv4Address(address.packed[-4:])


def _split(patterns: Iterable[str]) -> tuple[tuple[str, ...], tuple[IpNetwork, ...]]:
    """Part host patterns from networks; a bare address is a network of one."""
    hosts: list[str] = []
    networks: list[IpNetwork] = []
    for pattern in patterns:
        try:
            networks.append(ipaddress.ip_network(pattern, strict=False))
        except ValueError as exc:
            if "/" in pattern or ":" in pattern or not pattern:
                raise ConfigError(f"{pattern!r} is neither a host pattern nor a network") from exc
            hosts.append(pattern.rstrip(".").lower())
    return tuple(hosts), tuple(networks)


def _matches(host: str, patterns: tuple[str, ...]) -> bool:
    """Say if a host is one of the patterns."""
    return any(fnmatchcase(host, pattern) for pattern in patterns)


def _within(address: IpAddress, networks: Iterable[IpNetwork]) -> bool:
    """Say if an address lies in one of the networks; versions never mix."""
    return any(address.version == network.version and address in network for network in networks)
