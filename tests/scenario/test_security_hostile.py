"""A running plane among hostile control planes, stores and callers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers.echoing_s3 import EchoingS3
from tests.servers.faulty_s3 import FaultyS3
from tests.servers.plane import CALLBACK_TOKEN, PULL, PUSH, Rig, running

from dataferry.demo.control_plane import message

TOKENS = {"a": "token-of-control-plane-a-0123456789", "b": "token-of-control-plane-b-0123456789"}
LOCATION = {"access_key_id": "AKIALOCATION00000001", "secret_access_key": "location-secret-0123456789abcdef"}
INCOMING = {
    "accessKeyId": "AKIAINCOMING00000001",
    "secretAccessKey": "incoming-secret-0123456789abcdef",
    "sessionToken": "incoming-session-0123456789abcdef",
}
AMBIENT = {"AWS_ACCESS_KEY_ID": "AKIAAMBIENT000000001", "AWS_SECRET_ACCESS_KEY": "ambient-secret-0123456789"}
SECRETS = [*LOCATION.values(), *INCOMING.values(), *AMBIENT.values(), CALLBACK_TOKEN, *TOKENS.values()]


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoingS3]:
    secrets = {
        LOCATION["access_key_id"]: LOCATION["secret_access_key"],
        INCOMING["accessKeyId"]: INCOMING["secretAccessKey"],
    }
    with EchoingS3(secrets) as server:
        yield server


@pytest.fixture(scope="module")
def good() -> Iterator[FaultyS3]:
    with FaultyS3() as server:
        server.make_bucket("data")
        server.put("data", "in/key", b"bytes")
        yield server


@pytest.fixture(scope="module")
def rig(echo: EchoingS3, good: FaultyS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A plane with two control planes; the first one may name locations. Messages may name loopback."""
    rig = Rig(
        tmp_path_factory.mktemp("plane"),
        locations={
            "good": {"type": "s3", "endpoint_url": good.endpoint_url, **LOCATION},
            "echo": {"type": "s3", "endpoint_url": echo.endpoint_url, **LOCATION},
        },
        datasets=[
            {"match": "*", "source": "good:data/in/"},
            {"id": "echo", "source": "echo:data/"},
            {"id": "echo-later", "source": "echo:data/", "prepare_wait_s": 0},
        ],
        engine={"attempts": 1, "flow_retries": 0},
        more={
            "server": {"log_level": "debug"},
            "control_planes": [
                {
                    "id": name,
                    "token": token,
                    "may_name_locations": name == "a",
                    **({"metadata_location": "good"} if name == "a" else {}),
                }
                for name, token in TOKENS.items()
            ],
        },
        environment=AMBIENT,
    )
    with running(rig):
        yield rig


def call(
    rig: Rig, method: str, path: str, body: Any = None, *, who: str = "a", **headers: str
) -> httpx.Response:
    """Call the signaling API as one of the control planes."""
    return httpx.request(
        method,
        f"{rig.address.url}{path}",
        json=body,
        headers={"Authorization": f"Bearer {TOKENS[who]}", **headers},
        timeout=30,
        trust_env=False,
    )


def address(server: EchoingS3 | FaultyS3, **properties: str | None) -> dict[str, Any]:
    """Return a DataAddress; None leaves a property out."""
    values = {"endpointOverride": server.endpoint_url, **INCOMING, **properties}
    return {
        "@type": "DataAddress",
        "endpointType": PUSH,
        "endpoint": "s3://data/out/",
        "endpointProperties": [
            {"name": name, "value": value} for name, value in values.items() if value is not None
        ],
    }


def test_what_stores_quote_of_credentials_shows_nowhere(rig: Rig, echo: EchoingS3, good: FaultyS3) -> None:
    """Not in answers, callbacks, events, views, the log or the database, whichever store quotes whose."""
    registration = {
        "controlplaneId": "a",
        "endpoint": rig.control_plane.endpoint_url,
        "authorization": {"type": "bearer", "token": CALLBACK_TOKEN},
    }
    answers = [call(rig, "PUT", "/controlplanes", registration)]
    for process_id, dataset, server in (
        ("echo-source", "echo", good),
        ("echo-sink", "any", echo),
        ("echo-later", "echo-later", good),
    ):
        body = message(process_id, dataset, PUSH, dataAddress=address(server))
        answers.append(call(rig, "POST", "/dataflows/start", body))
    rig.control_plane.wait_for("errored", "echo-later")
    assert [answer.status_code for answer in answers] == [200, 422, 422, 202]
    assert len(echo.heads) >= 3

    views = [rig.plane.manage("GET", path) for path in ("/dataflows", "/callbacks", "/control-planes")]
    views.append(rig.plane.manage("GET", "/dataflows/echo-later/events"))
    places = {
        "answers": "".join(answer.text for answer in answers),
        "views": json.dumps(views),
        "callbacks": json.dumps([dict(one.body) for one in rig.control_plane.received]),
        **{
            file.name: file.read_bytes().decode("latin-1")
            for file in Path(rig.plane.directory).iterdir()
            if file.is_file() and file != rig.plane.config
        },
    }
    found = [(name, secret) for name, text in places.items() for secret in SECRETS if secret in text]
    assert found == []


@pytest.mark.parametrize(
    ("metadata", "properties"),
    [
        ({}, {"accessKeyId": None, "secretAccessKey": None}),
        ({}, {"accessKeyId": ""}),
        ({"sourceBucket": "data", "endpointProperties": {"endpointOverride": "ECHO"}}, {}),
        ({"sourceBucket": "data", "endpointProperties": {"https://w3id.org/x/endpointOverride": "ECHO"}}, {}),
        ({"sourceDataAddress": {"endpoint": "s3://data/", "endpointProperties": []}}, {}),
    ],
    ids=["no key", "empty key", "metadata", "metadata with IRI", "metadata address"],
)
def test_own_credentials_never_go_where_a_message_points(
    rig: Rig, echo: EchoingS3, metadata: dict[str, Any], properties: dict[str, str | None]
) -> None:
    """Neither the machine's nor a location's: a place from a message has credentials of its own or none."""
    before = len(echo.heads)
    metadata = json.loads(json.dumps(metadata).replace("ECHO", echo.endpoint_url))
    body = message("steal", "any", PUSH, dataAddress=address(echo, **properties), metadata=metadata)
    answer = call(rig, "POST", "/dataflows/start", body)
    assert 400 <= answer.status_code < 500
    sent = "".join(echo.heads[before:])
    assert LOCATION["access_key_id"] not in sent
    assert AMBIENT["AWS_ACCESS_KEY_ID"] not in sent


def test_control_planes_do_not_meet(rig: Rig, good: FaultyS3) -> None:
    """One neither sees nor steers the other's flows, nor speaks for it."""
    body = message("mine", "any", PULL)
    started = message("mine", "any", PUSH, dataAddress=address(good))
    assert call(rig, "POST", "/dataflows/start", started, who="a").status_code == 200
    for verb in ("suspend", "resume", "terminate", "completed", "started"):
        assert call(rig, "POST", f"/dataflows/mine/{verb}", {}, who="b").status_code == 404
    assert call(rig, "GET", "/dataflows/mine/status", who="b").status_code == 404
    registration = {"controlplaneId": "a", "endpoint": "http://127.0.0.1:9/"}
    assert call(rig, "PUT", "/controlplanes", registration, who="b").status_code == 403
    assert call(rig, "DELETE", "/controlplanes/a", who="b").status_code == 403
    # The same process id is another process in another scope.
    assert call(rig, "POST", "/dataflows/start", body, who="b").status_code != 409


@pytest.mark.parametrize(
    "path",
    [
        "/dataflows/..%2f..%2f..%2fmanagement%2fdataflows/status",
        "/dataflows/%00/status",
        "/dataflows/%ff%fe/status",
        "/dataflows/%1b%5b31mred%0aFAKE/status",
        "/dataflows/" + "a" * 20_000 + "/status",
    ],
    ids=["climbing", "nul", "no utf-8", "escape", "long"],
)
def test_strange_ids_are_not_found(rig: Rig, path: str) -> None:
    """Whatever stands in a path leads to no other door, and nowhere into the log as it is."""
    assert call(rig, "GET", path).status_code in {400, 401, 404, 414}
    log = (Path(rig.plane.directory) / "plane.log").read_bytes()
    assert b"\x1b" not in log
    assert not any(line.startswith(b"FAKE") for line in log.splitlines())
    assert b"Traceback" not in log
