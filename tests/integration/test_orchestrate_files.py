"""Entries that name the file to store at: two never write one at the same time, and none is lost unsaid."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers.edc import EdcConnector
from tests.servers.orchestrator import CONNECTOR_KEY, KEY, Orchestrating, entry, orchestrating, settings
from tests.unit.api.api_rig import served

from dataferry.app.composition import build
from dataferry.app.settings import Settings

NEVER = 10_000_000


def _changes(directory: Path) -> dict[str, Any]:
    """Two locations, one of which is a directory of the other."""
    (directory / "lake").mkdir(exist_ok=True)
    return {
        "locations": {
            "lake": {"type": "file", "root": str(directory / "lake")},
            "all": {"type": "file", "root": str(directory)},
        },
        "orchestrator": {"destinations": ["lake", "all"]},
    }


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Orchestrating]:
    """A service with the contracts ``c0``, ``c1`` and ``c2``, whose data is their name."""
    with orchestrating(tmp_path, **_changes(tmp_path)) as running:
        for name in ("c0", "c1", "c2"):
            running.put(name, f"/{name}", name.encode())
        yield running


def _request(rig: Orchestrating, *destinations: str, first: int = 0) -> dict[str, Any]:
    return rig.request(
        data=[
            entry(f"c{position}", destination=destination)
            for position, destination in enumerate(destinations, first)
        ]
    )


def _begin(rig: Orchestrating, *destinations: str, first: int = 0) -> str:
    answer = rig.post(_request(rig, *destinations, first=first))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["orchestration_id"])


def _stored(rig: Orchestrating, name: str) -> tuple[str, str]:
    """A file of the lake, and the contract that stands beside it."""
    path = rig.directory / "lake" / name
    return path.read_text(), json.loads(Path(f"{path}.meta.json").read_text())["contract_id"]


def _begun(edc: EdcConnector) -> list[str]:
    """Contracts for which a transfer was asked for, in order."""
    return [call.body["contractId"] for call in edc.calls if call.operation == "start"]


def _until(edc: EdcConnector, *contracts: str) -> None:
    deadline = time.monotonic() + 30
    while _begun(edc) != list(contracts):
        assert time.monotonic() < deadline, _begun(edc)
        time.sleep(0.02)


@pytest.mark.parametrize(
    "second",
    ["lake:same.json", "all:lake/same.json", "lake:same.json.meta.json", "lake:same.json/within.json"],
)
def test_one_request_does_not_write_a_file_twice(rig: Orchestrating, second: str) -> None:
    """By whatever name, as a file, its sidecar or within it: refused, and the entry is named."""
    answer = rig.post(_request(rig, "lake:same.json", "lake:other.json", second))
    assert answer.status_code == 400
    (told,) = answer.json()["details"]["data"]["2"].pop("destination")
    assert told.startswith("Entry 0 writes there too. Name another file, or a directory")
    assert answer.json()["details"]["data"].keys() == {"2"}
    assert rig.edc.count("start") == 0


def test_entries_may_share_a_directory(rig: Orchestrating) -> None:
    """Each has a name of its own there; so have files whose names only begin alike."""
    view = rig.wait(_begin(rig, "lake:in/", "lake:in/", "lake:"))
    assert len({path["storage_path"] for path in view["storage_paths"]}) == 3
    view = rig.wait(_begin(rig, "lake:a", "lake:ab", "lake:a.json"))
    assert [path["status"] for path in view["storage_paths"]] == ["SAVED"] * 3


def test_without_sidecars_their_names_are_free(tmp_path: Path) -> None:
    """Nothing else is written there then."""
    changes = _changes(tmp_path)
    changes["orchestrator"]["sidecar"] = False
    with orchestrating(tmp_path, **changes) as rig:
        rig.put("c0", "/c0", b"x")
        rig.put("c1", "/c1", b"y")
        view = rig.wait(_begin(rig, "lake:a", "lake:a.meta.json"))
        assert view["process_status"] == "COMPLETED"


def test_the_faults_of_a_long_request_are_told_in_part(rig: Orchestrating) -> None:
    """As those of its form are: the first fifty."""
    for wrong in (
        {"destination": "lake:same.json"},
        {"destination": "nowhere:x"},
        {"destination": "nowhere:x", "transferType": "pigeon"},
        {"destination": "nowhere", "contractId": None, "assetId": "a"},
    ):
        answer = rig.post(rig.request(data=[entry("c0", **wrong)] * 1000))
        assert answer.status_code == 400
        told = answer.json()["details"]["data"]
        assert sum(len(faults) for faults in told.values()) == 50
        assert list(told) == sorted(told, key=int)
        assert int(next(iter(told))) <= 1
        assert len(answer.content) < 20_000


def test_one_request_after_the_other_writes_a_file(rig: Orchestrating) -> None:
    """The second begins once the first is over, and replaces what it stored, sidecar too; others go on."""
    rig.edc.looks = NEVER
    first = _begin(rig, "lake:same.json")
    _until(rig.edc, "c0")
    second = _begin(rig, "all:lake/same.json", first=1)
    third = _begin(rig, "lake:other.json", first=2)
    _until(rig.edc, "c0", "c2")
    rig.edc.looks = 1
    for id_ in (first, second, third):
        assert rig.wait(id_)["process_status"] == "COMPLETED"
    assert _begun(rig.edc) == ["c0", "c2", "c1"]
    assert _stored(rig, "same.json") == ("c1", "c1")
    assert _stored(rig, "other.json") == ("c2", "c2")


def test_who_is_called_off_leaves_its_turn(rig: Orchestrating) -> None:
    """Whether it was waiting for it or had it."""
    rig.edc.looks = NEVER
    first = _begin(rig, "lake:same.json")
    _until(rig.edc, "c0")
    second, third = (_begin(rig, "lake:same.json", first=position) for position in (1, 2))
    for id_ in (second, first):
        rig.client.delete(f"/orchestrate/{id_}", headers={"X-Api-Key": KEY}).raise_for_status()
    _until(rig.edc, "c0", "c2")
    rig.edc.looks = 1
    assert rig.wait(third)["process_status"] == "COMPLETED"
    assert _stored(rig, "same.json") == ("c2", "c2")


def test_a_later_request_replaces_a_file(rig: Orchestrating) -> None:
    """Whoever names a file that is there means it."""
    rig.wait(_begin(rig, "lake:same.json"))
    rig.wait(_begin(rig, "lake:same.json", first=1))
    assert _stored(rig, "same.json") == ("c1", "c1")


def test_a_turn_outlives_a_restart(tmp_path: Path) -> None:
    """What was begun before goes on; who waits for it still does."""
    with EdcConnector(key=CONNECTOR_KEY, looks=NEVER) as edc:
        configured = Settings.model_validate(settings(tmp_path, edc, **_changes(tmp_path)))

        def ask(url: str, contract: str, name: str) -> None:
            edc.offer(contract, "http://127.0.0.1:9/c")
            wanted = [entry(contract, destination=f"lake:{name}")]
            body = {"data": wanted, "connectorAddress": edc.address}
            answer = httpx.post(f"{url}/orchestrate", json=body, headers={"X-Api-Key": KEY}, trust_env=False)
            answer.raise_for_status()

        with build(configured) as service, served(service.application) as url:
            ask(url, "c0", "same")
            _until(edc, "c0")
            ask(url, "c1", "same")
            ask(url, "c2", "other")
            _until(edc, "c0", "c2")
        edc.calls.clear()
        with build(configured) as service, served(service.application) as url:
            ask(url, "c3", "another")
            _until(edc, "c3")
