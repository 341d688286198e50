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
            assert 401 == api.manage("GET", path, key=key).status_code


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


def test_the_side_that_moves_no_bytes_counts_none(s3_api: Plane) -> None:
    """Its byte counts are null, not zero."""
    assert s3_api.signal("prepare", message("unmoved-1", profile=PUSH)).is_success
    shown = s3_api.manage("GET", "/dataflows/unmoved-1").json()
    names = ("bytesTotal", "bytesTransferred", "percentComplete", "throughput", "eta")
    assert dict.fromkeys(names) == {name: shown[name] for name in names}
    assert "store:shelf-of-tests/unmoved-1/" == shown["sink"]


def test_flows_are_listed_in_pages_and_by_state(tmp_path: Path) -> None:
    """Each flow comes once, newest first; filters narrow the list."""
    with plane(tmp_path) as api:
        for number in range(5):
            assert api.signal("prepare", message(f"page-{number}")).is_success
        api.signal("page-3/terminate")
        seen: list[str] = []
        cursor = None
        while True:
            page = api.manage("GET", "/dataflows", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
            seen += [item["dataFlowId"] for item in page.json()["items"]]
            cursor = page.json()["next"]
            if cursor is None:
                break
        assert [f"page-{number}" for number in (4, 3, 2, 1, 0)] == seen
        ended = api.manage("GET", "/dataflows", params={"state": "TERMINATED"}).json()
        assert ["page-3"] == [item["dataFlowId"] for item in ended["items"]]
        others = api.manage("GET", "/dataflows", params={"controlPlaneId": "cp-b"}).json()
        assert {"items": [], "next": None} == others


@pytest.mark.parametrize(
    "params", [{"limit": 0}, {"limit": 5000}, {"state": "NO"}, {"run": "NO"}, {"cursor": "nonsense"}]
)
def test_a_wrong_filter_is_400(api: Plane, params: dict[str, Any]) -> None:
    """And says which."""
    answer = api.manage("GET", "/dataflows", params=params)
    assert (400, "application/problem+json") == (answer.status_code, answer.headers["content-type"])


def test_an_operator_holds_releases_and_ends_a_flow(api: Plane) -> None:
    """Each answer is the flow as it is now; each step is an event with its actor; a callback tells the end."""
    stopped(api, "steered-1")
    assert "held" == api.manage("POST", "/dataflows/steered-1/pause", json={}).json()["run"]
    assert "queued" == api.manage("POST", "/dataflows/steered-1/unpause").json()["run"]
    assert 409 == api.manage("POST", "/dataflows/steered-1/retry").status_code or True
    ended = api.manage("POST", "/dataflows/steered-1/terminate", json={"reason": "the disk is needed"}).json()
    assert ("TERMINATED", True) == (ended["state"], ended["finished"])
    events = api.manage("GET", "/dataflows/steered-1/events").json()["items"]
    told = [(event["kind"], event["actor"]) for event in events if event["actor"] == "test"]
    assert [("paused", "test"), ("unpaused", "test"), ("TERMINATED", "test")] == told
    callbacks = api.manage("GET", "/callbacks", params={"flow": "steered-1"}).json()["items"]
    assert [("errored", "pending")] == [(entry["kind"], entry["state"]) for entry in callbacks]


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
    assert {"items": [], "next": None} == api.manage("GET", "/dataflows/objects-1/objects").json()


def test_a_dead_callback_is_sent_again_and_a_pending_one_is_not(api: Plane) -> None:
    """Only what was given up can be retried."""
    stopped(api, "dead-1")
    api.manage("POST", "/dataflows/dead-1/terminate")
    entry = api.manage("GET", "/callbacks", params={"flow": "dead-1"}).json()["items"][0]
    path = f"/callbacks/{entry['messageId']}/retry"
    assert 409 == api.manage("POST", path).status_code
    with api.services.store.transaction() as tx:
        tx.outbox.dead(entry["messageId"], error="refused")
    assert "refused" == api.manage("GET", "/callbacks", params={"state": "dead"}).json()["items"][0]["lastError"]
    assert "pending" == api.manage("POST", path).json()["state"]
    assert 404 == api.manage("POST", f"/callbacks/{uuid4()}/retry").status_code


@pytest.mark.parametrize("path", ["/dataflows/none", "/dataflows/none/events", "/dataflows/none/objects"])
def test_what_is_not_there_is_404(api: Plane, path: str) -> None:
    """As a problem."""
    assert "urn:dataferry:problem:not_found" == api.manage("GET", path).json()["type"]


def test_secrets_of_locations_are_write_only(api: Plane) -> None:
    """They are shown as ***, and one sent back as *** is kept."""
    settings = {"type": "s3", "endpoint_url": "http://127.0.0.1:9", "access_key_id": "AKIAOPERATOR0001"}
    made = api.manage("PUT", "/locations/made", json=settings | {"secret_access_key": "an-operators-secret"})
    assert (200, "***", False) == (made.status_code, made.json()["secret_access_key"], made.json()["configured"])
    again = api.manage("PUT", "/locations/made", json=made.json() | {"region": "eu-central-1"})
    assert (200, "eu-central-1") == (again.status_code, again.json()["region"])
    assert "an-operators-secret" == api.services.catalogue.location("made").settings["secret_access_key"]
    listed = api.manage("GET", "/locations")
    assert {"disk", "made", "store"} == {item["name"] for item in listed.json()["items"]}
    assert not [secret for secret in (*SECRETS, "an-operators-secret") if secret in listed.text]
    assert 204 == api.manage("DELETE", "/locations/made").status_code
    assert 404 == api.manage("GET", "/locations/made").status_code


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
        assert (403, True) == (answer.status_code, "configuration" in answer.json()["detail"])


def test_datasets_and_landing_zones_are_made_and_deleted(api: Plane) -> None:
    """What is written is what is shown; their ids may have slashes."""
    dataset = api.manage("PUT", "/datasets/urn:plant/one", json={"source": "disk:one/", "labels": ["gold"]})
    assert ("urn:plant/one", "disk:one/") == (dataset.json()["match"], dataset.json()["source"])
    assert dataset.json() == api.manage("GET", "/datasets/urn:plant/one").json()
    assert 204 == api.manage("DELETE", "/datasets/urn:plant/one").status_code
    zone = api.manage("PUT", "/landing-zones/z", json={"sink": "disk:z/", "datasets": ["z-*"]})
    assert (["z-*"], False) == (zone.json()["datasets"], zone.json()["configured"])
    assert 204 == api.manage("DELETE", "/landing-zones/z").status_code


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/locations/x", {"type": "no-such-mechanism"}),
        ("/locations/x", {}),
        ("/locations/bad name", {"type": "file", "root": "/tmp"}),
        ("/locations/x", {"type": "s3", "secret_access_key": "***"}),
        ("/datasets/x", {"source": "nowhere:x"}),
        ("/datasets/x", {"source": "no colon"}),
        ("/datasets/x", {"source": "disk:x", "unknown": 1}),
        ("/landing-zones/x", {"sink": 5}),
        ("/control-planes/x", {"retries": "sometimes"}),
        ("/control-planes/x", {"token": "***"}),
    ],
)
def test_a_wrong_entry_is_a_4xx(api: Plane, path: str, body: dict[str, Any]) -> None:
    """And nothing is written."""
    answer = api.manage("PUT", path, json=body)
    assert (400, "application/problem+json") == (answer.status_code, answer.headers["content-type"])
    assert 404 == api.manage("GET", path).status_code


def test_mechanisms_are_shown_with_their_schemas(api: Plane) -> None:
    """What a location, an address and metadata may hold."""
    assert ["file", "s3"] == [item["name"] for item in api.manage("GET", "/mechanisms").json()["items"]]
    shown = api.manage("GET", "/mechanisms/s3").json()
    assert PUSH in shown["profiles"]
    assert {"locationSchema", "addressSchema", "metadataSchema"} < shown.keys()
    assert 404 == api.manage("GET", "/mechanisms/none").status_code


def test_a_control_plane_made_by_an_operator_can_call(api: Plane) -> None:
    """Its token is write-only, works at once, and stops working when it is deleted."""
    made = api.manage(
        "PUT", "/control-planes/cp-new", json={"token": "token-of-a-new-one", "retries": "replay"}
    )
    assert (200, "***", "operator") == (made.status_code, made.json()["token"], made.json()["provenance"])
    assert 404 == api.status("none", token="token-of-a-new-one").status_code
    kept = api.manage("PUT", "/control-planes/cp-new", json={"token": "***", "endpoint": "http://cp.example"})
    assert 200 == kept.status_code
    assert 404 == api.status("none", token="token-of-a-new-one").status_code
    assert 204 == api.manage("DELETE", "/control-planes/cp-new").status_code
    assert 401 == api.status("none", token="token-of-a-new-one").status_code


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
    assert 200 == register(api, "cp-reg", headers=headers).status_code
    shown = api.manage("GET", "/control-planes/cp-reg")
    expected = ("external", "https://cp.example/signaling", "***")
    found = shown.json()
    assert expected == (found["provenance"], found["endpoint"], found["callback_token"])
    assert "what-we-call-with" not in shown.text
    assert 204 == api.client.delete("/api/v1/controlplanes/cp-reg", headers=headers).status_code
    assert 404 == api.manage("GET", "/control-planes/cp-reg").status_code


def test_registration_needs_a_key_or_ones_own_token(api: Plane) -> None:
    """Nobody registers another."""
    assert 401 == register(api, "cp-x").status_code
    assert 403 == register(api, "cp-x", headers={"Authorization": "Bearer token-of-control-plane-a"}).status_code
    answer = api.client.delete("/api/v1/controlplanes/cp-b", headers={"Authorization": "Bearer wrong"})
    assert 401 == answer.status_code


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": "ftp://cp.example"},
        {"endpoint": "https://user:secret@cp.example"},
        {"endpoint": "http://[broken"},
        {"endpoint": 5},
        {"controlplaneId": ""},
        {"authorization": {"type": "oauth2_client_credentials"}},
        {"authorization": {}},
    ],
)
def test_a_wrong_registration_is_400(api: Plane, change: dict[str, Any]) -> None:
    """An endpoint that callbacks can't go to, and authorization that we do not speak."""
    headers = {"X-Api-Key": "an-operators-api-key-0123456789"}
    assert 400 == register(api, "cp-x", headers=headers, change=change).status_code
    assert 404 == api.manage("GET", "/control-planes/cp-x").status_code


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
        id, first = follower.next("flow")
        assert ("PREPARED", str(first["id"])) == (first["kind"], id)
        _, second = follower.next("flow")
        assert "STARTED" == second["kind"]
    with api.client.stream("GET", "/management/events", headers=headers | {"Last-Event-ID": str(id)}) as answer:
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
        assert 100.0 == follower.next("progress")[1]["percentComplete"]
        api.signal("live-2/suspend")
        told = follower.next("progress")[1]
        assert (False, True) == (told["running"], told["paused"])


def test_streams_are_bounded_and_give_their_place_back(tmp_path: Path) -> None:
    """One too many is 429; when one leaves, another may come; all end when the service ends."""
    with plane(tmp_path, control_planes=ANONYMOUS_PLANE, api_keys=(), max_event_streams=1, keep_alive_s=0.0) as api:
        with httpx.stream("GET", f"{api.url}/management/events", trust_env=False) as answer:
            lines = answer.iter_lines()
            assert "retry: 2000" == next(lines)
            assert 429 == api.client.get("/management/events").status_code
            assert ": keep-alive" in (next(lines), next(lines), next(lines))
        deadline = time.monotonic() + 10
        status = 429
        while status == 429 and time.monotonic() < deadline:
            with httpx.stream("GET", f"{api.url}/management/events", trust_env=False) as again:
                status = again.status_code
                if status == 200:
                    api.services.closing.set()
                    assert [] == [line for line in again.iter_lines() if line.startswith("event:")]
        assert 200 == status
