"""Operators' routes: flows, events, callbacks, catalogue; secrets never come out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.unit.api.api_rig import ANONYMOUS_PLANE, PUSH, Plane, address, message, plane

from dataferry.domain.keys import MAX_CONTEXT_CHARS, MAX_KEY_BYTES
from dataferry.domain.ledger import Attempt, PlannedObject
from dataferry.domain.objects import ObjectInfo
from dataferry.domain.progress import Progress

SECRETS = (
    "their-secret-in-a-data-address",
    "shared-secret-for-the-other-side",
    "location-secret-access-key-never-shown",
    "a-secret-in-metadata",
    "token-of-control-plane-a",
)


def stopped(api: Plane, id: str) -> dict[str, Any]:
    """A consumer's pull that was started, and whose bytes nobody moves yet."""
    body = message(id, metadata={"password": "a-secret-in-metadata"}, claims={"sub": "a-secret-in-metadata"})
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
    assert not [secret for secret in SECRETS if secret in answer.text]


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


def test_secrets_of_locations_are_write_only(api: Plane) -> None:
    """They are shown as ***, and one sent back as *** is kept."""
    settings = {"type": "s3", "endpoint_url": "http://127.0.0.1:9", "access_key_id": "AKIAOPERATOR0001"}
    made = api.manage("PUT", "/locations/made", json=settings | {"secret_access_key": "an-operators-secret"})
    assert (
        made.status_code,
        made.json()["secret_access_key"],
        made.json()["configured"],
    ) == (200, "***", False)
    again = api.manage("PUT", "/locations/made", json=made.json() | {"region": "eu-central-1"})
    assert (again.status_code, again.json()["region"]) == (200, "eu-central-1")
    assert api.services.catalogue.location("made").settings["secret_access_key"] == "an-operators-secret"
    listed = api.manage("GET", "/locations")
    assert {"disk", "made", "store"} == {item["name"] for item in listed.json()["items"]}
    assert not [secret for secret in (*SECRETS, "an-operators-secret") if secret in listed.text]
    assert api.manage("DELETE", "/locations/made").status_code == 204
    assert api.manage("GET", "/locations/made").status_code == 404


def test_limits_of_locations_can_be_set(api: Plane) -> None:
    """They are shown and kept beside the mechanism's settings, and checked."""
    root = api.services.catalogue.location("disk").settings["root"]
    body = {"type": "file", "root": root, "workers": 3, "bandwidth_bytes_per_s": 1_000_000}
    made = api.manage("PUT", "/locations/slow", json=body)
    assert (made.status_code, made.json()) == (200, {"name": "slow", "configured": False, **body})
    kept = api.services.catalogue.location("slow")
    assert (dict(kept.settings), kept.limits.workers) == ({"root": root}, 3)
    wrong = api.manage("PUT", "/locations/slow", json=body | {"workers": 1000})
    assert (wrong.status_code, "workers must be a whole number" in wrong.json()["detail"]) == (400, True)


def test_a_location_is_tried_without_writing(api: Plane) -> None:
    """One that can be read is ok; one that can't says why, without its credentials."""
    (Path(api.services.catalogue.location("disk").settings["root"]) / "there").write_bytes(b"x")
    there = api.manage("POST", "/locations/disk/test", json={"path": "there"}).json()
    assert there == {"location": "disk:there", "ok": True, "kind": None, "error": None}
    missing = api.manage("POST", "/locations/disk/test", json={"path": "missing"}).json()
    assert (missing["ok"], missing["kind"]) == (False, "object_not_found")
    unreached = api.manage("POST", "/locations/store/test", json={"path": "some-bucket/x"})
    assert unreached.json()["kind"] == "connection_failed"
    assert not [secret for secret in SECRETS if secret in unreached.text]
    assert api.manage("POST", "/locations/none/test").status_code == 404


def test_what_is_configured_is_read_only(api: Plane) -> None:
    """The file would bring it back: 403 says where to change it."""
    for method, path, body in (
        ("PUT", "/locations/store", {"type": "s3"}),
        ("DELETE", "/locations/store", None),
        ("PUT", "/datasets/*", {"source": "store:x"}),
        ("DELETE", "/landing-zones/files", None),
        ("DELETE", "/control-planes/cp-a", None),
    ):
        answer = api.manage(method, path, json=body)
        assert (answer.status_code, "configuration" in answer.json()["detail"]) == (403, True)


def test_datasets_and_landing_zones_are_made_and_deleted(api: Plane) -> None:
    """What is written is what is shown; their ids may have slashes."""
    dataset = api.manage("PUT", "/datasets/urn:plant/one", json={"source": "disk:one/", "labels": ["gold"]})
    assert (dataset.json()["match"], dataset.json()["source"]) == ("urn:plant/one", "disk:one/")
    assert dataset.json() == api.manage("GET", "/datasets/urn:plant/one").json()
    assert api.manage("DELETE", "/datasets/urn:plant/one").status_code == 204
    zone = api.manage("PUT", "/landing-zones/z", json={"sink": "disk:z/", "datasets": ["z-*"]})
    assert (zone.json()["datasets"], zone.json()["configured"]) == (["z-*"], False)
    assert api.manage("DELETE", "/landing-zones/z").status_code == 204


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/locations/x", {"type": "no-such-mechanism"}),
        ("/locations/x", {}),
        ("/locations/bad name", {"type": "file", "root": "/srv"}),
        ("/locations/x", {"type": "s3", "secret_access_key": "***"}),
        ("/datasets/x", {"source": "nowhere:x"}),
        ("/datasets/x", {"source": "no colon"}),
        ("/datasets/x", {"source": "disk:x", "unknown": 1}),
        ("/landing-zones/x", {"sink": 5}),
        (f"/datasets/{'x' * (MAX_KEY_BYTES + 1)}", {"source": "disk:x"}),
        (f"/control-planes/{'x' * (MAX_KEY_BYTES + 1)}", {}),
        (f"/control-planes/{'%C3%A4' * (MAX_KEY_BYTES // 2 + 1)}", {}),
        ("/control-planes/x", {"participant_context_id": "x" * (MAX_CONTEXT_CHARS + 1)}),
        ("/control-planes/x", {"retries": "sometimes"}),
        ("/control-planes/x", {"token": "***"}),
        ("/control-planes/x", {"token": "token-of-control-plane-a"}),
        ("/control-planes/x", {"endpoint": "ftp://cp.example"}),
        ("/control-planes/x", {"management_url": "https://user:word@cp.example"}),
    ],
)
def test_a_wrong_entry_is_a_4xx(api: Plane, path: str, body: dict[str, Any]) -> None:
    """And nothing is written."""
    answer = api.manage("PUT", path, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert api.manage("GET", path).status_code == 404


def test_mechanisms_are_shown_with_their_schemas(api: Plane) -> None:
    """What a location, an address and metadata may hold."""
    assert [item["name"] for item in api.manage("GET", "/mechanisms").json()["items"]] == [
        "file",
        "http",
        "s3",
    ]
    shown = api.manage("GET", "/mechanisms/s3").json()
    assert PUSH in shown["profiles"]
    assert {"locationSchema", "addressSchema", "metadataSchema"} < shown.keys()
    assert api.manage("GET", "/mechanisms/none").status_code == 404


def test_a_control_plane_made_by_an_operator_can_call(api: Plane) -> None:
    """Its token is write-only, works at once, and stops working when it is deleted."""
    made = api.manage(
        "PUT", "/control-planes/cp-new", json={"token": "token-of-a-new-one", "retries": "replay"}
    )
    assert (made.status_code, made.json()["token"], made.json()["provenance"]) == (200, "***", "operator")
    assert api.status("none", token="token-of-a-new-one").status_code == 404
    kept = api.manage("PUT", "/control-planes/cp-new", json={"token": "***", "endpoint": "http://cp.example"})
    assert kept.status_code == 200
    assert api.status("none", token="token-of-a-new-one").status_code == 404
    assert api.manage("DELETE", "/control-planes/cp-new").status_code == 204
    assert api.status("none", token="token-of-a-new-one").status_code == 401


def register(api: Plane, id: str, **options: Any) -> httpx.Response:
    """Register a control plane over the signaling API."""
    body = {
        "controlplaneId": id,
        "endpoint": "https://cp.example/signaling",
        "authorization": {"type": "bearer", "token": "what-we-call-with"},
    } | options.pop("change", {})
    return api.client.put("/api/v1/controlplanes", json=body, **options)


def test_a_control_plane_registers_with_an_operators_key_and_is_an_outsider(api: Plane) -> None:
    """Its endpoint is an external place; its token is kept and not shown; deletion answers 204."""
    headers = {"X-Api-Key": "an-operators-api-key-0123456789"}
    assert register(api, "cp-reg", headers=headers).status_code == 200
    shown = api.manage("GET", "/control-planes/cp-reg")
    expected = ("external", "https://cp.example/signaling", "***")
    found = shown.json()
    assert expected == (found["provenance"], found["endpoint"], found["callback_token"])
    assert "what-we-call-with" not in shown.text
    assert api.client.delete("/api/v1/controlplanes/cp-reg", headers=headers).status_code == 204
    assert api.manage("GET", "/control-planes/cp-reg").status_code == 404


def test_a_configured_control_plane_says_itself_where_it_is(api: Plane) -> None:
    """With its own token; what it says is an external place, and what was configured stays."""
    token = {"Authorization": "Bearer token-of-control-plane-b"}
    assert register(api, "cp-b", headers=token).status_code == 200
    shown = api.manage("GET", "/control-planes/cp-b").json()
    expected = ("https://cp.example/signaling", "external", "***", True)
    assert (shown["endpoint"], shown["provenance"], shown["token"], shown["configured"]) == expected
    assert api.status("none", token="token-of-control-plane-b").status_code == 404


def test_registration_needs_a_key_or_ones_own_token(api: Plane) -> None:
    """Nobody registers another."""
    assert register(api, "cp-x").status_code == 401
    assert (
        register(api, "cp-x", headers={"Authorization": "Bearer token-of-control-plane-a"}).status_code == 403
    )
    answer = api.client.delete("/api/v1/controlplanes/cp-b", headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": "ftp://cp.example"},
        {"endpoint": "https://user:secret@cp.example"},
        {"endpoint": "http://[broken"},
        {"endpoint": 5},
        {"controlplaneId": ""},
        {"controlplaneId": "x" * (MAX_KEY_BYTES + 1)},
        {"authorization": {"type": "oauth2_client_credentials"}},
        {"authorization": {}},
    ],
)
def test_a_wrong_registration_is_400(api: Plane, change: dict[str, Any]) -> None:
    """An endpoint that callbacks can't go to, and authorization that we do not speak."""
    headers = {"X-Api-Key": "an-operators-api-key-0123456789"}
    assert register(api, "cp-x", headers=headers, change=change).status_code == 400
    assert api.manage("GET", "/control-planes/cp-x").status_code == 404


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
