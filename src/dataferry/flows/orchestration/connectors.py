"""Which connectors may be driven, and with whose credentials: only their own."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from dataferry.domain.errors import InputError
from dataferry.domain.orchestration import Connector

_PORTS = {"http": 80, "https": 443}


class Connectors:
    """The configured connectors, found by the address that requests name.

    Args:
        configured: With their credentials.
        allow_any: Whether others may be named too; they get no credentials, and the egress guard judges them.
    """

    def __init__(self, configured: Iterable[Connector], *, allow_any: bool = False) -> None:
        self._configured = {normalized(connector.address): connector for connector in configured}
        self._allow_any = allow_any

    def of(self, address: str) -> Connector:
        """Return the connector at an address.

        Raises:
            InputError: It is no URL of one, or none that may be named.
        """
        known = self._configured.get(normalized(address))
        if known is not None:
            return known
        if not self._allow_any:
            raise InputError("Not a configured connector.")
        return Connector(address=address.rstrip("/"), is_configured=False)


@lru_cache(maxsize=1024)  # the entries of a request have few between them
def normalized(address: str) -> str:
    """Return an address in the one spelling that it is compared by.

    Raises:
        InputError: It is no plain http or https URL.
    """
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    scheme, host = parts.scheme.lower(), (parts.hostname or "").rstrip(".")
    odd = "@" in parts.netloc or "?" in address or "#" in address or "\\" in address
    if scheme not in _PORTS or not host or port == 0 or odd or not address.isprintable() or " " in address:
        raise InputError("Not a valid URL.")
    if any(
        segment in {".", ".."} for segment in parts.path.replace("%2e", ".").replace("%2E", ".").split("/")
    ):
        raise InputError("Not a valid URL.")
    return f"{scheme}://{host}:{port or _PORTS[scheme]}{parts.path.rstrip('/')}"
