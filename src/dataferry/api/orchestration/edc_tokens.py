"""Tokens for connectors that want OAuth2: client credentials, one token for all threads, renewed in time.

Source: RFC 6749, section 4.4, "Client Credentials Grant".
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from dataferry.domain.errors import ProtocolError, ServerError, UnauthorizedError
from dataferry.domain.location import Provenance
from dataferry.domain.orchestration import Connector

_OPERATION = "connector token"
# Renewed so long before its end; where the end is not said, it is good for as long as most are.
_MARGIN_S = 30.0
_UNSAID_S = 300.0
_MAX_LIFETIME_S = 86_400.0


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    ends_at: float


class ClientCredentials:
    """Access tokens of connectors. Thread-safe.

    Args:
        fetch: Sends a request, as ``HttpEdcClient._fetch`` does.
        remember: Told of each token, for the logs to leave out.
    """

    def __init__(
        self,
        fetch: Callable[..., tuple[int, bytes, float | None]],
        remember: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._fetch = fetch
        self._remember = remember
        self._turn = threading.Lock()
        self._tokens: dict[str, _Token] = {}

    def token(self, connector: Connector) -> str:
        """Return a token that is good now.

        Raises:
            UnauthorizedError: The token endpoint does not take our credentials.
            DataFerryError: It can't be asked.
        """
        with self._turn:
            held = self._tokens.get(connector.address)
            if held is None or held.ends_at <= time.monotonic():
                held = self._tokens[connector.address] = self._ask(connector)
            return held.value

    def forget(self, connector: Connector) -> None:
        """Fetch another one the next time: this one was refused."""
        with self._turn:
            self._tokens.pop(connector.address, None)

    def _ask(self, connector: Connector) -> _Token:
        form = {
            "grant_type": "client_credentials",
            "client_id": connector.client_id,
            "client_secret": connector.client_secret,
            "scope": connector.scope,
        }
        status, content, _ = self._fetch(
            "POST",
            connector.token_url,
            operation=_OPERATION,
            provenance=Provenance.OPERATOR,
            data={name: value for name, value in form.items() if value is not None},
            headers={"Accept": "application/json"},
        )
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ServerError(f"the token endpoint answered with {status}", operation=_OPERATION)
        if status != HTTPStatus.OK:
            raise UnauthorizedError(f"the token endpoint answered with {status}", operation=_OPERATION)
        found = _read(content)
        self._remember(found.value)
        return found


def _read(content: bytes) -> _Token:
    """Read an answer of success. Source: RFC 6749, section 5.1."""
    try:
        document: Any = json.loads(content)
        value, seconds = document["access_token"], float(document.get("expires_in", _UNSAID_S))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise ProtocolError("the token endpoint's answer is no token", operation=_OPERATION) from exc
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
        raise ProtocolError("the token endpoint's answer is no token", operation=_OPERATION)
    lifetime_s = min(max(seconds, 0.0), _MAX_LIFETIME_S)
    return _Token(value, time.monotonic() + max(lifetime_s - _MARGIN_S, lifetime_s / 2))
