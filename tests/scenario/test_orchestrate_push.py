"""Entries whose data is pushed: the service is its connector's data plane, and the provider writes to it."""

from __future__ import annotations

import json
import os
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers.edc import EdcConnector, Fault, Process
from tests.servers.orchestrator import CONNECTOR_KEY, KEY, Orchestrating, entry, orchestrating
from tests.servers.plane import CALLBACK_TOKEN, TOKEN, s3_location
from tests.servers.pushing import PUSH, PushedConnector
from tests.servers.s3_client import s3_client

from dataferry.demo.control_plane import ScriptedControlPlane, message
from dataferry.demo.servers import JuiceFs
from dataferry.mechanisms.checksum import crc64nvme

MIB = 1024 * 1024
S3_PUSH = "AmazonS3-PUSH"
BUCKET = "pushed-data"

View = dict[str, Any]


class Rig:
    """The service, and the connector that has things pushed to it."""

    def __init__(self, rig: Orchestrating, callbacks: ScriptedControlPlane, profile: str) -> None:
        self.service, self.callbacks = rig, callbacks
        self.edc = rig.edc
        self.connector = PushedConnector(rig.edc, self._post, profile=profile)
        self.profile = profile

    def _post(self, verb: str, body: Mapping[str, Any]) -> httpx.Response:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return self.service.client.post(f"/api/v1/dataflows/{verb}", json=body, headers=headers)

    def begin(self, *contracts: str, **changes: Any) -> str:
        """Ask for pushes under these contracts; return the orchestration's id."""
        self.connector.offer(*contracts)
        data = [entry(one, transferType=self.profile, **changes) for one in contracts]
        return self.service.begin(data=data)

    def transfer_id(self, id_: str, *, position: int = 0, step: str = "DATA_ADDRESS_RETRIEVED") -> str:
        """Return an entry's transfer process once it is so far."""
        view = self.service.wait(id_, until=lambda view: view["storage_paths"][position]["status"] == step)
        return str(view["storage_paths"][position]["transfer_id"])

    def send(self, transfer_id: str, name: str, content: bytes) -> httpx.Response:
        """Send an object as the provider does."""
        path, headers = self.connector.place(transfer_id)
        return self.service.client.put(path + name, content=content, headers=headers)

    def flow(self, transfer_id: str) -> View:
        """Return a flow as operators see it."""
        found: View = self.service.client.get(f"/management/dataflows/{transfer_id}").json()
        return found


@contextmanager
def pushed(
    directory: Path, *, version: str = "v4", profile: str = PUSH, looks: int = 1, **changes: Any
) -> Iterator[Rig]:
    """Run a service that is the data plane of its connector."""
    callbacks = ScriptedControlPlane(callback_token=CALLBACK_TOKEN)
    callbacks.start()
    edc = EdcConnector(key=CONNECTOR_KEY, versions=(version,), looks=looks)
    sections: dict[str, Any] = {
        "control_planes": [
            {
                "id": "connector",
                "token": TOKEN,
                "endpoint": callbacks.endpoint_url,
                "callback_token": CALLBACK_TOKEN,
            }
        ],
        "server": {"allow_http_on_loopback": True},
        "locations": {"lake": {"type": "file", "root": str(directory / "lake")}},
        "landing_zones": [{"name": "all", "sink": "lake:landed/{processId}/"}],
        **changes,
    }
    (directory / "lake").mkdir()
    try:
        with orchestrating(directory, edc=edc, **sections) as service:
            yield Rig(service, callbacks, profile)
    finally:
        callbacks.stop()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """One, by Management API v4."""
    with pushed(tmp_path) as made:
        yield made


@pytest.mark.parametrize("version", ["v3", "v4"])
def test_what_is_pushed_is_stored_where_the_orchestrator_stores(tmp_path: Path, version: str) -> None:
    """Not where landing zones say; with size and checksum, a file beside it, and nothing terminated."""
    content = os.urandom(2 * MIB)
    with pushed(tmp_path, version=version) as rig:
        id_ = rig.begin("c")
        transfer_id = rig.transfer_id(id_)
        assert rig.send(transfer_id, "measured.csv", content).status_code in {200, 201, 204}
        rig.connector.complete(transfer_id)
        view = rig.service.wait(id_)
        assert view["process_status"] == "COMPLETED", view
        (path,) = view["storage_paths"]
        stored = Path(path["storage_path"])
        assert stored.name == "measured.csv"
        assert stored.parent.name.startswith(f"file_{transfer_id}_")
        assert stored.parent.parent == rig.service.stored
        assert stored.read_bytes() == content
        summed = b64encode(crc64nvme(content).to_bytes(8, "big")).decode()
        assert (path["size"], path["checksum"]) == (len(content), {"crc64nvme": summed})
        assert path["verification"] in {"transport", "destination"}
        beside = json.loads(stored.parent.with_name(f"{stored.parent.name}.meta.json").read_text())
        assert (beside["storage_path"], beside["transfer_type"]) == (path["storage_path"], PUSH)
        assert list((tmp_path / "lake").iterdir()) == []
        assert rig.edc.count("terminate") == rig.edc.count("edr") == 0
        (sent,) = [call.body for call in rig.edc.calls if call.operation == "start"]
        assert "dataDestination" not in sent


def test_several_objects_are_a_directory(rig: Rig) -> None:
    """Its size is that of all; there is no checksum of several."""
    id_ = rig.begin("c")
    transfer_id = rig.transfer_id(id_)
    for name in ("a.bin", "deep/er/b.bin"):
        rig.send(transfer_id, name, name.encode() * 1000)
    rig.connector.complete(transfer_id)
    (path,) = rig.service.wait(id_)["storage_paths"]
    directory = Path(path["storage_path"])
    assert sorted(str(one.relative_to(directory)) for one in directory.rglob("*.bin")) == [
        "a.bin",
        "deep/er/b.bin",
    ]
    assert (path["status"], path["size"], path["checksum"]) == ("SAVED", 1000 * (5 + 13), {})


def test_progress_is_shown_while_it_comes(rig: Rig) -> None:
    """As of a download."""
    id_ = rig.begin("c")
    transfer_id = rig.transfer_id(id_)
    rig.send(transfer_id, "first.bin", bytes(MIB))
    view = rig.service.wait(id_, until=lambda view: view["progress"]["bytes_transferred"] >= MIB)
    assert view["process_status"] == "DATA_ADDRESS_RETRIEVED"


def test_an_entry_may_name_a_permitted_place(tmp_path: Path) -> None:
    """A directory, in which the push gets one of its own; or a file, which is then the only object."""
    with pushed(tmp_path, orchestrator={"destinations": ["lake"]}) as rig:
        id_ = rig.begin("c", destination="lake:in/")
        transfer_id = rig.transfer_id(id_)
        rig.send(transfer_id, "x.txt", b"x")
        rig.connector.complete(transfer_id)
        (path,) = rig.service.wait(id_)["storage_paths"]
        assert path["storage_path"].startswith(f"lake:in/file_{transfer_id}_")
        assert path["storage_path"].endswith("/x.txt")

        id_ = rig.begin("c", destination="lake:in/this.txt")
        transfer_id = rig.transfer_id(id_)
        assert rig.send(transfer_id, "/other", b"y").status_code >= 400
        rig.send(transfer_id, "", b"this")
        rig.connector.complete(transfer_id)
        (path,) = rig.service.wait(id_)["storage_paths"]
        assert path["storage_path"] == "lake:in/this.txt"
        assert (tmp_path / "lake/in/this.txt").read_bytes() == b"this"
        assert rig.service.post(
            rig.service.request(data=[entry("c", transferType=PUSH, destination="orchestrator-data:")])
        ).json()["details"] == {"data": {"0": {"destination": ["Not a destination that requests may name."]}}}


def test_a_place_of_another_mechanism_is_refused_at_once(rig: Rig) -> None:
    """No address of a file can be handed out by a profile of S3: the sentence says the way out."""
    answer = rig.service.post(rig.service.request(data=[entry("c", transferType=S3_PUSH)]))
    assert answer.status_code == 400
    (sentence,) = answer.json()["details"]["data"]["0"]["transferType"]
    assert "use a location of type s3" in sentence


def test_a_service_that_nobody_signals_to_takes_no_push(tmp_path: Path) -> None:
    """Without a control plane of ours nobody could have a place prepared: refused before anything begins."""
    stranger = {"id": "stranger", "token": TOKEN, "participant_context_id": "other"}
    changes: dict[str, Any] = {
        "control_planes": [stranger],
        "participants": [{"id": "default"}, {"id": "other"}],
    }
    with pushed(tmp_path, **changes) as rig:
        answer = rig.service.post(rig.service.request(data=[entry("c", transferType=PUSH)]))
        (sentence,) = answer.json()["details"]["data"]["0"]["transferType"]
        assert "has to be the connector's data plane" in sentence


def test_a_connector_that_asks_elsewhere_fails_its_entries(rig: Rig) -> None:
    """It has another data plane, or hands nothing on: the entry says so, and its process is terminated."""
    rig.connector.hands_on = False
    id_ = rig.begin("c")
    (path,) = rig.service.wait(id_)["storage_paths"]
    assert (path["error_kind"], path["status_code"]) == ("unsupported", 500)
    assert "this service is not its data plane" in path["error"]
    assert rig.edc.processes[path["transfer_id"]].state == "TERMINATED"


def test_another_participants_connector_gets_no_place_of_ours(tmp_path: Path) -> None:
    """It repeats the reference of an entry, and is a stranger with a push that no landing zone takes."""
    other = "token-of-another-control-plane-0123456789"
    changes: dict[str, Any] = {
        "control_planes": [
            {"id": "connector", "token": TOKEN},
            {"id": "stranger", "token": other, "participant_context_id": "other"},
        ],
        "participants": [{"id": "default"}, {"id": "other"}],
        "landing_zones": [],
    }
    with pushed(tmp_path, looks=10_000, **changes) as rig:
        transfer_id = rig.transfer_id(rig.begin("c"), step="ASSET_REGISTERED")
        process = rig.edc.processes[transfer_id]
        told = process.request["dataplaneMetadata"]["properties"]
        body = message(f"{transfer_id}-2", "asset", PUSH, metadata=told)
        statuses = [
            rig.service.client.post(
                "/api/v1/dataflows/prepare", json=body, headers={"Authorization": f"Bearer {token}"}
            ).status_code
            for token in (other, TOKEN)
        ]
        assert statuses == [404, 200]


def test_what_was_begun_and_did_not_come_fails_the_entry(rig: Rig) -> None:
    """The provider says that it is done; here is less."""
    id_ = rig.begin("c")
    transfer_id = rig.transfer_id(id_)
    rig.send(transfer_id, "whole.bin", b"whole")
    path, headers = rig.connector.place(transfer_id)

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - ours, above
        rig.service.client.put(f"{path}broken.bin", content=broken(), headers={**headers})
    deadline = time.monotonic() + 20
    while len(rig.service.client.get(f"/management/dataflows/{transfer_id}/objects").json()["items"]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    rig.connector.complete(transfer_id)
    view = rig.service.wait(id_)
    assert view["process_status"] == "FAILED"
    (told,) = view["storage_paths"]
    assert (told["error_kind"], told["status_code"]) == ("incomplete", 502)
    assert "broken.bin" in told["error"]


def test_a_push_of_nothing_is_none(rig: Rig) -> None:
    """Completed, and nothing is there: no success."""
    id_ = rig.begin("c")
    transfer_id = rig.transfer_id(id_)
    rig.connector.complete(transfer_id)
    (path,) = rig.service.wait(id_)["storage_paths"]
    assert (path["status"], path["error_kind"], path["storage_path"]) == ("FAILED", "incomplete", None)
    assert "nothing has arrived" in path["error"]


def test_one_that_is_suspended_waits(rig: Rig) -> None:
    """Neither failed nor saved, until it is resumed and completed."""
    id_ = rig.begin("c")
    transfer_id = rig.transfer_id(id_)
    rig.connector.notify(transfer_id, "suspend")
    rig.edc.end(transfer_id, "SUSPENDED")
    assert rig.send(transfer_id, "x", b"x").status_code == 403
    time.sleep(1.0)
    assert rig.service.status(id_)["process_status"] == "DATA_ADDRESS_RETRIEVED"
    rig.connector.resume(transfer_id)
    rig.edc.end(transfer_id, "STARTED")
    rig.send(transfer_id, "x", b"x")
    rig.connector.complete(transfer_id)
    assert rig.service.wait(id_)["process_status"] == "COMPLETED"


def test_a_cancelled_push_is_ended_on_both_sides(rig: Rig) -> None:
    """The process is terminated, its flow too, and the provider's token opens nothing any more."""
    id_ = rig.begin("c")
    transfer_id = rig.transfer_id(id_)
    rig.send(transfer_id, "x", b"x")
    rig.service.client.delete(f"/orchestrate/{id_}", headers={"X-Api-Key": KEY})
    assert rig.service.wait(id_)["process_status"] == "CANCELLED"
    assert rig.edc.processes[transfer_id].state == "TERMINATED"
    assert rig.flow(transfer_id)["state"] == "TERMINATED"
    assert rig.send(transfer_id, "y", b"y").status_code in {401, 403, 404, 410}


def test_one_that_is_cancelled_before_it_starts_leaves_no_open_place(tmp_path: Path) -> None:
    """The place was handed out, and the provider has not begun: it is taken back all the same."""
    with pushed(tmp_path, looks=10_000) as rig:
        id_ = rig.begin("c")
        transfer_id = rig.transfer_id(id_, step="ASSET_REGISTERED")
        rig.edc.inject("terminate", Fault.STATUS, status=400, times=10)
        rig.service.client.delete(f"/orchestrate/{id_}", headers={"X-Api-Key": KEY})
        assert rig.service.wait(id_)["process_status"] == "CANCELLED"
        assert rig.flow(transfer_id)["state"] == "TERMINATED"


def test_the_provider_may_end_it(rig: Rig) -> None:
    """The entry fails with what the connector says."""
    id_ = rig.begin("c")
    transfer_id = rig.transfer_id(id_)
    rig.edc.end(transfer_id, "TERMINATED", "the contract has ended")
    rig.connector.notify(transfer_id, "terminate")
    (path,) = rig.service.wait(id_)["storage_paths"]
    assert (path["error_kind"], path["status_code"]) == ("transfer_ended", 502)
    assert path["error"].endswith("the contract has ended")


def test_a_refused_preparation_is_told(tmp_path: Path) -> None:
    """The place can't be made: the connector ends the process, and the entry says why."""
    gone = {"type": "file", "root": str(tmp_path / "not-there")}
    changes: dict[str, Any] = {
        "locations": {"gone": gone},
        "landing_zones": [],
        "orchestrator": {"destination": "gone:"},
    }
    with pushed(tmp_path, **changes) as rig:
        id_ = rig.begin("c")
        (path,) = rig.service.wait(id_)["storage_paths"]
        assert path["error_kind"] == "transfer_ended"
        assert "prepare was refused" in path["error"]


def test_a_connector_that_never_starts_is_late(tmp_path: Path) -> None:
    """``start_timeout_s`` holds for pushes too."""
    with pushed(tmp_path, looks=10_000, orchestrator={"start_timeout_s": 0.5}) as rig:
        id_ = rig.begin("c")
        (path,) = rig.service.wait(id_)["storage_paths"]
        assert (path["error_kind"], path["status_code"]) == ("late", 504)


def test_one_that_is_over_before_it_was_seen_to_start_is_stored(rig: Rig) -> None:
    """A push may take less time than the pause between two looks."""
    real = rig.connector.prepare

    def at_once(process: Process) -> None:
        real(process)
        rig.connector.started(process)
        rig.send(process.id, "quick", b"quick")
        rig.connector.complete(process.id)

    rig.edc.on_start = at_once
    assert rig.service.wait(rig.begin("c"))["process_status"] == "COMPLETED"


def test_a_strangers_push_is_not_taken_for_an_entrys(rig: Rig) -> None:
    """It names the entry, and belongs to another process: what it brings is left alone."""
    real = rig.connector.prepare

    def twice(process: Process) -> None:
        real(process)
        strange = Process(id=f"not-{process.id}", contract_id="c", reference=None, request=process.request)
        real(strange)
        rig.connector.started(strange)
        rig.send(strange.id, "wrong", b"wrong")
        rig.connector.notify(strange.id, "completed")

    rig.edc.on_start = twice
    id_ = rig.begin("c")
    transfer_id = rig.transfer_id(id_)
    rig.send(transfer_id, "right", b"right")
    rig.connector.complete(transfer_id)
    (path,) = rig.service.wait(id_)["storage_paths"]
    assert Path(path["storage_path"]).read_bytes() == b"right"


def test_a_connector_that_does_not_tell_the_end_is_not_waited_for(rig: Rig) -> None:
    """COMPLETED there, and never told here: nobody knows whether all has come."""
    id_ = rig.begin("c")
    transfer_id = rig.transfer_id(id_)
    rig.send(transfer_id, "x", b"x")
    rig.edc.end(transfer_id, "COMPLETED")
    (path,) = rig.service.wait(id_)["storage_paths"]
    assert (path["status"], path["error_kind"]) == ("FAILED", "late")


def test_pushes_and_pulls_go_together(rig: Rig) -> None:
    """One request may have both: the other entry's fetched file is there as ever."""
    rig.connector.offer("c")
    rig.service.put("pulled", "/pulled.json", b"{}")
    real_prepare, real_started = rig.connector.prepare, rig.connector.started
    rig.edc.on_start = lambda one: real_prepare(one) if one.contract_id == "c" else None
    rig.edc.on_started = lambda one: real_started(one) if one.contract_id == "c" else None
    id_ = rig.service.begin(data=[entry("pulled"), entry("c", transferType=PUSH)])
    transfer_id = rig.transfer_id(id_, position=1)
    rig.send(transfer_id, "x", b"x")
    rig.connector.complete(transfer_id)
    view = rig.service.wait(id_)
    # A connector of version 4 keeps no address: that is not what is tried here.
    assert [path["status"] for path in view["storage_paths"]][1] == "SAVED"


@pytest.fixture
def s3(juicefs: JuiceFs, tmp_path: Path) -> Iterator[tuple[Rig, Any]]:
    """Pushes by S3: the provider writes to the store itself, past this service."""
    client = s3_client(juicefs)
    client.create_bucket(Bucket=BUCKET)
    location = s3_location(
        juicefs,
        exclusive=True,
        share_access_key_id=juicefs.access_key_id,
        share_secret_access_key=juicefs.secret_access_key,
    )
    changes: dict[str, Any] = {
        "locations": {"s3": location},
        "landing_zones": [],
        "orchestrator": {"destination": f"s3:{BUCKET}/in/"},
    }
    try:
        with pushed(tmp_path, profile=S3_PUSH, **changes) as made:
            yield made, client
    finally:
        for one in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
            client.delete_object(Bucket=BUCKET, Key=one["Key"])
        client.delete_bucket(Bucket=BUCKET)


def test_what_was_written_past_us_is_looked_up(s3: tuple[Rig, Any]) -> None:
    """Size as the store says; nobody here saw a byte, and no level is claimed."""
    rig, client = s3
    id_ = rig.begin("c")
    transfer_id = rig.transfer_id(id_)
    address = rig.connector.places[transfer_id]
    prefix = address["endpoint"].removeprefix(f"s3://{BUCKET}/")
    assert prefix.startswith(f"in/file_{transfer_id}_")
    client.put_object(Bucket=BUCKET, Key=f"{prefix}x.bin", Body=b"x" * 1000)
    rig.connector.complete(transfer_id)
    (path,) = rig.service.wait(id_)["storage_paths"]
    assert (path["status"], path["size"], path["verification"]) == ("SAVED", 1000, "none"), path
    assert path["storage_path"] == f"s3:{BUCKET}/{prefix}x.bin"


def test_nothing_written_past_us_is_nothing(s3: tuple[Rig, Any]) -> None:
    """An empty place is no success either."""
    rig, _ = s3
    id_ = rig.begin("c")
    rig.connector.complete(rig.transfer_id(id_))
    (path,) = rig.service.wait(id_)["storage_paths"]
    assert (path["status"], path["error_kind"]) == ("FAILED", "incomplete")
