"""Settings about the way to a place, which locations of every networked mechanism have.

They are the operator's alone: an address from a message that names a file of this machine or a proxy is
refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import AddressError, ConfigError
from dataferry.net.routes import Proxy, Route

DIRECT = "direct"
ROUTE_PROPERTIES: Mapping[str, Any] = {
    "ca_file": {
        "type": "string",
        "minLength": 1,
        "description": "PEM file of certificate authorities trusted there, beside the usual ones.",
    },
    "proxy": {
        "type": "string",
        "pattern": "^(direct|http://[^@/?#]+/?)$",
        "description": "http://host[:port] of an HTTP proxy; direct is none; that of [network] if absent.",
    },
    "proxy_username": {"type": "string", "minLength": 1, "description": "User of the proxy."},
    "proxy_password": {
        "type": "string",
        "minLength": 1,
        "writeOnly": True,
        "description": "The user's password.",
    },
}
ROUTE_DEPENDENCIES = {
    "proxy_username": ["proxy", "proxy_password"],
    "proxy_password": ["proxy", "proxy_username"],
}


def route_of(settings: Mapping[str, Any]) -> Route:
    """Return the route of a location; values are checked to be texts.

    Raises:
        ConfigError: The proxy is none.
    """
    proxy, ca_file = settings.get("proxy"), settings.get("ca_file")
    username = settings.get("proxy_username")
    if proxy == DIRECT and username is not None:
        raise ConfigError("proxy_username needs a proxy")
    if proxy is None or proxy == DIRECT:
        return Route(ca_file=ca_file, is_direct=proxy == DIRECT)
    return Route(
        ca_file=ca_file,
        proxy=Proxy.of(proxy, username=username, password=settings.get("proxy_password")),
    )


def refuse_route(address: DataAddress) -> None:
    """Refuse an address that would choose the way to its place.

    Raises:
        AddressError: It does.
    """
    for name in ROUTE_PROPERTIES:
        if address.get(name) is not None:
            raise AddressError(f"an address can't say {name}: only this side's operator does")
