"""The service is killed while a provider's plane pushes to it: what was asked for goes on by itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers.edc import EdcConnector, Fault
from tests.servers.orchestrator import CONNECTOR_KEY, KEY, OVER, entry
from tests.servers.plane import CALLBACK_TOKEN, MIB, TOKEN, Rig
from tests.servers.pushing import PUSH, PushedConnector

from dataferry.demo.control_plane import ScriptedControlPlane, message
from dataferry.demo.planes import PlaneProcess

SIZE = 48 * MIB
BYTES_PER_S = 8 * MIB

View = dict[str, Any]


class Pushing:
    """Two real planes: the provider's, which pushes, and the orchestrator's, which is killed."""

    def __init__(self, directory: Path, edc: EdcConnector) -> None:
        self.edc = edc
        self.source = directory / "source"
        self.source.mkdir(parents=True)
        self.callbacks = ScriptedControlPlane(callback_token=CALLBACK_TOKEN)
        self.callbacks.start()
        self.stored = directory / "stored"
        self.plane = PlaneProcess(
            "orchestrator",
            directory / "plane",
            {
                "server": {"allow_http_on_loopback": True},
                "egress": {"allow_private_networks": True},
                "control_planes": [
                    {
                        "id": "connector",
                        "token": TOKEN,
                        "endpoint": self.callbacks.endpoint_url,
                        "callback_token": CALLBACK_TOKEN,
                        "retries": "replay",
                    }
                ],
                "orchestrator": {
                    "api_key": KEY,
                    "data_storage_path": str(self.stored),
                    "data_address_delay_s": 0.2,
                    "watch_interval_s": 0.5,
                    "connectors": [{"address": edc.address, "api_key": CONNECTOR_KEY, "api_version": "v4"}],
                },
            },
        )
        self.provider = Rig(
            directory / "provider",
            locations={"files": {"type": "file", "root": str(self.source)}},
            datasets=[{"match": "*", "source": "files:", "bandwidth_bytes_per_s": BYTES_PER_S}],
            engine={"attempts": 20, "flow_retries": 20},
        )
        self.connector = PushedConnector(edc, self._post)
        self.connector.offer("c")
        edc.on_started = self._started
        self.client = httpx.Client(trust_env=False, timeout=10)

    def _post(self, verb: str, body: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = f"{self.plane.url}/api/v1/dataflows/{verb}"
        return httpx.post(url, json=body, headers=headers, trust_env=False, timeout=10)

    def _started(self, process: Any) -> None:
        """The provider's connector has its plane push, and tells ours."""
        body = message(process.id, "asset", PUSH, dataAddress=self.connector.places[process.id])
        reply = self.provider.control_plane.start_flow(self.provider.address, body)
        assert reply.status in {200, 202}, reply.body
        self.connector.started(process)

    def begin(self) -> str:
        """Ask for a push; return the orchestration's id."""
        body = {"data": [entry("c", transferType=PUSH)], "connectorAddress": self.edc.address}
        answer = self.client.post(f"{self.plane.url}/orchestrate", json=body, headers={"X-Api-Key": KEY})
        return str(answer.json()["orchestration_id"])

    def wait(self, id_: str, until: Callable[[View], bool], timeout_s: float = 90) -> View:
        """Return an orchestration once it is so; the service may be down meanwhile."""
        deadline = time.monotonic() + timeout_s
        view: View = {}
        while time.monotonic() < deadline:
            try:
                answer = self.client.get(f"{self.plane.url}/status/{id_}", headers={"X-Api-Key": KEY})
                view = answer.json()["response"]["orchestration_processes"][id_]
            except httpx.TransportError:
                view = {}
            if view and until(view):
                return view
            time.sleep(0.05)
        raise AssertionError(f"{view}\n{self.plane.process.log_tail()}")

    def restart(self) -> None:
        """Kill the service and start it again."""
        self.plane.kill()
        self.plane.start()

    def sent(self, process_id: str) -> None:
        """Wait until the provider's plane is done, and let its connector say so."""
        self.provider.wait_finished(process_id, timeout_s=90)
        self.connector.complete(process_id)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Pushing]:
    """Everything, on loopback."""
    with EdcConnector(key=CONNECTOR_KEY, versions=("v4",)) as edc:
        made = Pushing(tmp_path, edc)
        try:
            made.plane.start()
            made.provider.plane.start()
            yield made
        finally:
            made.client.close()
            made.plane.stop()
            made.provider.close()
            made.callbacks.stop()
            log = made.plane.process.log.read_text(errors="replace")
            assert "Traceback" not in log, log[-8000:]


def test_a_push_goes_on_after_kill_nine(rig: Pushing) -> None:
    """In the middle, then again before the end is told: one process, one flow, the whole content."""
    content = os.urandom(SIZE)
    (rig.source / "data.bin").write_bytes(content)
    id_ = rig.begin()
    rig.wait(id_, lambda view: view["progress"]["bytes_transferred"] > SIZE // 4)
    rig.restart()
    (process_id,) = rig.edc.processes
    rig.provider.wait_finished(process_id, timeout_s=90)
    rig.restart()
    rig.connector.complete(process_id)
    rig.plane.kill()
    rig.plane.start()
    view = rig.wait(id_, lambda view: view["process_status"] in OVER)
    assert view["process_status"] == "COMPLETED", view
    (path,) = view["storage_paths"]
    assert Path(path["storage_path"]).read_bytes() == content
    assert path["size"] == SIZE
    assert len(rig.edc.processes) == 1
    assert len(list(rig.stored.iterdir())) == 2


def test_a_push_whose_start_was_cut_off_is_not_started_twice(rig: Pushing) -> None:
    """Killed between the connector's yes and our row: process and prepared place are found again."""
    (rig.source / "data.bin").write_bytes(b"bytes")
    rig.edc.inject("start", Fault.LOSE_ANSWER)
    rig.edc.inject("query", Fault.HANG, times=3)
    id_ = rig.begin()
    deadline = time.monotonic() + 20
    while not rig.connector.places:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    rig.plane.kill()
    rig.edc.clear()
    rig.plane.start()
    rig.wait(id_, lambda view: view["process_status"] == "DATA_ADDRESS_RETRIEVED")
    (process_id,) = rig.edc.processes
    rig.sent(process_id)
    view = rig.wait(id_, lambda view: view["process_status"] in OVER)
    assert view["process_status"] == "COMPLETED", view
    assert Path(view["storage_paths"][0]["storage_path"]).read_bytes() == b"bytes"
    assert len(rig.edc.processes) == 1
