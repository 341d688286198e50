"""The service is killed around an orchestration's end: its webhook is told all the same, by one id."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers.edc import EdcConnector
from tests.servers.http_store import HttpStore, Kept
from tests.servers.orchestrator import CONNECTOR_KEY, KEY, entry
from tests.servers.webhook import HANG, Receiver

from dataferry.demo.planes import PlaneProcess
from dataferry.flows.orchestration.notices import SENDERS

SHOTS = 4
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAAAAAAA"


class Rig:
    """A real ``dataferry serve`` with a webhook."""

    def __init__(self, directory: Path, edc: EdcConnector, data: HttpStore, receiver: Receiver) -> None:
        self.edc, self.receiver = edc, receiver
        data.objects["/c"] = Kept(b"{}", headers={"Content-Type": "application/json"})
        edc.offer("c", f"{data.url}/c", token=lambda: "token-1")
        orchestrator = {
            "api_key": KEY,
            "data_storage_path": str(directory / "stored"),
            "connectors": [{"address": edc.address, "api_key": CONNECTOR_KEY, "api_version": "v3"}],
            "webhook": {"url": receiver.url, "secret": "env:WEBHOOK_SECRET"},
        }
        self.plane = PlaneProcess(
            "orchestrator",
            directory / "plane",
            {"egress": {"allow_private_networks": True}, "orchestrator": orchestrator},
            environment={"WEBHOOK_SECRET": SECRET},
        )

    def begin(self, count: int = 1) -> list[str]:
        """Ask for the same thing so often; return the ids."""
        body = {"data": [entry("c")], "connectorAddress": self.edc.address}
        with httpx.Client(base_url=self.plane.url, trust_env=False, headers={"X-Api-Key": KEY}) as client:
            answers = [client.post("/orchestrate", json=body) for _ in range(count)]
        return [str(answer.json()["orchestration_id"]) for answer in answers]

    def webhook(self, id_: str) -> Any:
        """Return how telling of one goes."""
        url = f"{self.plane.url}/status/{id_}"
        answer = httpx.get(url, headers={"X-Api-Key": KEY}, trust_env=False, timeout=10)
        return answer.json()["response"]["orchestration_processes"][id_]["webhook"]

    def delivered(self, id_: str) -> None:
        """Wait until the service knows that it was taken."""
        deadline = time.monotonic() + 30
        while self.webhook(id_)["status"] != "DELIVERED":
            assert time.monotonic() < deadline, self.webhook(id_)
            time.sleep(0.05)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Everything, on loopback."""
    with (
        EdcConnector(key=CONNECTOR_KEY) as edc,
        HttpStore(token="token-1") as data,
        Receiver(SECRET) as receiver,
    ):
        made = Rig(tmp_path, edc, data, receiver)
        try:
            made.plane.start()
            yield made
        finally:
            made.plane.stop()
            log = made.plane.process.log.read_text(errors="replace")
            assert "Traceback" not in log, log[-8000:]
            assert SECRET not in log


def test_an_answer_that_came_too_late_is_sent_again(rig: Rig) -> None:
    """Killed while the receiver has it: the next process sends it once more, under the same id."""
    rig.receiver.answers[:] = [HANG]
    (id_,) = rig.begin()
    rig.receiver.wait(1)
    rig.plane.kill()
    rig.receiver.released.set()
    rig.plane.start()
    first, second = rig.receiver.wait(2)
    assert first.id == second.id == id_
    assert first.body == second.body
    assert second.is_signed
    rig.delivered(id_)


def test_a_receiver_that_is_down_is_told_after_a_restart(rig: Rig) -> None:
    """It refuses, the service is killed, and killed again: what it says is in the database alone."""
    rig.receiver.answers[:] = [503] * 3
    (id_,) = rig.begin()
    rig.receiver.wait(1)
    for _ in range(2):
        rig.plane.kill()
        rig.plane.start()
    deadline = time.monotonic() + 60
    while not any(one.answered == 204 for one in rig.receiver.notices):
        assert time.monotonic() < deadline, rig.receiver.notices
        time.sleep(0.05)
    rig.delivered(id_)
    assert {one.id for one in rig.receiver.notices} == {id_}


def test_it_is_killed_again_and_again(rig: Rig) -> None:
    """Thirty orchestrations, a kill with every fifth notice: each end is told at least once, few twice."""
    shots: list[int] = []
    armed, begun = threading.Event(), threading.Event()

    def shoot(_: Any) -> None:
        begun.wait(30)
        if armed.is_set() and len(rig.receiver.notices) % 5 == 0 and len(shots) < SHOTS:
            armed.clear()
            shots.append(len(rig.receiver.notices))
            rig.plane.kill()

    rig.receiver.on_notice = shoot
    armed.set()
    ids = rig.begin(30)
    begun.set()
    deadline = time.monotonic() + 120
    while {one.id for one in rig.receiver.notices if one.answered == 204} != set(ids):
        assert time.monotonic() < deadline, len(rig.receiver.notices)
        if shots and not armed.is_set():
            rig.plane.start()
            armed.set()
        time.sleep(0.05)
    assert shots
    for id_ in ids:
        rig.delivered(id_)
    # A kill costs at most what was on its way: the senders' threads.
    assert len(rig.receiver.notices) <= len(ids) + SHOTS * SENDERS
