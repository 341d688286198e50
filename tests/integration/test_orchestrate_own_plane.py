"""Connectors that keep no data addresses: they come to this very service, as the connector's data plane."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.edc import EdcConnector, Process
from tests.servers.http_store import HttpStore
from tests.servers.orchestrator import CONNECTOR_KEY, KEY, Orchestrating, orchestrating
from tests.servers.plane import CALLBACK_TOKEN, TOKEN

from dataferry.demo.control_plane import ScriptedControlPlane

MIB = 1024 * 1024


class ControlPlane:
    """The connector's other face: it prepares a flow for each process, and tells its address when it starts.

    Args:
        rig: The service that is its data plane, and its orchestrator.
        callbacks: Where the data plane calls back.
    """

    def __init__(self, rig: Orchestrating, callbacks: ScriptedControlPlane) -> None:
        self._rig = rig
        self.callbacks = callbacks
        rig.edc.on_start, rig.edc.on_started = self.prepare, self.started

    def prepare(self, process: Process) -> None:
        """Hand on what the transfer request says for the data plane, as EDC does."""
        told = process.request["dataplaneMetadata"]
        properties = told["properties"]
        self._post(
            "prepare",
            {
                "messageId": "m1",
                "participantId": "did:web:us",
                "counterPartyId": "did:web:them",
                "dataspaceContext": "test",
                "processId": process.id,
                "agreementId": process.contract_id,
                "datasetId": "asset",
                "profile": "HttpData-PULL",
                "metadata": properties.get("@value", properties),
            },
        )

    def started(self, process: Process) -> None:
        """Bring the address."""
        offer = self._rig.edc.offers[process.contract_id]
        properties = {"authorization": offer.token(), "authType": "bearer"}
        address = {
            "endpointType": "HttpData",
            "endpoint": offer.url,
            "endpointProperties": [{"name": name, "value": value} for name, value in properties.items()],
        }
        self._post(f"{process.id}/started", {"messageId": "m2", "dataAddress": address})

    def _post(self, verb: str, body: dict[str, Any]) -> None:
        answer = self._rig.client.post(
            f"/api/v1/dataflows/{verb}", json=body, headers={"Authorization": f"Bearer {TOKEN}"}
        )
        assert answer.status_code == 200, answer.text

    def flow(self, process_id: str) -> dict[str, Any]:
        """Return a flow as operators see it."""
        found: dict[str, Any] = self._rig.client.get(f"/management/dataflows/{process_id}").json()
        return found

    def wait_kinds(self, process_id: str, *kinds: str) -> None:
        """Wait until the callbacks of a process are these."""
        deadline = time.monotonic() + 20
        while (told := [one.kind for one in self.callbacks.accepted(process_id)]) != list(kinds):
            assert time.monotonic() < deadline, told
            time.sleep(0.05)


@pytest.fixture(params=["v4", "v3"])
def plane(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Orchestrating, ControlPlane]]:
    """A service that is both; where other flows land, those of orchestrations do not."""
    callbacks = ScriptedControlPlane(callback_token=CALLBACK_TOKEN)
    callbacks.start()
    edc = EdcConnector(key=CONNECTOR_KEY, versions=(request.param,))
    changes: dict[str, Any] = {
        "control_planes": [
            {
                "id": "connector",
                "token": TOKEN,
                "endpoint": callbacks.endpoint_url,
                "callback_token": CALLBACK_TOKEN,
            }
        ],
        "locations": {"lake": {"type": "file", "root": str(tmp_path)}},
        "landing_zones": [{"name": "all", "sink": "lake:landed/{processId}/", "manifest": True}],
    }
    try:
        with orchestrating(tmp_path, edc=edc, data=HttpStore(token="token-1"), **changes) as rig:
            yield rig, ControlPlane(rig, callbacks)
    finally:
        callbacks.stop()


def test_the_flow_that_the_connector_opened_is_claimed(plane: tuple[Orchestrating, ControlPlane]) -> None:
    """It is downloaded once, to where the orchestrator says, and completed at its control plane."""
    rig, control = plane
    content = os.urandom(2 * MIB)
    rig.put("c", "/c.bin", content, "application/octet-stream")
    view = rig.wait(rig.begin("c"))
    assert view["process_status"] == "COMPLETED", view
    (path,) = view["storage_paths"]
    assert Path(path["storage_path"]).read_bytes() == content
    assert len(rig.files()) == 2
    assert not (rig.directory / "landed").exists()
    control.wait_kinds(path["transfer_id"], "completed")
    assert control.flow(path["transfer_id"])["state"] == "COMPLETED"
    assert rig.edc.count("terminate") == 0
    assert rig.edc.count("edr") == 0
    with rig.service._runner._shared.store.snapshot() as tx:
        assert len(tx.flows.list()[0]) == 1
    assert sum(one.method == "GET" for one in rig.data.requests) <= 2


def test_a_claimed_flow_is_ended_with_its_entry(plane: tuple[Orchestrating, ControlPlane]) -> None:
    """Cancelled in the middle: the flow is terminated, its control plane told, the process terminated."""
    rig, control = plane
    rig.put("c", "/c.bin", os.urandom(256 * MIB), "application/octet-stream")
    id_ = rig.begin("c")
    rig.wait(id_, until=lambda view: view["process_status"] == "DATA_ADDRESS_RETRIEVED")
    rig.client.delete(f"/orchestrate/{id_}", headers={"X-Api-Key": KEY})
    view = rig.wait(id_)
    assert view["process_status"] == "CANCELLED"
    transfer_id = view["storage_paths"][0]["transfer_id"]
    assert control.flow(transfer_id)["state"] == "TERMINATED"
    control.wait_kinds(transfer_id, "errored")
    assert rig.edc.processes[transfer_id].state == "TERMINATED"


def test_a_claim_that_was_cut_off_is_made_again(
    plane: tuple[Orchestrating, ControlPlane], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written that it downloads, and not yet where to: the next step says it again."""
    rig, _ = plane
    downloads = rig.service._runner._steps._downloads
    real = type(downloads).direct
    calls: list[Any] = []

    def once_lost(self: Any, entry: Any) -> None:
        calls.append(entry)
        if len(calls) > 1:
            real(self, entry)

    monkeypatch.setattr(type(downloads), "direct", once_lost)
    rig.put("c", "/c.bin", b"bytes", "application/octet-stream")
    view = rig.wait(rig.begin("c"))
    assert view["process_status"] == "COMPLETED", view
    assert len(calls) == 2


def test_a_stranger_can_not_have_its_flow_claimed(plane: tuple[Orchestrating, ControlPlane]) -> None:
    """A flow that names an entry, but belongs to another process, is left alone."""
    rig, control = plane
    rig.put("c", "/c.bin", b"right", "application/octet-stream")
    rig.put("other", "/other.bin", b"wrong", "application/octet-stream")
    real = control.prepare

    def twice(process: Process) -> None:
        strange = Process(
            id=f"not-{process.id}", contract_id="other", reference=None, request=process.request
        )
        real(process)
        real(strange)
        control.started(strange)

    rig.edc.on_start = twice
    view = rig.wait(rig.begin("c"))
    assert Path(view["storage_paths"][0]["storage_path"]).read_bytes() == b"right"
