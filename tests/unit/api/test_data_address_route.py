"""The one answer that hands out credentials: to whom, and that they are in no other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.api.api_rig import KEY, TOKEN_B, Plane, address, key_for, message

from dataferry.cli.main import main
from dataferry.domain.purview import Scope

SECRET = "their-secret-in-a-data-address"


@pytest.fixture(autouse=True)
def _keeping(api: Plane) -> None:
    """A landing zone whose flows keep their address."""
    assert api.manage("PUT", "/landing-zones/apps", json={"mode": "none", "datasets": ["live"]}).is_success


def begun(api: Plane, id: str, **changes: Any) -> None:
    """Bring a pull that keeps its address to STARTED."""
    assert api.signal("prepare", message(id, datasetId="live", **changes)).json()["state"] == "PREPARED"
    answer = api.signal(f"{id}/started", {"messageId": "m", "dataAddress": address()})
    assert answer.json()["state"] == "STARTED"


def test_an_application_reads_the_address(api: Plane) -> None:
    """With its credentials, and nobody in between may keep it; who read is an event."""
    begun(api, "read-1")
    answer = api.manage("GET", "/dataflows/read-1/data-address")
    found = answer.json()
    events = api.manage("GET", "/dataflows/read-1/events").json()["items"]

    assert answer.headers["Cache-Control"] == "no-store"
    assert found["dataAddress"]["endpoint"] == address()["endpoint"]
    values = {entry["name"]: entry["value"] for entry in found["dataAddress"]["endpointProperties"]}
    assert values["secretAccessKey"] == SECRET
    assert (found["state"], found["controlPlaneId"], found["expiresAt"]) == ("STARTED", "cp-a", None)
    assert (events[-1]["kind"], events[-1]["actor"]) == ("data-address", "test")


def test_the_credentials_are_in_no_other_answer(api: Plane) -> None:
    """Flows, lists, events, the live stream, callbacks: after the address was read, too."""
    begun(api, "quiet-1")
    after = api.services.management.last_event_id()
    assert SECRET in api.manage("GET", "/dataflows/quiet-1/data-address").text
    paths = ["/dataflows", "/dataflows/quiet-1", "/dataflows/quiet-1/events", "/callbacks", "/landing-zones"]
    told = [api.manage("GET", path).text for path in paths] + [api.status("quiet-1").text]
    headers = {"X-Api-Key": KEY, "Last-Event-ID": str(after)}
    with api.client.stream("GET", "/management/events", headers=headers) as stream:
        told.append(next(line for line in stream.iter_lines() if "data-address" in line))

    assert not [text for text in told if SECRET in text]
    view = json.loads(told[1])
    expected = {"landing": "none", "run": "idle", "sink": None, "bytesTransferred": None}
    assert expected.items() <= view.items()
    assert view["source"] == "s3://their-bucket/data.bin"


@pytest.mark.parametrize("key", [None, "wrong", "token-of-control-plane-a"])
def test_strangers_and_control_planes_read_nothing(api: Plane, key: str | None) -> None:
    """The path is the operators' and their applications'."""
    answer = api.manage("GET", "/dataflows/read-1/data-address", key=key)

    assert answer.status_code == 401
    assert SECRET not in answer.text


def test_a_key_needs_the_scope(api: Plane) -> None:
    """One that may do all else reads no address; one for addresses alone does, and is named as who read."""
    begun(api, "scoped-address")
    path = "/dataflows/scoped-address/data-address"
    refused = [api.manage("GET", path, key=key_for(scope)) for scope in set(Scope) - {Scope.DATA_ADDRESS}]
    assert {answer.status_code for answer in refused} == {403}
    assert not [answer for answer in refused if SECRET in answer.text]
    assert api.manage("GET", path, key=key_for(Scope.DATA_ADDRESS)).status_code == 200
    events = api.manage("GET", "/dataflows/scoped-address/events").json()["items"]
    assert [event["actor"] for event in events if event["kind"] == "data-address"] == ["data-address"]


def test_a_process_is_looked_for_in_its_control_planes_scope(api: Plane) -> None:
    """Two connectors may have a process of one id."""
    begun(api, "twice")
    assert api.signal("prepare", message("twice", datasetId="live"), token=TOKEN_B).is_success
    path = "/dataflows/twice/data-address"

    assert api.manage("GET", path).status_code == 409
    assert api.manage("GET", path, params={"control_plane": "cp-a"}).status_code == 200
    other = api.manage("GET", path, params={"control_plane": "cp-b"})
    assert (other.status_code, "PREPARED" in other.json()["detail"]) == (409, True)
    assert api.manage("GET", path, params={"control_plane": "cp-c"}).status_code == 404


def test_the_answer_says_why_there_is_none(api: Plane) -> None:
    """404 for what never has one, 409 for not now, 410 for what is over; no credential in any of them."""
    begun(api, "over-1")
    path = "/dataflows/over-1/data-address"
    api.signal("over-1/suspend", {"messageId": "m"})
    told = [api.manage("GET", path)]
    api.signal("over-1/resume", {"messageId": "m"})
    api.signal("over-1/completed")
    told += [api.manage("GET", path), api.manage("GET", "/dataflows/nobody/data-address")]

    assert [answer.status_code for answer in told] == [409, 410, 404]
    assert [answer.json()["type"].rpartition(":")[2] for answer in told] == ["conflict", "gone", "not_found"]
    assert not [answer for answer in told if SECRET in answer.text]


def test_flows_are_found_by_correlation_and_given_a_place(api: Plane) -> None:
    """What an orchestrator does that decides later."""
    begun(api, "order-1", metadata={"correlationId": "order-7"})
    found = api.manage("GET", "/dataflows", params={"correlationId": "order-7"}).json()["items"]
    assert [flow["processId"] for flow in found] == ["order-1"]
    path = f"/dataflows/{found[0]['id']}/destination"
    refused = [
        api.manage("POST", path, json=body) for body in ({}, {"sink": "x"}, {"sink": "no:x"}, {"sink": 1})
    ]
    taken = api.manage("POST", path, json={"sink": "disk:order-7/"})

    assert [answer.status_code for answer in refused] == [400] * 4
    assert {"landing": "copy", "run": "queued", "sink": "disk:order-7/"}.items() <= taken.json().items()
    assert api.manage("POST", path, json={"sink": "disk:other/"}).status_code == 409


@pytest.mark.parametrize(
    "body", [{"mode": "none", "sink": "disk:x/"}, {}, {"mode": "some", "sink": "disk:x/"}]
)
def test_a_zone_has_a_place_or_copies_nothing(api: Plane, body: dict[str, Any]) -> None:
    """Else it is refused, and there is none."""
    assert api.manage("PUT", "/landing-zones/wrong", json=body).status_code == 400
    assert api.manage("GET", "/landing-zones/wrong").status_code == 404


def test_the_command_prints_it(api: Plane, capsys: pytest.CaptureFixture[str]) -> None:
    """For people a line each, so that a token can be copied; as JSON the answer; a refusal ends with 1."""
    begun(api, "typed-1")
    where = ["--url", api.url, "--api-key", KEY]
    assert main(["flows", "data-address", "typed-1", *where]) == 0
    assert f"secretAccessKey: {SECRET}\n" in capsys.readouterr().out
    assert main(["flows", "data-address", "typed-1", "--control-plane", "cp-a", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out)["dataAddress"]["endpoint"] == address()["endpoint"]
    api.signal("typed-1/terminate", {"messageId": "m"})
    assert main(["flows", "data-address", "typed-1", *where]) != 0
    assert "TERMINATED" in capsys.readouterr().err
