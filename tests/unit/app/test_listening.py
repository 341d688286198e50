"""The socket that is served on, and which roles may be one process."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from dataferry.app.configuration import with_server
from dataferry.app.roles import ALL_ROLES, MAIN_ROLES, Role, roles_of
from dataferry.app.serve import _bound
from dataferry.app.settings import ServerSettings, Settings
from dataferry.domain.errors import ConfigError


def test_answers_are_not_held_back() -> None:
    """Asyncio turns Nagle off for sockets that name their protocol: else each answer waits 40 ms."""
    with _bound(Settings(server=ServerSettings(port=0))) as listener:
        assert listener.proto == socket.IPPROTO_TCP


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("all", ALL_ROLES),
        ("api,worker", MAIN_ROLES),
        ("worker, api", MAIN_ROLES),
        ("gateway", frozenset({Role.GATEWAY})),
        ("gateway,api,worker", ALL_ROLES),
    ],
)
def test_roles_that_go_together(text: str, roles: frozenset[Role]) -> None:
    """Everything, everything but the gateway, or that alone."""
    assert roles_of(text) == roles


@pytest.mark.parametrize("text", ["", "api", "worker", "api,gateway", "all,api", "API", "api worker"])
def test_other_roles_are_refused(text: str) -> None:
    """With a sentence that names the option."""
    with pytest.raises(ConfigError, match="--role"):
        roles_of(text)


def test_a_gateway_may_be_open_where_verbs_may_not() -> None:
    """Data has tokens of its own; without authorization control planes are served on loopback only."""
    settings = Settings()
    assert with_server(settings, host="0.0.0.0", port=None, has_control=False).server.host == "0.0.0.0"  # noqa: S104
    with pytest.raises(ConfigError):
        with_server(settings, host="0.0.0.0", port=None)  # noqa: S104


@pytest.mark.parametrize(
    ("server", "may"),
    [
        ({}, True),
        ({"public_url": "http://plane.example"}, False),
        ({"gateway_url": "http://127.0.0.1:8081"}, True),
        ({"gateway_url": "http://gateway.example"}, False),
        ({"gateway_url": "http://127.0.0.1:8081", "public_url": "https://plane.example"}, True),
        ({"gateway_url": "http://127.0.0.1:8081", "host": "0.0.0.0"}, False),  # noqa: S104
    ],
)
def test_tokens_travel_in_plain_on_this_machine_only(server: dict[str, Any], may: bool) -> None:
    """It is where partners reach the gateway that counts."""
    assert ServerSettings(allow_http_on_loopback=True, **server).may_serve_plain_http is may
