"""Operators' routes: flows, events, callbacks; secrets never come out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.unit.api.api_rig import ANONYMOUS_PLANE, PUSH, SECRETS, Plane, address, message, plane

from dataferry.domain.ledger import Attempt, PlannedObject
from dataferry.domain.objects import ObjectInfo
from dataferry.domain.progress import Progress

IN_METADATA = "a-secret-in-metadata"


def stopped(api: Plane, id: str) -> dict[str, Any]:
    """A consumer's pull that was started, and whose bytes nobody moves yet."""
    body = message(id, metadata={"password": IN_METADATA}, claims={"sub": IN_METADATA})
    assert api.signal("prepare", body).is_success
    assert api.signal(f"{id}/started", {"messageId": "m", "dataAddress": address()}).is_success
    found: dict[str, Any] = api.manage("GET", f"/dataflows/{id}").json()
    return found


def test_without_a_key_operators_stay_out(api: Plane) -> None:
    """No key, a wrong one, and a control plane's token are 401."""
    for key in (None, "wrong", "token-of-control-plane-a"):
        for path in ("/dataflows", "/locations", "/events", "/callbacks", "/control-planes"):
            assert api.manage("GET", path, key=key).status_code == 401


def test_a_flow_is_shown_with_its_progress_and_no_secret(api: Plane) -> None:
    """All names of the contract are there, and nothing of addresses, metadata or claims."""
    shown = stopped(api, "shown-1")
    with api.services.store.transaction() as tx:
        flow = tx.flows.resolve("shown-1")
        tx.progress.put(flow.id, Progress(bytes_total=200, bytes_transferred=50, plan_complete=True))
    answer = api.manage("GET", "/dataflows/shown-1")
    shown = answer.json()
    expected = {
        "dataFlowId": "shown-1",
        "processId": "shown-1",
        "controlPlaneId": "cp-a",
        "role": "consumer",
        "direction": "pull",
        "mechanism": "s3",
        "state": "STARTED",
        "run": "queued",
        "source": "s3://their-bucket/data.bin",
        "sink": "disk:shown-1/",
        "bytesTotal": 200,
        "bytesTransferred": 50,
        "percentComplete": 25.0,
        "running": False,
        "queued": True,
        "paused": False,
        "finished": False,
        "lastError": None,
        "eta": None,
    }
    assert expected == {name: shown[name] for name in expected}
    assert shown == api.manage("GET", f"/dataflows/{shown['id']}").json()
    assert not [secret for secret in (*SECRETS, IN_METADATA) if secret in answer.text]


def test_a_total_is_not_invented(api: Plane) -> None:
    """While the length of an object is not known: bytes are counted, and the rest is null."""
    stopped(api, "unsized-1")
    with api.services.store.transaction() as tx:
        flow = tx.flows.resolve("unsized-1")
        moment = Progress(bytes_total=200, bytes_transferred=50, plan_complete=True, objects_unsized=1)
        tx.progress.put(flow.id, moment)
    shown = api.manage("GET", "/dataflows/unsized-1").json()
    names = ("bytesTotal", "bytesTransferred", "percentComplete", "eta")
    assert [shown[name] for name in names] == [None, 50, None, None]


def test_the_side_that_moves_no_bytes_counts_none(s3_api: Plane) -> None:
    """Its byte counts are null, not zero."""
    assert s3_api.signal("prepare", message("unmoved-1", profile=PUSH)).is_success
    shown = s3_api.manage("GET", "/dataflows/unmoved-1").json()
    names = ("bytesTotal", "bytesTransferred", "percentComplete", "throughput", "eta")
    assert dict.fromkeys(names) == {name: shown[name] for name in names}
    assert shown["sink"] == "store:shelf-of-tests/unmoved-1/"


def test_flows_are_listed_in_pages_and_by_state(tmp_path: Path) -> None:
    """Each flow comes once, newest first; filters narrow the list."""
    with plane(tmp_path) as api:
        for number in range(5):
            assert api.signal("prepare", message(f"page-{number}")).is_success
        api.signal("page-3/terminate")
        seen: list[str] = []
        cursor = None
        while True:
            page = api.manage(
                "GET", "/dataflows", params={"limit": 2} | ({"cursor": cursor} if cursor else {})
            )
            seen += [item["dataFlowId"] for item in page.json()["items"]]
            cursor = page.json()["next"]
            if cursor is None:
                break
        assert [f"page-{number}" for number in (4, 3, 2, 1, 0)] == seen
        ended = api.manage("GET", "/dataflows", params={"state": "TERMINATED"}).json()
        assert [item["dataFlowId"] for item in ended["items"]] == ["page-3"]
        others = api.manage("GET", "/dataflows", params={"controlPlaneId": "cp-b"}).json()
        assert others == {"items": [], "next": None}


@pytest.mark.parametrize(
    "params", [{"limit": 0}, {"limit": 5000}, {"state": "NO"}, {"run": "NO"}, {"cursor": "nonsense"}]
)
def test_a_wrong_filter_is_400(api: Plane, params: dict[str, Any]) -> None:
    """And says which."""
    answer = api.manage("GET", "/dataflows", params=params)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


def test_an_operator_holds_releases_and_ends_a_flow(api: Plane) -> None:
    """Answers show the flow as it is now; steps are events with their actor; a callback tells the end."""
    stopped(api, "steered-1")
    assert api.manage("POST", "/dataflows/steered-1/pause", json={}).json()["run"] == "held"
    assert api.manage("POST", "/dataflows/steered-1/unpause").json()["run"] == "queued"
    assert api.manage("POST", "/dataflows/steered-1/retry").json()["run"] == "queued"
    ended = api.manage("POST", "/dataflows/steered-1/terminate", json={"reason": "the disk is needed"}).json()
    assert (ended["state"], ended["finished"]) == ("TERMINATED", True)
    events = api.manage("GET", "/dataflows/steered-1/events").json()["items"]
    told = [(event["kind"], event["actor"]) for event in events if event["actor"] == "test"]
    assert told == [("paused", "test"), ("unpaused", "test"), ("TERMINATED", "test")]
    callbacks = api.manage("GET", "/callbacks", params={"flow": "steered-1"}).json()["items"]
    assert [(entry["kind"], entry["state"]) for entry in callbacks] == [("errored", "pending")]


def test_events_come_in_pages(api: Plane) -> None:
    """`next` leads on, and is null at the end."""
    stopped(api, "paged-1")
    first = api.manage("GET", "/dataflows/paged-1/events", params={"limit": 1}).json()
    assert first["items"][0]["id"] == first["next"]
    rest = api.manage("GET", "/dataflows/paged-1/events", params={"cursor": first["next"]}).json()
    assert rest["next"] is None
    assert rest["items"][0]["id"] > first["next"]


def test_objects_of_a_flow_that_has_none_are_an_empty_page(api: Plane) -> None:
    """Nothing is planned yet."""
    stopped(api, "objects-1")
    assert api.manage("GET", "/dataflows/objects-1/objects").json() == {"items": [], "next": None}


def test_objects_that_failed_are_listed_by_themselves(api: Plane) -> None:
    """With kind and message, page by page; a state that does not exist is refused."""
    flow = stopped(api, "objects-2")
    ledger = api.services.store.ledger
    attempt = Attempt(transfer_id=flow["id"], epoch=flow["attempt"])
    names = ("a", "b", "c")
    infos = [ObjectInfo(name=name, key=name, size_bytes=1) for name in names]
    ledger.add(
        attempt,
        [PlannedObject(source=info, target_key=info.key, target_identity="there") for info in infos],
        cursor="c",
    )
    for ordinal in (1, 3):
        ledger.fail(attempt, ordinal, kind="access_denied", error="no")
    path = "/dataflows/objects-2/objects"
    page = api.manage("GET", path, params={"state": "failed", "limit": 1}).json()
    assert [(entry["name"], entry["lastErrorKind"]) for entry in page["items"]] == [("a", "access_denied")]
    page = api.manage("GET", path, params={"state": "failed", "cursor": page["next"]}).json()
    assert [entry["name"] for entry in page["items"]] == ["c"]
    assert len(api.manage("GET", path).json()["items"]) == 3
    assert api.manage("GET", path, params={"state": "lost"}).status_code == 400


def test_a_dead_callback_is_sent_again_and_a_pending_one_is_not(api: Plane) -> None:
    """Only what was given up can be retried."""
    stopped(api, "dead-1")
    api.manage("POST", "/dataflows/dead-1/terminate")
    entry = api.manage("GET", "/callbacks", params={"flow": "dead-1"}).json()["items"][0]
    path = f"/callbacks/{entry['messageId']}/retry"
    assert api.manage("POST", path).status_code == 409
    with api.services.store.transaction() as tx:
        tx.outbox.dead(entry["messageId"], error="refused")
    assert (
        api.manage("GET", "/callbacks", params={"state": "dead"}).json()["items"][0]["lastError"] == "refused"
    )
    assert api.manage("POST", path).json()["state"] == "pending"
    assert api.manage("POST", f"/callbacks/{uuid4()}/retry").status_code == 404


@pytest.mark.parametrize("path", ["/dataflows/none", "/dataflows/none/events", "/dataflows/none/objects"])
def test_what_is_not_there_is_404(api: Plane, path: str) -> None:
    """As a problem."""
    assert api.manage("GET", path).json()["type"] == "urn:dataferry:problem:not_found"


class Follower:
    """Reads frames of an event stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.iter_lines()

    def next(self, event: str) -> tuple[str | None, dict[str, Any]]:
        """Return (id, data) of the next event of that name."""
        frame: dict[str, str] = {}
        for line in self._lines:
            if line:
                name, _, value = line.partition(": ")
                frame[name] = value
                continue
            if frame.get("event") == event:
                return frame.get("id"), json.loads(frame["data"])
            frame = {}
        raise AssertionError("the stream ended")


def test_a_stream_tells_events_as_they_happen_and_goes_on_where_it_broke(api: Plane) -> None:
    """A new listener hears what is new; one that comes back with Last-Event-ID hears what it missed."""
    headers = {"X-Api-Key": "an-operators-api-key-0123456789"}
    with api.client.stream("GET", "/management/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        follower = Follower(answer)
        stopped(api, "live-1")
        event_id, first = follower.next("flow")
        assert ("PREPARED", str(first["id"])) == (first["kind"], event_id)
        _, second = follower.next("flow")
        assert second["kind"] == "STARTED"
    with api.client.stream(
        "GET", "/management/events", headers=headers | {"Last-Event-ID": str(event_id)}
    ) as answer:
        assert second == Follower(answer).next("flow")[1]


def test_a_stream_tells_progress_of_running_flows_and_their_last(api: Plane) -> None:
    """Progress comes when it changes, and once more when the run has ended."""
    shown = stopped(api, "live-2")
    store = api.services.store
    with store.transaction() as tx:
        flow = tx.flows.claim(tx.flows.resolve("live-2").id)
        assert flow is not None
        tx.progress.put(flow.id, Progress(bytes_total=10, bytes_transferred=1, plan_complete=True))
    headers = {"X-Api-Key": "an-operators-api-key-0123456789"}
    with api.client.stream("GET", "/management/events", headers=headers) as answer:
        follower = Follower(answer)
        told = follower.next("progress")[1]
        assert (shown["id"], 10.0, True) == (told["id"], told["percentComplete"], told["running"])
        with store.transaction() as tx:
            tx.progress.put(flow.id, Progress(bytes_total=10, bytes_transferred=10, plan_complete=True))
        assert follower.next("progress")[1]["percentComplete"] == 100.0
        api.signal("live-2/suspend")
        told = follower.next("progress")[1]
        assert (told["running"], told["paused"]) == (False, True)


def test_a_stream_tells_progress_of_what_others_send(api: Plane) -> None:
    """A push to us runs in no attempt of ours, and is followed all the same, to its end."""
    told = message("push-1", profile="HttpData-PUSH", datasetId="data-1")
    assert api.signal("prepare", told).status_code == 202  # its store is not there
    store = api.services.store
    headers = {"X-Api-Key": "an-operators-api-key-0123456789"}
    with store.transaction() as tx:
        flow = tx.flows.resolve("push-1")
        tx.progress.put(flow.id, Progress(bytes_total=10, bytes_transferred=7))
    with api.client.stream("GET", "/management/events", headers=headers) as answer:
        follower = Follower(answer)
        first = follower.next("progress")[1]
        with store.transaction() as tx:
            tx.progress.put(flow.id, Progress(bytes_total=10, bytes_transferred=10, plan_complete=True))
        last = follower.next("progress")[1]

    assert (first["bytesTransferred"], first["bytesTotal"]) == (7, None)
    assert (last["bytesTransferred"], last["percentComplete"]) == (10, 100.0)


def test_streams_are_bounded_and_give_their_place_back(tmp_path: Path) -> None:
    """One too many is 429; when one leaves, another may come; all end when the service ends."""
    with plane(
        tmp_path, control_planes=ANONYMOUS_PLANE, api_keys=(), max_event_streams=1, keep_alive_s=0.0
    ) as api:
        with httpx.stream("GET", f"{api.url}/management/events", trust_env=False) as answer:
            lines = answer.iter_lines()
            assert next(lines) == "retry: 2000"
            assert api.client.get("/management/events").status_code == 429
            assert ": keep-alive" in (next(lines), next(lines), next(lines))
        deadline = time.monotonic() + 10
        status = 429
        while status == 429 and time.monotonic() < deadline:
            with httpx.stream("GET", f"{api.url}/management/events", trust_env=False) as again:
                status = again.status_code
                if status == 200:
                    api.services.closing.set()
                    assert [line for line in again.iter_lines() if line.startswith("event:")] == []
        assert status == 200
