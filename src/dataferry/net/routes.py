"""How a place is reached where its operator says so: authorities to trust, and a proxy in between.

A proxy resolves names itself, so that the egress guard can't pin what it dials: places from outside go
through one only where the operator named their host for it.
"""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from dataferry.domain.errors import ConfigError
from dataferry.net.egress import HostPatterns

DEFAULT_PROXY_PORT = 3128  # Source: Squid's; what proxies without a port are most often
_MAX_CREDENTIAL_CHARS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """An HTTP proxy; ``str`` and ``repr`` show no credentials.

    Attributes:
        authorization: The value of ``Proxy-Authorization``; None sends none.
        is_discreet: ``str`` does not show where it is: errors about places from outside travel to those who
            named them.
    """

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)
    is_discreet: bool = False

    @classmethod
    def of(cls, url: str, *, username: str | None = None, password: str | None = None) -> Proxy:
        """Read ``http://host[:port]``.

        Args:
            url: As written; a user in it is refused, since settings that are no secrets are shown.
            username: Of the proxy.
            password: Of the user.

        Raises:
            ConfigError: It is another kind of URL; repeats nothing of it.
        """
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port
        except ValueError as exc:
            raise ConfigError("the proxy is not http://host[:port]") from exc
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ConfigError(
                "the proxy must be http://host[:port]: others than HTTP proxies are not supported"
            )
        if "@" in parts.netloc:
            raise ConfigError("the proxy's URL must name no user: set proxy_username and proxy_password")
        return cls(
            host=parts.hostname.rstrip("."),
            port=DEFAULT_PROXY_PORT if port is None else port,
            authorization=_basic(username, password),
        )

    @classmethod
    def of_environment(cls, url: str) -> Proxy:
        """Read ``[http://][user:password@]host[:port]``, as environment variables have it.

        Raises:
            ConfigError: It is another kind of URL.
        """
        scheme, separator, rest = url.rpartition("://")
        user, at, host = rest.rpartition("@")
        username, _, password = user.partition(":")
        return cls.of(
            f"{scheme}{separator}{host}",
            username=unquote(username) if at else None,
            password=unquote(password) if at else None,
        )

    def __str__(self) -> str:
        if self.is_discreet:
            return "the proxy"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"proxy {host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How connections to one place are made; what is not said is the network's.

    Attributes:
        ca_file: PEM file of authorities trusted for it, beside the network's.
        proxy: Goes before the network's.
        is_direct: No proxy, whatever the network has.
    """

    ca_file: str | None = None
    proxy: Proxy | None = None
    is_direct: bool = False


USUAL = Route()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """The proxies of a network.

    Attributes:
        https, http: For URLs of that scheme; None is none.
        direct: Hosts and networks that are reached without; this machine always is.
        fault: What is wrong with them; told once one would be used.
    """

    https: Proxy | None = None
    http: Proxy | None = None
    direct: HostPatterns = field(default_factory=HostPatterns)
    fault: ConfigError | None = None

    def of(self, scheme: str, host: str) -> Proxy | None:
        """Return the proxy for a host, None if it is reached without.

        Raises:
            ConfigError: There is one, and it can't be used.
        """
        if _is_loopback(host) or self.direct.names(host) or self.direct.covers(host):
            return None
        if self.fault is not None:
            raise self.fault
        return self.https if scheme == "https" else self.http


NO_PROXIES = Proxies()


def _is_loopback(host: str) -> bool:
    name = host.rstrip(".").lower()
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _basic(username: str | None, password: str | None) -> str | None:
    """Write credentials. Source: RFC 7617, section 2."""
    if username is None:
        return None
    pair = f"{username}:{password or ''}"
    if ":" in username or not pair.isprintable() or len(pair) > _MAX_CREDENTIAL_CHARS:
        raise ConfigError(
            "a proxy's user name has no colon, and neither it nor the password control characters"
        )
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
