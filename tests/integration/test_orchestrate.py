"""Lists of assets through a connector into files: the way there, and whatever goes wrong on it."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers.edc import EdcConnector, Fault
from tests.servers.http_store import Fault as DataFault
from tests.servers.http_store import HttpStore, Kept
from tests.servers.orchestrator import (
    CONNECTOR_KEY,
    KEY,
    OVER,
    Orchestrating,
    entry,
    orchestrating,
    settings,
)
from tests.unit.api.api_rig import served

from dataferry.app.composition import build
from dataferry.app.settings import Settings
from dataferry.domain.dataflow import DataFlow, State
from dataferry.domain.errors import ProtocolError
from dataferry.domain.orchestration import Entry
from dataferry.flows.orchestration.closing import Closing
from dataferry.flows.orchestration.downloads import Downloads
from dataferry.flows.orchestration.work import Next, Work

MIB = 1024 * 1024


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Orchestrating]:
    """A service, a connector and a provider's data plane."""
    with orchestrating(tmp_path) as running:
        yield running


def _only(view: dict[str, Any]) -> dict[str, Any]:
    (found,) = view["storage_paths"]
    assert isinstance(found, dict)
    return found


def test_assets_become_files(rig: Orchestrating) -> None:
    """Bytes as they came, under the description's names, with a sidecar; the processes are not left open."""
    contents = {"c-json": (b'{"a": "\\u00e9"}', "application/json", "json")}
    contents["c-bin"] = (os.urandom(3 * MIB + 17), "application/octet-stream", "bin")
    contents["c-empty"] = (b"", "text/csv; charset=utf-8", "csv")
    for contract, (content, kind, _) in contents.items():
        rig.put(contract, f"/{contract}", content, kind)
    asked_at = datetime.now(UTC)
    view = rig.wait(rig.begin(*contents))
    assert (view["process_status"], view["error"]) == ("COMPLETED", None)
    assert len(rig.files()) == 2 * len(contents)
    for path, (contract, (content, _, extension)) in zip(
        view["storage_paths"], contents.items(), strict=True
    ):
        assert path["status"] == "SAVED"
        stored = Path(path["storage_path"])
        name = rf"file_{path['transfer_id']}_\d{{14}}_[0-9a-f]{{6}}\.{extension}"
        assert re.fullmatch(name, stored.name)
        assert stored.read_bytes() == content
        sidecar = json.loads(Path(f"{stored}.meta.json").read_text())
        assert (sidecar["contract_id"], sidecar["size"]) == (contract, len(content))
        assert sidecar["source"] == f"{rig.data.url}/{contract}"
        assert sidecar["checksum"] == path["checksum"] != {}
        started_at, stored_at = (
            datetime.fromisoformat(sidecar[name]) for name in ("started_at", "stored_at")
        )
        assert asked_at <= started_at < stored_at <= datetime.now(UTC)
        assert "token-1" not in json.dumps(sidecar)
        process = rig.edc.processes[path["transfer_id"]]
        assert (process.state, process.reason) == ("TERMINATED", "the data was received completely")


def test_what_the_connector_is_sent(rig: Orchestrating) -> None:
    """The request of the described service, with the connector's own key and never the clients'."""
    rig.put("c", "/c", b"x")
    rig.wait(rig.begin("c"))
    start = next(call for call in rig.edc.calls if call.operation == "start")
    asked = entry("c")
    assert {name: start.body[name] for name in ("counterPartyAddress", "contractId", "connectorId")} == {
        name: asked[name] for name in ("counterPartyAddress", "contractId", "connectorId")
    }
    assert (start.body["protocol"], start.body["transferType"]) == (
        "dataspace-protocol-http",
        "HttpData-PULL",
    )
    assert {call.headers["X-Api-Key"] for call in rig.edc.calls} == {CONNECTOR_KEY}
    assert KEY not in str([call.headers for call in rig.edc.calls])


def test_one_entry_does_not_hide_the_others(rig: Orchestrating) -> None:
    """Each says its own error and code; the request is PARTIALLY_COMPLETED and says why."""
    rig.put("good", "/good", b"good")
    rig.edc.fail("refused", "policy evaluation failed at the provider")
    rig.edc.offer("gone", f"{rig.data.url}/nowhere", token=lambda: "token-1")
    view = rig.wait(rig.begin("refused", "good", "unknown", "gone"))
    assert view["process_status"] == "PARTIALLY_COMPLETED"
    refused, good, unknown, gone = view["storage_paths"]
    assert good["status"] == "SAVED"
    assert [one["status"] for one in (refused, unknown, gone)] == ["FAILED"] * 3
    assert [one["status_code"] for one in (refused, unknown, gone)] == [502] * 3
    assert "policy evaluation failed at the provider" in refused["error"]
    assert refused["error_kind"] == "transfer_ended"
    assert "Contract agreement with id unknown not found" in unknown["error"]
    assert gone["error_kind"] == "object_not_found"
    assert view["error"].startswith("3 of 4 entries failed; the first: the transfer process is TERMINATED")
    assert (view["entries_saved"], view["entries_failed"]) == (1, 3)
    assert rig.edc.processes[gone["transfer_id"]].state == "TERMINATED"


def test_a_failed_request_says_so(rig: Orchestrating) -> None:
    """FAILED is what saved nothing."""
    view = rig.wait(rig.begin("unknown"))
    assert (view["process_status"], _only(view)["storage_path"]) == ("FAILED", None)


OPERATIONS = ["query", "start", "state", "edr", "terminate"]
PASSING = [Fault.HANG_UP, Fault.TRUNCATE, Fault.HANG, Fault.DRIP]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("fault", [*PASSING, 500, 502, 503, 429, 408])
def test_passing_faults_of_the_connector_are_waited_out(
    tmp_path: Path, operation: str, fault: Fault | int
) -> None:
    """Whatever call fails for a passing reason is made again; nothing is started twice."""
    with orchestrating(tmp_path, orchestrator={"request_timeout_s": 0.3}) as rig:
        rig.put("c", "/c", b"bytes")
        if isinstance(fault, Fault):
            rig.edc.inject(operation, fault)
        else:
            rig.edc.inject(operation, Fault.STATUS, status=fault)
        view = rig.wait(rig.begin("c"))
        assert view["process_status"] == "COMPLETED", view
        assert [process.state for process in rig.edc.processes.values()] == ["TERMINATED"]
        assert len(rig.files()) == 2


def test_a_started_process_whose_answer_is_lost_is_found(rig: Orchestrating) -> None:
    """The connector did start it: it is looked for by what was sent with it, not started again."""
    rig.put("c", "/c", b"bytes")
    rig.edc.inject("start", Fault.LOSE_ANSWER)
    view = rig.wait(rig.begin("c"))
    assert (view["process_status"], len(rig.edc.processes)) == ("COMPLETED", 1)


@pytest.mark.parametrize("operation", ["start", "state", "edr"])
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Fault.NOT_JSON, 0, 502),
        (Fault.WRONG_JSON, 0, 502),
        (Fault.HUGE, 0, 502),
        (Fault.DEEP, 0, 502),
        (Fault.REDIRECT, 0, 502),
        (Fault.STATUS, 400, 502),
        (Fault.STATUS, 401, 502),
        (Fault.STATUS, 403, 502),
    ],
)
def test_wrong_answers_end_the_entry(
    rig: Orchestrating, operation: str, fault: Fault, status: int, code: int
) -> None:
    """An answer that is none is not tried again, and said; no file is left, no process stays open."""
    rig.put("c", "/c", b"bytes")
    rig.edc.inject(operation, fault, status=status)
    failed = _only(rig.wait(rig.begin("c")))
    assert (failed["status"], failed["status_code"]) == ("FAILED", code)
    assert f"connector {'POST' if operation == 'start' else 'GET'}" in failed["error"]
    assert CONNECTOR_KEY not in json.dumps(failed)
    assert rig.files() == []
    assert {process.state for process in rig.edc.processes.values()} <= {"TERMINATED"}


@pytest.mark.parametrize("operation", ["start", "state", "edr"])
def test_a_connector_that_stays_silent_is_504(tmp_path: Path, operation: str) -> None:
    """No answer, as often as asked: the entry says that it took too long."""
    quick = {"request_timeout_s": 0.1, "retries": 1}
    with orchestrating(tmp_path, orchestrator=quick) as rig:
        rig.put("c", "/c", b"bytes")
        rig.edc.inject(operation, Fault.HANG, times=2)
        failed = _only(rig.wait(rig.begin("c")))
        assert (failed["status_code"], failed["error_kind"]) == (504, "stalled")


def test_what_is_tried_again_is_said(tmp_path: Path) -> None:
    """While a connector or a provider is down the status says of what, and since when; not for ever."""
    engine = {"part_size_bytes": MIB, "multipart_threshold_bytes": MIB, "attempts": 50, "workers": 1}
    with orchestrating(tmp_path, engine=engine) as rig:
        rig.put("c", "/c", os.urandom(2 * MIB), "application/octet-stream")
        rig.edc.inject("state", Fault.STATUS, status=503, times=1000)
        id_ = rig.begin("c")
        view = rig.wait(id_, until=lambda view: "last_retry" in _only(view))
        assert (
            "connector GET transferprocesses/state: answered with 503" in _only(view)["last_retry"]["reason"]
        )
        rig.data.inject("GET", DataFault.STATUS, status=503, times=1000)
        rig.edc.clear()
        view = rig.wait(id_, until=lambda view: "part 1 of c" in str(_only(view).get("last_retry")))
        assert _only(view)["last_retry"]["at"] >= view["created_at"]
        assert (view["error"], _only(view)["status"]) == (None, "DATA_ADDRESS_RETRIEVED")
        rig.data.clear()
        assert "last_retry" not in _only(rig.wait(id_))


def test_a_data_address_that_comes_late_is_waited_for(rig: Orchestrating) -> None:
    """404 is the connector's way to say "not yet"; as often as configured."""
    rig.put("c", "/c", b"bytes")
    rig.edc.inject("edr", Fault.STATUS, status=404, times=2)
    assert rig.wait(rig.begin("c"))["process_status"] == "COMPLETED"
    rig.edc.inject("edr", Fault.STATUS, status=404, times=3)
    failed = _only(rig.wait(rig.begin("c")))
    assert (failed["status_code"], failed["error_kind"]) == (504, "late")


def test_a_process_that_never_starts_is_given_up(tmp_path: Path) -> None:
    """After ``start_timeout_s``, with the state that it is in."""
    with orchestrating(tmp_path, orchestrator={"start_timeout_s": 0.5}) as rig:
        rig.put("c", "/c", b"bytes")
        rig.edc.looks = 10_000
        failed = _only(rig.wait(rig.begin("c")))
        assert (failed["status_code"], failed["error_kind"]) == (504, "late")
        assert "REQUESTED" in failed["error"]
        assert [process.state for process in rig.edc.processes.values()] == ["TERMINATED"]


def test_expanded_answers_are_understood(rig: Orchestrating) -> None:
    """JSON-LD may come expanded: full names, values in lists."""
    rig.edc.expanded = True
    rig.put("c", "/c", b"bytes")
    assert rig.wait(rig.begin("c"))["process_status"] == "COMPLETED"


def test_a_connector_without_data_addresses_is_told_apart(tmp_path: Path) -> None:
    """Version 4 alone keeps none: the entry says so, and the process is not left open."""
    with orchestrating(tmp_path, edc=EdcConnector(key=CONNECTOR_KEY, versions=("v4",))) as rig:
        rig.put("c", "/c", b"bytes")
        failed = _only(rig.wait(rig.begin("c")))
        assert failed["error_kind"] == "unsupported"
        assert {call.version for call in rig.edc.calls} == {"v4"}
        start = next(call for call in rig.edc.calls if call.operation == "start")
        assert start.body["@context"] == ["https://w3id.org/edc/connector/management/v2"]
        assert "connectorId" not in start.body
        assert [process.state for process in rig.edc.processes.values()] == ["TERMINATED"]


def test_a_connector_may_want_oauth2(tmp_path: Path) -> None:
    """One token serves all calls, is fetched with client credentials, and again when it is refused."""
    edc = EdcConnector(bearer="access-token-1")
    connector = {
        "address": edc.address,
        "token_url": f"http://127.0.0.1:{edc.port}/token",
        "client_id": "ferry",
        "client_secret": "a-client-secret",
    }
    with orchestrating(tmp_path, edc=edc, orchestrator={"connectors": [connector]}) as rig:
        rig.put("c", "/c", b"bytes")
        assert rig.wait(rig.begin("c"))["process_status"] == "COMPLETED"
        assert [one["grant_type"] for one in edc.tokens] == ["client_credentials"]
        assert "X-Api-Key" not in edc.calls[0].headers
        edc.bearer = "access-token-2"
        rig.wait(rig.begin("c"))
        assert rig.wait(rig.begin("c"))["process_status"] == "COMPLETED"
        assert len(edc.tokens) == 2


def test_other_connectors_get_no_credentials(tmp_path: Path) -> None:
    """``allow_any_connector`` lets a request name one; no key goes there, and the egress policy judges it."""
    with (
        EdcConnector() as other,
        orchestrating(tmp_path, orchestrator={"allow_any_connector": True}) as rig,
    ):
        rig.put("c", "/c", b"bytes")
        other.offers = rig.edc.offers
        view = rig.wait(rig.begin("c", connectorAddress=other.address))
        assert view["process_status"] == "COMPLETED"
        assert rig.edc.calls == []
        assert not any({"X-Api-Key", "Authorization"} & set(call.headers) for call in other.calls)


def test_forbidden_hosts_are_not_reached(tmp_path: Path) -> None:
    """With private networks forbidden neither a connector of a request nor a data address leads there."""
    changes: dict[str, Any] = {
        "egress": {"allow_private_networks": False},
        "orchestrator": {"allow_any_connector": True},
    }
    with EdcConnector() as other, orchestrating(tmp_path, **changes) as rig:
        rig.put("c", "/c", b"bytes")
        other.offers = rig.edc.offers
        failed = _only(rig.wait(rig.begin("c", connectorAddress=other.address)))
        assert (failed["status_code"], failed["error_kind"]) == (502, "egress_denied")
        assert other.calls == []
        failed = _only(rig.wait(rig.begin("c")))
        assert failed["error_kind"] == "egress_denied"
        assert rig.data.requests == []


def test_a_process_that_is_terminated_ends_its_download(tmp_path: Path) -> None:
    """At once, with the provider's ``errorDetail``; what was written half is not left."""
    slow = {"bandwidth_bytes_per_s": MIB, "part_size_bytes": MIB, "multipart_threshold_bytes": MIB}
    with orchestrating(tmp_path, engine=slow) as rig:
        rig.put("c", "/c", os.urandom(30 * MIB), "application/octet-stream")
        id_ = rig.begin("c")
        rig.wait(id_, until=lambda view: view["process_status"] == "DATA_ADDRESS_RETRIEVED")
        (process,) = rig.edc.processes
        rig.edc.end(process, "TERMINATED", "the contract has expired")
        failed = _only(rig.wait(id_, timeout_s=10))
        assert "the contract has expired" in failed["error"]
        deadline = time.monotonic() + 10
        while list(rig.stored.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(rig.stored.iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "times", "outcome"),
    [
        (DataFault.TRUNCATE, 2, "SAVED"),
        (DataFault.HANG_UP, 2, "SAVED"),
        (DataFault.TRUNCATE, 1000, "FAILED"),
        (DataFault.SHIFT_RANGE, 1, "FAILED"),
    ],
)
def test_faults_of_the_data_never_end_in_a_wrong_file(
    tmp_path: Path, fault: DataFault, times: int, outcome: str
) -> None:
    """Half bodies are fetched again, a few times; wrong ranges end it. What is stored is whole."""
    engine = {"part_size_bytes": MIB, "multipart_threshold_bytes": MIB, "flow_retries": 0, "attempts": 3}
    with orchestrating(tmp_path, engine=engine) as rig:
        content = os.urandom(5 * MIB)
        rig.put("c", "/c", content, "application/octet-stream")
        rig.data.inject("GET", fault, times=times)
        found = _only(rig.wait(rig.begin("c")))
        assert found["status"] == outcome, found
        if outcome == "SAVED":
            assert Path(found["storage_path"]).read_bytes() == content
        else:
            assert found["status_code"] == 502
            assert rig.files() == []


def test_a_slow_provider_does_not_hold_up_others(tmp_path: Path) -> None:
    """Entries whose source hangs hold threads for moments only; others end meanwhile."""
    changes: dict[str, Any] = {
        "orchestrator": {"threads": 2, "request_timeout_s": 0.5, "retries": 0},
        "engine": {"stall_timeout_s": 1},
    }
    with HttpStore(token="token-1") as hanging, orchestrating(tmp_path, **changes) as rig:
        hanging.objects["/x"] = Kept(b"never comes whole")
        hanging.inject("*", DataFault.STALL, times=100)
        for number in range(4):
            rig.edc.offer(f"slow-{number}", f"{hanging.url}/x", token=lambda: "token-1")
        rig.put("c", "/c", b"bytes")
        slow = rig.begin(*[f"slow-{number}" for number in range(4)])
        quick = rig.begin("c")
        assert rig.wait(quick)["process_status"] == "COMPLETED"
        view = rig.wait(slow)
        assert view["process_status"] == "FAILED"
        assert [(one["status_code"], one["error_kind"]) for one in view["storage_paths"]] == [
            (504, "timed_out")
        ] * 4


def test_what_befalls_our_storage_is_500(rig: Orchestrating) -> None:
    """A directory that somebody takes away, or that is a file, is no fault of the provider's."""
    rig.put("c", "/c", b"bytes")
    rig.stored.rename(rig.directory / "elsewhere")
    failed = _only(rig.wait(rig.begin("c")))
    assert (failed["status_code"], failed["error_kind"]) == (500, "bucket_not_found")
    rig.stored.write_bytes(b"a file")
    assert _only(rig.wait(rig.begin("c")))["status_code"] == 500


def test_a_destination_that_is_a_file_is_500(tmp_path: Path) -> None:
    """Nothing can be stored below it, whoever sent the bytes."""
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "taken").write_bytes(b"somebody's")
    changes: dict[str, Any] = {
        "locations": {"lake": {"type": "file", "root": str(tmp_path / "lake")}},
        "orchestrator": {"destinations": ["lake"]},
    }
    with orchestrating(tmp_path, **changes) as rig:
        rig.put("c", "/c", b"bytes")
        answer = rig.post(rig.request(data=[entry("c", destination="lake:taken/")]))
        failed = _only(rig.wait(answer.json()["orchestration_id"]))
        assert failed["status_code"] == 500, failed


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_storage_api_that_refuses_is_not_the_provider(tmp_path: Path, status: int) -> None:
    """It is 500, and no new data address is fetched for it."""
    with (
        HttpStore() as api,
        orchestrating(tmp_path, orchestrator={"storage_api_url": f"{api.url}/v1"}) as rig,
    ):
        rig.put("c", "/c", b"bytes")
        api.inject("PUT", DataFault.STATUS, times=100, status=status)
        failed = _only(rig.wait(rig.begin("c")))
        assert failed["status_code"] == 500, failed
        assert rig.edc.count("edr") == 1


def test_cancelling_ends_what_runs_and_begins_nothing(tmp_path: Path) -> None:
    """Downloads stop, processes are terminated, what waits is never begun, what is stored stays."""
    changes: dict[str, Any] = {
        "engine": {"bandwidth_bytes_per_s": MIB},
        "orchestrator": {"concurrency_per_request": 2},
    }
    with orchestrating(tmp_path, **changes) as rig:
        rig.put("small", "/small", b"bytes")
        rig.put("big", "/big", os.urandom(40 * MIB), "application/octet-stream")
        id_ = rig.begin("small", "big", "big", "big", "big")
        rig.wait(id_, until=lambda v: v["entries_saved"] == 1 and v["progress"]["bytes_transferred"] > MIB)
        answer = rig.client.delete(f"/orchestrate/{id_}", headers={"X-Api-Key": KEY})
        assert answer.status_code == 200
        assert answer.json()["response"]["status"] == "CANCELLED"
        view = rig.wait(id_)
        assert view["process_status"] == "CANCELLED"
        assert [one["status"] for one in view["storage_paths"]] == ["SAVED", *["CANCELLED"] * 4]
        assert (view["entries_cancelled"], view["entries_failed"]) == (4, 0)
        assert {process.state for process in rig.edc.processes.values()} == {"TERMINATED"}
        begun = len(rig.edc.processes)
        assert begun <= 3
        again = rig.client.delete(f"/orchestrate/{id_}", headers={"X-Api-Key": KEY})
        assert again.status_code == 200
        deadline = time.monotonic() + 10
        while len(list(rig.stored.iterdir())) > 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(list(rig.stored.iterdir())) == 2
        assert len(rig.edc.processes) == begun


def test_what_is_over_is_not_cancelled(rig: Orchestrating) -> None:
    """It is 409, and stays what it is."""
    rig.put("c", "/c", b"bytes")
    id_ = rig.begin("c")
    rig.wait(id_)
    answer = rig.client.delete(f"/orchestrate/{id_}", headers={"X-Api-Key": KEY})
    assert (answer.status_code, answer.json()["status"]) == (409, "ERROR")
    assert rig.status(id_)["process_status"] == "COMPLETED"


def test_files_may_go_to_any_location(tmp_path: Path) -> None:
    """To a location of the configuration, or one that an entry names, where that is allowed."""
    (tmp_path / "lake").mkdir()
    changes: dict[str, Any] = {
        "locations": {"lake": {"type": "file", "root": str(tmp_path / "lake")}},
        "orchestrator": {"destination": "lake:in/", "destinations": ["la*"]},
    }
    with orchestrating(tmp_path, **changes) as rig:
        rig.put("c", "/c", b"bytes")
        named = entry("c", destination="lake:by/name.json")
        answer = rig.post({"data": [entry("c"), named], "connectorAddress": rig.edc.address})
        first, second = rig.wait(answer.json()["orchestration_id"])["storage_paths"]
        assert first["storage_path"].startswith("lake:in/file_")
        assert (tmp_path / first["storage_path"].replace(":", "/")).read_bytes() == b"bytes"
        assert second["storage_path"] == "lake:by/name.json"
        assert (tmp_path / "lake/by/name.json").read_bytes() == b"bytes"


def test_files_may_be_put_to_a_storage_api(tmp_path: Path) -> None:
    """``STORAGE_API_URL``: each file is PUT below it, and its sidecar too; no provider's token goes there."""
    with (
        HttpStore() as api,
        orchestrating(tmp_path, orchestrator={"storage_api_url": f"{api.url}/v1"}) as rig,
    ):
        rig.put("c", "/c", b"bytes")
        found = _only(rig.wait(rig.begin("c")))
        assert found["storage_path"].startswith(f"{api.url}/v1/file_")
        path = found["storage_path"].removeprefix(api.url)
        assert bytes(api.objects[path].body) == b"bytes"
        assert f"{path}.meta.json" in api.objects
        assert not [request for request in api.requests if "Authorization" in request.headers]


def test_limits_are_kept(tmp_path: Path) -> None:
    """Never more entries at work than configured, of all and of one request."""
    changes: dict[str, Any] = {"orchestrator": {"concurrency": 3, "concurrency_per_request": 2}}
    with orchestrating(tmp_path, **changes) as rig:
        rig.put("c", "/c", b"bytes")
        most: dict[str, int] = {"all": 0, "one": 0}
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(0.001):
                keys = list(rig.service._runner._places)
                most["all"] = max(most["all"], len(keys))
                for owner, _ in keys:
                    most["one"] = max(most["one"], sum(key[0] == owner for key in keys))

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            ids = [rig.begin(*["c"] * 8) for _ in range(3)]
            views = [rig.wait(id_, timeout_s=60) for id_ in ids]
        finally:
            stop.set()
            watcher.join()
        assert {view["process_status"] for view in views} == {"COMPLETED"}
        assert most == {"all": 3, "one": 2}


def test_secrets_stand_nowhere(tmp_path: Path) -> None:
    """Neither tokens of data addresses nor keys are in the database, the files or the answers in plain."""
    token = "token-that-must-not-be-seen-0123456789"
    with orchestrating(tmp_path, data=HttpStore(token=token)) as rig:
        rig.put("c", "/c", b"bytes")
        id_ = rig.begin("c")
        rig.wait(id_)
        shown = rig.get(f"/status/{id_}").text + rig.get("/status").text
        assert token not in shown
        for path in tmp_path.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert token.encode() not in content, path
                assert CONNECTOR_KEY.encode() not in content, path


def test_operators_steer_downloads_as_other_flows(tmp_path: Path) -> None:
    """They see them, hold them, let them go on, and may end them: then the entry has failed."""
    with orchestrating(tmp_path, engine={"bandwidth_bytes_per_s": 4 * MIB}) as rig:
        rig.put("c", "/c", os.urandom(8 * MIB), "application/octet-stream")
        id_ = rig.begin("c", "c")
        view = rig.wait(id_, until=lambda view: view["progress"]["bytes_transferred"] > MIB)
        first, second = (path["transfer_id"] for path in view["storage_paths"])
        for transfer_id in (first, second):
            assert rig.client.post(f"/management/dataflows/{transfer_id}/pause", json={}).json()["paused"]
        before = rig.status(id_)["progress"]["bytes_transferred"]
        time.sleep(1.0)
        assert rig.status(id_)["progress"]["bytes_transferred"] <= before + MIB
        rig.client.post(f"/management/dataflows/{first}/unpause", json={})
        rig.client.post(f"/management/dataflows/{second}/terminate", json={"reason": "not today"})
        view = rig.wait(id_)
        saved, failed = view["storage_paths"]
        assert (saved["status"], failed["status"]) == ("SAVED", "FAILED")
        assert "not today" in failed["error"]


def test_what_ended_long_ago_is_forgotten(rig: Orchestrating) -> None:
    """After the retention, by the runner; files stay, and what runs is kept."""
    rig.put("c", "/c", b"bytes")
    over = rig.begin("c")
    path = Path(_only(rig.wait(over))["storage_path"])
    rig.edc.looks = 10_000
    running = rig.begin("c")
    runner = rig.service._runner
    with runner._shared.store.transaction() as tx:
        tx.orchestrations._connection.exec_driver_sql(
            "UPDATE orchestrations SET ended_at = '2020-01-01T00:00:00.000000Z' WHERE ended_at IS NOT NULL"
        )
    assert runner.forget() == 1
    assert rig.get(f"/status/{over}").status_code == 404
    assert rig.status(running)["process_status"] != "COMPLETED"
    assert path.read_bytes() == b"bytes"


def test_a_connector_that_is_configured_no_more_gets_nothing(tmp_path: Path) -> None:
    """Entries that were under way end, and its key is not sent any more."""
    with EdcConnector(key=CONNECTOR_KEY, looks=10_000) as edc:
        edc.offer("c", "http://127.0.0.1:9/c")
        first = build(Settings.model_validate(settings(tmp_path, edc)))
        with served(first.application) as url, first:
            body = {"data": [entry("c")], "connectorAddress": edc.address}
            answer = httpx.post(f"{url}/orchestrate", json=body, headers={"X-Api-Key": KEY}, trust_env=False)
            id_ = answer.json()["orchestration_id"]
            deadline = time.monotonic() + 20
            while not edc.count("state") and time.monotonic() < deadline:
                time.sleep(0.02)
        edc.calls.clear()
        removed = build(Settings.model_validate(settings(tmp_path, edc, orchestrator={"connectors": ()})))
        with served(removed.application) as url, removed:
            deadline = time.monotonic() + 20
            view: dict[str, Any] = {"process_status": ""}
            while view["process_status"] not in OVER and time.monotonic() < deadline:
                answer = httpx.get(f"{url}/status/{id_}", headers={"X-Api-Key": KEY}, trust_env=False)
                view = answer.json()["response"]["orchestration_processes"][id_]
        assert view["process_status"] == "FAILED"
        assert "may still be open" in _only(view)["note"]
        assert not any("X-Api-Key" in call.headers for call in edc.calls)


def test_a_listing_becomes_a_directory(rig: Orchestrating) -> None:
    """An address of several objects: a directory under the description's name, a sidecar beside it."""
    names = ["a.csv", "b/c.csv"]
    lines = [json.dumps({"name": name, "size": 3}) for name in names]
    lines.append(json.dumps({"summary": {"objects": 2, "bytes": 6}}))
    rig.data.objects["/d/"] = Kept("\n".join(lines).encode() + b"\n")
    for name in names:
        rig.data.objects[f"/d/{name}"] = Kept(b"1,2")
    rig.edc.offer("c", f"{rig.data.url}/d/", token=lambda: "token-1", listing="jsonl")
    path = _only(rig.wait(rig.begin("c")))
    assert path["status"] == "SAVED", path
    stored = Path(path["storage_path"])
    assert [(stored / name).read_bytes() for name in names] == [b"1,2", b"1,2"]
    assert (path["size"], path["checksum"]) == (6, {})
    assert json.loads(Path(f"{stored}.meta.json").read_text())["size"] == 6


def test_a_silent_connector_does_not_hold_up_others(tmp_path: Path) -> None:
    """It has some of the threads at most; and new requests do not have it asked more often."""
    with EdcConnector() as silent:
        silent.inject("*", Fault.HANG, times=1000)
        edc = EdcConnector(key=CONNECTOR_KEY)
        connectors = [
            {"address": edc.address, "api_key": CONNECTOR_KEY},
            {"address": silent.address},
        ]
        changes: dict[str, Any] = {
            "orchestrator": {"threads": 4, "connectors": connectors, "request_timeout_s": 2.0}
        }
        with orchestrating(tmp_path, edc=edc, **changes) as rig:
            rig.put("c", "/c", b"bytes")
            for _ in range(3):
                rig.begin(*["c"] * 8, connectorAddress=silent.address)
            time.sleep(0.5)
            began = time.monotonic()
            assert rig.wait(rig.begin("c"))["process_status"] == "COMPLETED"
            assert time.monotonic() - began < 8


def test_a_data_plane_that_only_streams_will_do(rig: Orchestrating) -> None:
    """As EDC's own did: no HEAD, no ranges, no length. What comes is stored whole, or not at all."""
    content = os.urandom(3 * MIB)
    rig.data.refuse_head, rig.data.ranges, rig.data.chunked = 405, False, True
    rig.put("c", "/public/", content, "application/json")
    path = _only(rig.wait(rig.begin("c")))
    assert path["status"] == "SAVED", path
    assert Path(path["storage_path"]).read_bytes() == content
    assert path["storage_path"].endswith(".json")
    rig.data.objects["/public/"].breaks_off = True
    path = _only(rig.wait(rig.begin("c")))
    assert (path["status"], path["storage_path"]) == ("FAILED", None)
    assert len(rig.files()) == 2


def test_a_rehearsal_asks_who_would_be_needed(rig: Orchestrating) -> None:
    """The connector is asked and the destination looked at: 502, 504, 500, or that all is well."""
    rig.put("c", "/c", b"bytes")

    def rehearsed() -> tuple[int, str]:
        answer = rig.post(rig.request("c"), params={"dryRun": "true"})
        body = answer.json()
        assert body["status_code"] == answer.status_code
        return answer.status_code, body.get("message", "")

    assert rehearsed()[0] == 200
    rig.edc.inject("query", Fault.STATUS, status=401)
    assert rehearsed() == (
        502,
        "connector POST transferprocesses/request: answered with 401 Unauthorized: injected",
    )
    rig.edc.inject("query", Fault.HANG)
    assert rehearsed()[0] == 504
    rig.stored.rmdir()
    code, message = rehearsed()
    assert (code, rig.edc.processes, rig.files() if rig.stored.exists() else []) == (500, {}, [])
    assert "the destination" in message
    rig.stored.mkdir()
    assert rehearsed()[0] == 200


@pytest.mark.parametrize("outcome", ["cancelled", "failed"])
def test_a_download_that_completes_while_it_is_called_off_leaves_nothing_open(
    rig: Orchestrating, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    """Its flow has ended by itself in between: the process is terminated, and where the data is, is said."""
    rig.put("c", "/c", b"{}")
    reached, ended = threading.Event(), threading.Event()
    end = Downloads.end

    def wait(closing: Closing, work: Work, flow: DataFlow) -> Next:
        # The entry does not get to see that its data is there.
        reached.set()
        if outcome == "failed":
            raise ProtocolError("something else is wrong")
        return Next(after_s=0.02)

    def late(downloads: Downloads, entry: Entry, reason: str) -> None:
        # It was read before it completed.
        flow = downloads.flow(entry)
        assert flow is not None
        with monkeypatch.context() as patch:
            before = replace(flow, state=State.STARTED)
            patch.setattr(downloads, "flow", lambda _: before, raising=False)
            end(downloads, entry, reason)
        ended.set()

    monkeypatch.setattr(Closing, "stored", wait)
    monkeypatch.setattr(Downloads, "end", late)
    id_ = rig.begin("c")
    assert reached.wait(20)
    if outcome == "cancelled":
        headers = {"X-Api-Key": KEY}
        answer = httpx.delete(f"{rig.url}/orchestrate/{id_}", headers=headers, trust_env=False)
        assert answer.status_code == 200
    path = _only(rig.wait(id_))
    assert ended.is_set()
    assert path["status"] == outcome.upper()
    assert [process.state for process in rig.edc.processes.values()] == ["TERMINATED"]
    said = path["note"].removeprefix("its data was stored by then: ")
    assert Path(said).read_bytes() == b"{}"
