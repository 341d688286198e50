"""Who is local, and whose key it is."""

from __future__ import annotations

import hashlib

import pytest
from starlette.requests import HTTPConnection

from dataferry.api.api_keys import LOCAL_OPERATOR, ApiKey, ApiKeys
from dataferry.api.authorization import control_plane_of_token, is_local
from dataferry.domain.errors import ForbiddenError, UnauthorizedError
from dataferry.domain.location import ControlPlane
from dataferry.domain.purview import ALL_SCOPES, Operator, Scope


def connection(peer: str | None = "127.0.0.1", **headers: str) -> HTTPConnection:
    """A request from a peer with headers; ``_`` in their names stands for ``-``."""
    given = {"host": "127.0.0.1:8080"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return HTTPConnection(
        {
            "type": "http",
            "client": None if peer is None else (peer, 50000),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }
    )


@pytest.mark.parametrize(
    ("request_", "local"),
    [
        (connection(), True),
        (connection("127.9.9.9"), True),
        (connection("::1", host="[::1]:8080"), True),
        (connection("::ffff:127.0.0.1"), True),
        (connection(host="localhost"), True),
        (connection(origin="http://127.0.0.1:8080"), True),
        (connection("10.0.0.5"), False),
        (connection("::ffff:10.0.0.5"), False),
        (connection(None), False),
        (connection("not an address"), False),
        (connection(host="rebound.example:8080"), False),
        (connection(host=""), False),
        (connection(origin="https://evil.example"), False),
        (connection(origin="null"), False),
        (connection(origin="http://127.0.0.1:9999"), False),
        (connection(x_forwarded_for="127.0.0.1"), False),
        (connection(forwarded="for=127.0.0.1"), False),
        (connection(via="1.1 proxy"), False),
        (connection(sec_fetch_site="none"), True),
        (connection(sec_fetch_site="same-origin"), True),
        (connection(sec_fetch_site="same-site"), False),
        (connection(sec_fetch_site="cross-site"), False),
    ],
)
def test_only_this_machine_itself_is_local(request_: HTTPConnection, local: bool) -> None:
    """Not a peer elsewhere, nor anybody who speaks through a proxy or a browser here."""
    assert local is is_local(request_)


def test_keys_are_known_by_their_hash() -> None:
    """Each key tells whose it is; the header or a bearer token carries it."""
    keys = ApiKeys(
        [ApiKey.of("ann", "key-of-ann"), ApiKey.of_sha256("bob", hashlib.sha256(b"key-of-bob").hexdigest())]
    )
    assert keys.identify(connection("10.0.0.5", x_api_key="key-of-ann")).name == "ann"
    assert keys.identify(connection("10.0.0.5", authorization="Bearer key-of-bob")).name == "bob"
    assert "key-of-ann" not in repr(keys)


@pytest.mark.parametrize(
    "headers", [{}, {"x_api_key": "wrong"}, {"x_api_key": ""}, {"authorization": "key-of-ann"}]
)
def test_with_keys_configured_being_local_is_not_enough(headers: dict[str, str]) -> None:
    """No key, a wrong one, and a key without its scheme are refused."""
    with pytest.raises(UnauthorizedError):
        ApiKeys([ApiKey.of("ann", "key-of-ann")]).identify(connection(**headers))


def test_without_keys_only_this_machine_may_call() -> None:
    """Loopback is the whole authorization then."""
    assert ApiKeys().identify(connection()) == Operator(name=LOCAL_OPERATOR, scopes=ALL_SCOPES)
    with pytest.raises(UnauthorizedError, match="this machine"):
        ApiKeys().identify(connection("10.0.0.5"))


def test_a_key_is_good_for_its_scopes() -> None:
    """What it lacks is refused and named; an unknown key is told nothing of scopes."""
    keys = ApiKeys([ApiKey.of("ann", "key-of-ann", scopes=frozenset({Scope.READ}))])
    assert keys.require(connection(x_api_key="key-of-ann"), Scope.READ).name == "ann"
    with pytest.raises(ForbiddenError, match="'ann' lacks the scope 'operate'"):
        keys.require(connection(x_api_key="key-of-ann"), Scope.OPERATE)
    with pytest.raises(UnauthorizedError):
        keys.require(connection(x_api_key="wrong"), Scope.READ)


def test_a_token_tells_its_control_plane() -> None:
    """One without a token is nobody's, not even of an empty one."""
    planes = [ControlPlane(id="a", token="one"), ControlPlane(id="b", token="two"), ControlPlane(id="c")]
    found = control_plane_of_token("two", planes)
    assert found is not None
    assert found.id == "b"
    assert control_plane_of_token("three", planes) is None
    assert control_plane_of_token("", planes) is None
