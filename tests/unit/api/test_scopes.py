"""What a key is good for: each operation of the management API wants one scope, and takes no other."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from starlette.requests import HTTPConnection
from tests.unit.api.api_rig import Plane, key_for, message

from dataferry.domain.purview import Operator, Scope


def operations(api: Plane) -> Iterator[tuple[str, str, Scope]]:
    """Every operation of operators, with the scope that the OpenAPI document names."""
    for path, methods in api.client.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            if path.startswith("/management"):
                (scope,) = operation["security"][0]["APIKeyHeader"]
                yield method.upper(), path.removeprefix("/management"), Scope(scope)


def test_every_operation_takes_its_own_scope_only(api: Plane) -> None:
    """With each other one it is refused, before anything is looked at, and the answer names what lacks."""
    assert api.signal("prepare", message("scoped-1")).is_success
    tried = 0
    for method, path, needed in operations(api):
        filled = path.format(id="scoped-1", name="absent", match="absent", message_id=uuid4())
        for scope in set(Scope) - {needed}:
            refused = api.manage(method, filled, key=key_for(scope), json={})
            assert refused.status_code == 403, (method, path, scope)
            problem = refused.json()
            assert problem["type"] == "urn:dataferry:problem:forbidden"
            assert problem["detail"] == f"API key {scope.value!r} lacks the scope {needed.value!r}"
            tried += 1
    assert tried >= 100


@pytest.mark.parametrize("key", ["wrong", None])
def test_who_is_unknown_is_told_of_no_scope(api: Plane, key: str | None) -> None:
    """401 everywhere, also where nothing is."""
    for method, path, _ in operations(api):
        filled = path.format(id="absent", name="absent", match="absent", message_id=uuid4())
        refused = api.manage(method, filled, key=key, json={})
        assert (refused.status_code, "scope" in refused.text) == (401, False), (method, path)


def test_the_scope_that_is_needed_lets_in(api: Plane) -> None:
    """Reading, steering and configuring, each with the key for it alone; events name the key's holder."""
    assert api.signal("prepare", message("scoped-2")).is_success
    assert api.manage("GET", "/dataflows/scoped-2", key=key_for(Scope.READ)).status_code == 200
    assert api.manage("POST", "/dataflows/scoped-2/pause", key=key_for(Scope.OPERATE)).status_code == 200
    put = api.manage("PUT", "/datasets/scoped", key=key_for(Scope.CONFIGURE), json={"source": "disk:x/"})
    assert put.status_code == 200
    assert api.manage("DELETE", "/datasets/scoped", key=key_for(Scope.CONFIGURE)).status_code == 204
    events = api.manage("GET", "/dataflows/scoped-2/events", key=key_for(Scope.READ)).json()["items"]
    assert "operate" in {event["actor"] for event in events}


def test_registering_a_control_plane_is_configuring(api: Plane) -> None:
    """An operator's key opens that door too; one that may only operate does not."""
    body = {"messageId": "m", "controlplaneId": "cp-new", "endpoint": "https://cp.example/api"}
    answers = [
        api.client.put("/api/v1/controlplanes", json=body, headers={"X-Api-Key": key_for(scope)})
        for scope in (Scope.OPERATE, Scope.CONFIGURE)
    ]
    assert [answer.status_code for answer in answers] == [403, 200]
    assert "'configure'" in answers[0].json()["detail"]


def test_a_key_is_looked_up_once_a_request(api: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the router's guard and the route's own together."""
    keys = api.services.api_keys
    identify = keys.identify
    seen: list[HTTPConnection] = []

    def counted(connection: HTTPConnection) -> Operator:
        seen.append(connection)
        return identify(connection)

    monkeypatch.setattr(keys, "identify", counted)
    assert api.manage("GET", "/dataflows").status_code == 200
    assert len(seen) == 1
