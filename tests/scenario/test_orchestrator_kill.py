"""The service or its database is killed while entries are under way: then it goes on by itself."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select
from tests.servers.edc import EdcConnector, Fault
from tests.servers.http_store import HttpStore, Kept
from tests.servers.orchestrator import CONNECTOR_KEY, KEY, OVER, entry
from tests.servers.postgresql import PostgresServer

from dataferry.demo.planes import PlaneProcess
from dataferry.store import schema
from dataferry.store.database import Database

MIB = 1024 * 1024
PART = MIB
SIZE = 24 * MIB

USE = {"permission": [{"action": "use"}]}

View = dict[str, Any]


class Rig:
    """A real ``dataferry serve``, its connector and the provider's data."""

    def __init__(self, directory: Path, database_url: str, edc: EdcConnector, data: HttpStore) -> None:
        self.database_url = database_url
        self.edc, self.data = edc, data
        self.stored = directory / "stored"
        engine = {
            "workers": 2,
            "part_size_bytes": PART,
            "multipart_threshold_bytes": PART,
            "bandwidth_bytes_per_s": 6 * MIB,
        }
        orchestrator = {
            "api_key": KEY,
            "data_storage_path": str(self.stored),
            "data_address_delay_s": 0.2,
            "connectors": [{"address": edc.address, "api_key": CONNECTOR_KEY, "api_version": "v3"}],
            "accepted_policies": [{"name": "use", "providers": ["*"], **USE}],
        }
        settings = {
            "store": {"url": database_url},
            "secrets": {"key_file": str(directory / "store.key")},
            "engine": engine,
            "egress": {"allow_private_networks": True},
            "orchestrator": orchestrator,
        }
        self.plane = PlaneProcess("orchestrator", directory / "plane", settings)
        self.client = httpx.Client(
            base_url=self.plane.url, trust_env=False, timeout=10, headers={"X-Api-Key": KEY}
        )

    def begin(self, *contracts: str) -> str:
        """Ask for these contracts; return the orchestration's id."""
        body = {"data": [entry(one) for one in contracts], "connectorAddress": self.edc.address}
        return str(self.client.post("/orchestrate", json=body).json()["orchestration_id"])

    def negotiate(self, *assets: str) -> str:
        """Ask for these assets, of which there is no contract; return the orchestration's id."""
        entries = [entry("", assetId=asset) for asset in assets]
        for one in entries:
            del one["contractId"]
        body = {"data": entries, "connectorAddress": self.edc.address}
        return str(self.client.post("/orchestrate", json=body).json()["orchestration_id"])

    def wait(self, id_: str, until: Callable[[View], bool], timeout_s: float = 60) -> View:
        """Return an orchestration once it is so; the service, or its database, may be down meanwhile."""
        deadline = time.monotonic() + timeout_s
        view: View = {}
        while time.monotonic() < deadline:
            view = self._look(id_)
            if view and until(view):
                return view
            time.sleep(0.05)
        raise AssertionError(f"{view}\n{self.plane.process.log_tail()}")

    def _look(self, id_: str) -> View:
        """Return an orchestration; empty while the service is down, or says that its database is."""
        try:
            answer = self.client.get(f"/status/{id_}")
        except httpx.TransportError:
            return {}
        if "Retry-After" in answer.headers:
            return {}
        found: View = answer.json()["response"]["orchestration_processes"][id_]
        return found

    def over(self, id_: str) -> View:
        """Return an orchestration once it is over."""
        return self.wait(id_, lambda view: view["process_status"] in OVER)

    def restart(self) -> None:
        """Kill the service and start it again."""
        self.plane.kill()
        self.plane.start()


@pytest.fixture
def rig(tmp_path: Path, database_url: str) -> Iterator[Rig]:
    """Everything, on loopback; once on each kind of database."""
    with running(tmp_path, database_url) as made:
        yield made


@contextmanager
def running(directory: Path, database_url: str) -> Iterator[Rig]:
    """Run a service on a database, with a connector and a provider's data."""
    with EdcConnector(key=CONNECTOR_KEY) as edc, HttpStore(token="token-1") as data:
        made = Rig(directory, database_url, edc, data)
        try:
            made.plane.start()
            yield made
        finally:
            made.client.close()
            made.plane.stop()
            log = made.plane.process.log.read_text(errors="replace")
            assert "Traceback" not in log, log[-8000:]


def _moved(view: View) -> int:
    return int(view["progress"]["bytes_transferred"])


def _sent(data: HttpStore) -> int:
    """How many bytes of ranges were asked for."""
    total = 0
    for request in data.requests:
        asked = request.headers.get("Range", "")
        if request.method == "GET" and asked.startswith("bytes="):
            first, last = asked.removeprefix("bytes=").split("-")
            total += int(last) - int(first) + 1
    return total


def test_a_download_goes_on_after_kill_nine(rig: Rig) -> None:
    """From the same ledger, under the same name, by the same process: little is fetched twice."""
    content = os.urandom(SIZE)
    rig.data.objects["/big"] = Kept(content, headers={"Content-Type": "application/x-tar"})
    rig.data.objects["/small"] = Kept(b"{}", headers={"Content-Type": "application/json"})
    for contract in ("big", "small"):
        rig.edc.offer(contract, f"{rig.data.url}/{contract}", token=lambda: "token-1")
    id_ = rig.begin("big", "small")
    rig.wait(id_, lambda view: _moved(view) > 6 * MIB)
    rig.restart()
    view = rig.over(id_)
    assert view["process_status"] == "COMPLETED", view
    big, small = view["storage_paths"]
    assert Path(big["storage_path"]).read_bytes() == content
    assert Path(small["storage_path"]).read_bytes() == b"{}"
    assert len(rig.edc.processes) == 2
    assert _sent(rig.data) <= SIZE + 2 * 2 * PART + 2
    names = sorted(path.name for path in rig.stored.iterdir())
    assert len(names) == 4, names
    assert json.loads(Path(f"{big['storage_path']}.meta.json").read_text())["size"] == SIZE


def test_a_process_whose_start_was_cut_off_is_not_started_twice(rig: Rig) -> None:
    """Killed between the connector's yes and our row: the process is found again by its reference."""
    rig.data.objects["/c"] = Kept(b"bytes")
    rig.edc.offer("c", f"{rig.data.url}/c", token=lambda: "token-1")
    rig.edc.inject("start", Fault.LOSE_ANSWER)
    rig.edc.inject("query", Fault.HANG, times=3)
    id_ = rig.begin("c")
    deadline = time.monotonic() + 20
    while not rig.edc.processes and time.monotonic() < deadline:
        time.sleep(0.02)
    rig.plane.kill()
    rig.edc.clear()
    rig.plane.start()
    assert rig.over(id_)["process_status"] == "COMPLETED"
    assert len(rig.edc.processes) == 1


def test_a_negotiation_whose_request_was_cut_off_is_not_begun_twice(rig: Rig) -> None:
    """Killed between the connector's yes and our row: the negotiation is found again by its reference."""
    rig.data.objects["/a"] = Kept(b"bytes")
    rig.edc.offer("a", f"{rig.data.url}/a", token=lambda: "token-1")
    rig.edc.contracts.assets["a"] = [USE]
    rig.edc.inject("negotiate", Fault.LOSE_ANSWER)
    rig.edc.inject("negotiations", Fault.HANG, times=3)
    id_ = rig.negotiate("a")
    deadline = time.monotonic() + 20
    while not rig.edc.contracts.negotiations and time.monotonic() < deadline:
        time.sleep(0.02)
    rig.plane.kill()
    rig.edc.clear()
    rig.plane.start()
    view = rig.over(id_)
    assert view["process_status"] == "COMPLETED"
    (negotiation,) = rig.edc.contracts.negotiations.values()
    assert view["storage_paths"][0]["contract_id"] == negotiation.agreement_id
    assert (rig.edc.count("dataset"), rig.edc.count("negotiate")) == (1, 1)


def test_a_cancelled_negotiation_that_nobody_knew_of_is_broken_off(rig: Rig) -> None:
    """Called off while the answer was lost, and killed: the next process finds it and takes it back."""
    rig.edc.contracts.assets["a"] = [USE]
    rig.edc.contracts.looks = 10_000
    rig.edc.offer("a", f"{rig.data.url}/a")
    rig.edc.inject("negotiate", Fault.LOSE_ANSWER)
    rig.edc.inject("negotiations", Fault.HANG, times=10)
    id_ = rig.negotiate("a")
    deadline = time.monotonic() + 20
    while not rig.edc.contracts.negotiations and time.monotonic() < deadline:
        time.sleep(0.02)
    assert rig.client.delete(f"/orchestrate/{id_}").status_code == 200
    rig.plane.kill()
    rig.edc.clear()
    rig.plane.start()
    assert rig.over(id_)["process_status"] == "CANCELLED"
    assert [one.state for one in rig.edc.contracts.negotiations.values()] == ["TERMINATED"]


def test_it_is_killed_again_and_again_while_it_negotiates(rig: Rig) -> None:
    """Whatever the moment: every asset has one negotiation, one process and one file."""
    assets = [f"a{number}" for number in range(12)]
    rig.edc.contracts.looks = 4
    for asset in assets:
        rig.data.objects[f"/{asset}"] = Kept(asset.encode())
        rig.edc.offer(asset, f"{rig.data.url}/{asset}", token=lambda: "token-1")
        rig.edc.contracts.assets[asset] = [USE]
    id_ = rig.negotiate(*assets)
    for number in range(5):
        time.sleep(0.15 * number)
        rig.restart()
    view = rig.over(id_)
    assert view["process_status"] == "COMPLETED", view
    assert len(rig.edc.contracts.negotiations) == len(rig.edc.processes) == len(assets)
    for asset, path in zip(assets, view["storage_paths"], strict=True):
        assert Path(path["storage_path"]).read_bytes() == asset.encode()


def test_a_cancellation_outlives_a_crash(rig: Rig) -> None:
    """Killed right after it was answered: what runs is taken back by the next process."""
    rig.data.objects["/big"] = Kept(os.urandom(SIZE))
    rig.edc.offer("big", f"{rig.data.url}/big", token=lambda: "token-1")
    id_ = rig.begin(*["big"] * 3)
    rig.wait(id_, lambda view: _moved(view) > MIB)
    rig.edc.inject("terminate", Fault.HANG, times=10)
    assert rig.client.delete(f"/orchestrate/{id_}").status_code == 200
    rig.plane.kill()
    rig.edc.clear()
    rig.plane.start()
    view = rig.over(id_)
    assert (view["process_status"], view["entries_cancelled"]) == ("CANCELLED", 3)
    assert {process.state for process in rig.edc.processes.values()} == {"TERMINATED"}
    deadline = time.monotonic() + 20
    while list(rig.stored.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list(rig.stored.iterdir()) == []


def test_it_is_killed_again_and_again(rig: Rig) -> None:
    """Whatever the moment: every entry is there once, whole, and no process was started twice."""
    contracts = [f"c{number}" for number in range(12)]
    for number, contract in enumerate(contracts):
        rig.data.objects[f"/{contract}"] = Kept(contract.encode() * (1 + number * 40_000))
        rig.edc.offer(contract, f"{rig.data.url}/{contract}", token=lambda: "token-1")
    id_ = rig.begin(*contracts)
    for number in range(5):
        time.sleep(0.25 * number)
        rig.restart()
    view = rig.over(id_)
    assert view["process_status"] == "COMPLETED", view
    assert len(rig.edc.processes) == len(contracts)
    for number, (contract, path) in enumerate(zip(contracts, view["storage_paths"], strict=True)):
        assert Path(path["storage_path"]).read_bytes() == contract.encode() * (1 + number * 40_000)
    assert len(list(rig.stored.iterdir())) == 2 * len(contracts)
    with closing(Database(rig.database_url)) as database, database.read() as connection:
        counts = [
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (schema.flows, schema.outbox)
        ]
    assert counts == [len(contracts), 0]


def test_its_database_crashes_again_and_again(tmp_path: Path) -> None:
    """Whatever was being written: entries wait for PostgreSQL; none fails, and none is started twice."""
    with (
        PostgresServer(durable=True) as server,
        server.database() as url,
        running(tmp_path, url) as rig,
    ):
        contents = {f"c{number}": os.urandom(1 + number * 500_000) for number in range(8)}
        for contract, content in contents.items():
            rig.data.objects[f"/{contract}"] = Kept(content)
            rig.edc.offer(contract, f"{rig.data.url}/{contract}", token=lambda: "token-1")
        id_ = rig.begin(*contents)
        for number in range(4):
            time.sleep(0.4 * number)
            server.crash()
            time.sleep(0.5)
            server.start()
        view = rig.over(id_)
        assert view["process_status"] == "COMPLETED", view
        stored = [Path(path["storage_path"]).read_bytes() for path in view["storage_paths"]]
        assert stored == list(contents.values())
        assert len(rig.edc.processes) == len(contents)
        assert len(list(rig.stored.iterdir())) == 2 * len(contents)
