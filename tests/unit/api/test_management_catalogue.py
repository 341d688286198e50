"""Operators' routes to the catalogue, and control planes that register; secrets never come out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.unit.api.api_rig import PUSH, SECRETS, Plane

from dataferry.domain.keys import MAX_CONTEXT_CHARS, MAX_KEY_BYTES


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
    assert api.services.catalogue.locations.get("made").settings["secret_access_key"] == "an-operators-secret"
    listed = api.manage("GET", "/locations")
    assert {"disk", "made", "store"} == {item["name"] for item in listed.json()["items"]}
    assert not [secret for secret in (*SECRETS, "an-operators-secret") if secret in listed.text]
    assert api.manage("DELETE", "/locations/made").status_code == 204
    assert api.manage("GET", "/locations/made").status_code == 404


def test_limits_of_locations_can_be_set(api: Plane) -> None:
    """They are shown and kept beside the mechanism's settings, and checked."""
    root = api.services.catalogue.locations.get("disk").settings["root"]
    body = {"type": "file", "root": root, "workers": 3, "bandwidth_bytes_per_s": 1_000_000}
    made = api.manage("PUT", "/locations/slow", json=body)
    assert (made.status_code, made.json()) == (200, {"name": "slow", "configured": False, **body})
    kept = api.services.catalogue.locations.get("slow")
    assert (dict(kept.settings), kept.limits.workers) == ({"root": root}, 3)
    wrong = api.manage("PUT", "/locations/slow", json=body | {"workers": 1000})
    assert (wrong.status_code, "workers must be a whole number" in wrong.json()["detail"]) == (400, True)


def test_a_location_is_tried_without_writing(api: Plane) -> None:
    """One that can be read is ok; one that can't says why, without its credentials."""
    (Path(api.services.catalogue.locations.get("disk").settings["root"]) / "there").write_bytes(b"x")
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
