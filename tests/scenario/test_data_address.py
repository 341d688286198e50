"""An application reads by itself: through lives of tokens, kill -9, suspension; its secrets stay secret."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from tests.servers.did_documents import KEY, DidDocuments, Partner
from tests.servers.plane import Rig, running

from dataferry.demo.control_plane import message
from dataferry.flows.renewal import ASKED_AGAIN_S

PULL = "HttpData-PULL"
LIFETIME_S = 2
BODY = os.urandom(20_000)


class UnansweredError(Exception):
    """The provider could not be asked for a token."""


@dataclass
class Stage:
    """Both planes, whom they serve, and every token that an application was given."""

    provider: Rig
    consumer: Rig
    offering: Partner
    asking: Partner
    http: httpx.Client
    tokens: set[str] = field(default_factory=set)

    def begin(self, process_id: str) -> dict[str, Any]:
        """Bring a pull to STARTED on both sides; the address as the provider gave it."""
        sides = {"participantId": self.asking.did, "counterPartyId": self.offering.did}
        told = message(process_id, "live", PULL, **sides)
        assert self.consumer.control_plane.prepare(self.consumer.address, told).status == 200
        sides = {"participantId": self.offering.did, "counterPartyId": self.asking.did}
        said = message(process_id, "live", PULL, **sides)
        address: dict[str, Any] = self.provider.control_plane.start_flow(self.provider.address, said).body[
            "dataAddress"
        ]
        self.consumer.notify(process_id, "started", dataAddress=address)
        return address

    def ask(self, process_id: str) -> httpx.Response:
        """Ask the consumer's plane for the address, as an application."""
        plane = self.consumer.plane
        url = f"{plane.url}/management/dataflows/{process_id}/data-address"
        params = {"control_plane": "control-plane"}
        return self.http.get(url, params=params, headers={"X-Api-Key": plane.api_key})

    def read(self, process_id: str) -> int:
        """Read the data as an application does; the status of the provider's answer."""
        answer = self.ask(process_id)
        if answer.status_code == 503:
            raise UnansweredError(answer.text)
        assert answer.status_code == 200, answer.text
        address = answer.json()["dataAddress"]
        values = {entry["name"]: entry["value"] for entry in address["endpointProperties"]}
        assert values.keys() == {"authorization", "authType"}
        self.tokens.add(values["authorization"])
        headers = {"Authorization": f"Bearer {values['authorization']}"}
        got = self.http.get(address["endpoint"], headers=headers)
        assert got.status_code != 200 or got.content == BODY
        return got.status_code


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Two planes with a DID each; tokens live two seconds, and the consumer's plane copies nothing."""
    root = tmp_path_factory.mktemp("files")
    (root / "live").write_bytes(BODY)
    with ExitStack() as open_:
        documents = open_.enter_context(DidDocuments())
        offering, asking = documents.partner("provider"), documents.partner("consumer")
        provider = Rig(
            tmp_path_factory.mktemp("provider"),
            locations={"files": {"type": "file", "root": str(root)}},
            datasets=[{"id": "live", "source": "files:live"}],
            more={
                "server": {"allow_http_on_loopback": True, "access_token_ttl_s": LIFETIME_S},
                "participants": [{"id": "default", "did": offering.did}],
            },
        )
        consumer = Rig(
            tmp_path_factory.mktemp("consumer"),
            locations={},
            more={
                "server": {"allow_http_on_loopback": True, "log_level": "debug"},
                "participants": [{"id": "default", "did": asking.did, "signing_key": "env:KEY", "kid": KEY}],
                "landing_zones": [{"name": "apps", "mode": "none", "require_token_renewal": True}],
            },
            environment={"KEY": asking.pem},
        )
        open_.enter_context(running(provider))
        open_.enter_context(running(consumer))
        http = open_.enter_context(httpx.Client(trust_env=False, timeout=20))
        yield Stage(provider, consumer, offering, asking, http)


def test_an_application_reads_through_tokens_and_kills(stage: Stage) -> None:
    """Seven lives of a token, four readers, both planes killed: what is given works while both are there."""
    stage.begin("app")
    ends = time.monotonic() + 7 * LIFETIME_S
    out = threading.Event()

    def reader() -> int:
        """Read until the end; a plane that is killed answers nothing, and a token may end meanwhile."""
        reads = 0
        while time.monotonic() < ends:
            was_out = out.is_set()
            try:
                status = stage.read("app")
            except (httpx.TransportError, UnansweredError):
                assert was_out or out.is_set()
                time.sleep(0.05)
                continue
            assert status == 200 or was_out, status
            reads += status == 200
        return reads

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(reader) for _ in range(4)]
        try:
            time.sleep(1.5 * LIFETIME_S)
            for plane in (stage.consumer.plane, stage.provider.plane):
                out.set()
                plane.kill()
                plane.start()
                time.sleep(ASKED_AGAIN_S)
                out.clear()
                time.sleep(LIFETIME_S)
        finally:
            counts = [one.result(60) for one in readers]

    assert min(counts) > 10
    assert len(stage.tokens) >= 4
    view = stage.consumer.view("app")
    assert view is not None
    assert (view["state"], view["run"], view["bytesTransferred"]) == ("STARTED", "idle", None)


def test_a_suspended_flow_is_read_by_nobody(stage: Stage) -> None:
    """By either side's word: no address here, no data there; a resume brings both back, the end ends both."""
    stage.begin("stop")
    assert stage.read("stop") == 200
    stage.provider.notify("stop", "suspend")
    assert stage.read("stop") == 403
    stage.consumer.notify("stop", "suspend")
    assert stage.ask("stop").status_code == 409
    fresh = stage.provider.notify("stop", "resume").body["dataAddress"]
    stage.consumer.notify("stop", "resume", dataAddress=fresh)
    assert stage.read("stop") == 200
    stage.consumer.notify("stop", "completed")

    assert stage.ask("stop").status_code == 410
    assert (stage.consumer.view("stop") or {})["run"] == "done"


def test_a_provider_that_ended_the_flow_renews_nothing(stage: Stage) -> None:
    """Once the token has ended too, the application is told, and no dead token is handed out."""
    stage.begin("dead")
    stage.provider.notify("dead", "terminate")
    deadline = time.monotonic() + 10
    while (answer := stage.ask("dead")).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)

    assert (answer.status_code, "gives no other" in answer.json()["detail"]) == (409, True)


def test_credentials_are_in_one_answer_only(stage: Stage) -> None:
    """Not in the log of everything, the database, events, lists, or callbacks of the plane that has them."""
    given = stage.begin("secret")
    stage.read("secret")
    time.sleep(LIFETIME_S)
    stage.read("secret")
    plane = stage.consumer.plane
    paths = ["/dataflows", "/dataflows/secret", "/dataflows/secret/events", "/callbacks", "/landing-zones"]
    shown = json.dumps([plane.manage("GET", path) for path in paths])
    told = json.dumps([dict(one.body) for one in stage.consumer.control_plane.received])
    files = {
        file.name: file.read_bytes()
        for file in plane.directory.rglob("*")
        if file.is_file() and file != plane.config
    }
    secrets = {entry["value"] for entry in given["endpointProperties"]} - {"bearer", str(LIFETIME_S)}
    secrets = {secret for secret in secrets if not secret.startswith("http")} | stage.tokens

    assert len(secrets) >= 4
    assert not [secret for secret in secrets if secret in shown or secret in told]
    found = [
        (name, secret) for name, content in files.items() for secret in secrets if secret.encode() in content
    ]
    assert found == []
    assert {"dataferry.db", "plane.log"} <= files.keys()
    events = plane.manage("GET", "/dataflows/secret/events")["items"]
    assert sum(event["kind"] == "data-address" for event in events) == 2
