"""``/orchestrate`` and ``/status``: what is asked, answered and refused, field for field."""

from __future__ import annotations

import re
import socket
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.servers.orchestrator import KEY, Orchestrating, entry, orchestrating

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00"
MISSING = ["Missing data for required field."]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestrating]:
    """A service with one connector; an entry at most is at work, so that others stay QUEUED."""
    with orchestrating(tmp_path_factory.mktemp("orchestrator"), orchestrator={"concurrency": 1}) as running:
        running.edc.looks = 10_000_000
        running.put("held", "/held.json", b"{}")
        yield running


def _error(answer: httpx.Response, status: int) -> dict[str, Any]:
    """An error of the description's shape."""
    assert status == answer.status_code, answer.text
    body: dict[str, Any] = answer.json()
    assert sorted(body) == ["details", "message", "status", "status_code"]
    assert ("ERROR", status) == (body["status"], body["status_code"])
    assert isinstance(body["message"], str)
    assert answer.headers["content-type"] == "application/json"
    return body


def test_a_request_is_answered_as_described(rig: Orchestrating) -> None:
    """The answer to POST has every field of the description, and no other value."""
    answer = rig.post(rig.request("held"))
    assert answer.status_code == 200
    body = answer.json()
    id_ = body["orchestration_id"]
    assert re.fullmatch(UUID, id_)
    assert body == {
        "status": "SUCCESS",
        "status_code": 200,
        "orchestration_id": id_,
        "response": {
            "orchestration_id": id_,
            "status": "QUEUED",
            "message": "Transfer processing started",
        },
    }


def test_a_status_is_answered_as_described(rig: Orchestrating) -> None:
    """The detailed status has the description's fields; ``updated_at`` is there from the first moment."""
    id_ = rig.begin("held", "held")
    body = rig.get(f"/status/{id_}").json()
    assert sorted(body) == ["response", "status", "status_code"]
    assert (
        body["status"],
        body["status_code"],
        list(body["response"]),
    ) == ("SUCCESS", 200, ["orchestration_processes"])
    process = body["response"]["orchestration_processes"][id_]
    assert id_ == process["orchestration_id"]
    assert process["process_status"] == "QUEUED"
    assert re.fullmatch(TIME, process["created_at"])
    assert re.fullmatch(TIME, process["updated_at"])
    assert [(one["status"], one["transfer_id"], one["storage_path"]) for one in process["storage_paths"]] == [
        ("QUEUED", None, None)
    ] * 2


def test_all_statuses_are_answered_as_described(rig: Orchestrating) -> None:
    """The list is keyed by id; each has the description's fields, ``properties`` as the request had them."""
    id_ = rig.begin("held", properties={"ticket": "T-1"})
    body = rig.get("/status").json()
    assert (body["status"], body["status_code"]) == ("SUCCESS", 200)
    process = body["response"]["orchestration_processes"][id_]
    described = {"orchestration_id", "process_status", "created_at", "updated_at", "properties"}
    assert described <= set(process)
    assert process["properties"] == {"ticket": "T-1"}
    assert "storage_paths" not in process


@pytest.mark.parametrize("prefix", ["", "/orchestrator"])
@pytest.mark.parametrize("key", [None, "wrong", "", KEY + "x"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/orchestrate"),
        ("GET", "/status"),
        ("GET", f"/status/{uuid.UUID(int=1)}"),
        ("DELETE", f"/orchestrate/{uuid.UUID(int=1)}"),
    ],
)
def test_every_route_wants_the_key(
    rig: Orchestrating, prefix: str, key: str | None, method: str, path: str
) -> None:
    """A missing key is answered as a wrong one: 403, whatever else is wrong."""
    headers = {} if key is None else {"X-Api-Key": key}
    body = rig.request("held") if method == "POST" else None
    answer = rig.client.request(method, prefix + path, headers=headers, json=body)
    assert _error(answer, 403)["message"] == "Invalid API key"


@pytest.mark.parametrize("key", [None, "wrong"])
@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"{", "application/json"),
        (b"", "application/json"),
        (b'{"data": 7}', "application/json"),
        (b"{}", "text/plain"),
        (b"[" * 2 * 1024 * 1024, "application/json"),
    ],
    ids=["no-json", "empty", "wrong", "text", "2-MiB"],
)
def test_the_key_goes_before_the_body(
    rig: Orchestrating, key: str | None, body: bytes, media_type: str
) -> None:
    """However wrong the body is, too."""
    headers = {"Content-Type": media_type} | ({} if key is None else {"X-Api-Key": key})
    for method, path in (("POST", "/orchestrate"), ("POST", "/status"), ("PUT", "/orchestrator/orchestrate")):
        answer = rig.client.request(method, path, headers=headers, content=body)
        assert _error(answer, 403)["message"] == "Invalid API key"


def test_bodies_of_strangers_are_not_waited_for(rig: Orchestrating) -> None:
    """Who shows no key is answered before any of the body is there."""
    head = "POST /orchestrate HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection((rig.client.base_url.host, rig.client.base_url.port or 0), 10) as client:
        client.sendall(head.encode())
        assert client.recv(100).startswith(b"HTTP/1.1 403 ")


def test_the_same_routes_are_below_orchestrator(rig: Orchestrating) -> None:
    """A request that is taken in at one path is seen at the other."""
    answer = rig.client.post(
        "/orchestrator/orchestrate", json=rig.request("held"), headers={"X-Api-Key": KEY}
    )
    id_ = answer.json()["orchestration_id"]
    assert (
        rig.status(id_)
        == rig.get(f"/orchestrator/status/{id_}").json()["response"]["orchestration_processes"][id_]
    )
    assert id_ in rig.get("/orchestrator/status").json()["response"]["orchestration_processes"]


FIELDS = ["type", "counterPartyAddress", "contractId", "connectorId"]


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_an_entry_is_required(rig: Orchestrating, field: str) -> None:
    """Each field that is missing is named, in the entry where it is."""
    body = rig.request("held", "held")
    del body["data"][1][field]
    error = _error(rig.post(body), 400)
    assert error["message"] == "Invalid request format"
    assert {"data": {"1": {field: MISSING}}} == error["details"]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [None, 7, True, [], {}, "", ["edc-asset"]])
def test_wrong_types_are_refused(rig: Orchestrating, field: str, value: Any) -> None:
    """A value of another type, or an empty one, is never taken for one that was meant."""
    body = rig.request("held")
    body["data"][0][field] = value
    error = _error(rig.post(body), 400)
    assert [field] == list(error["details"]["data"]["0"])


@pytest.mark.parametrize(
    ("changes", "details"),
    [
        ({"data": None}, {"data": ["Not a valid list."]}),
        ({"data": {}}, {"data": ["Not a valid list."]}),
        ({"data": "edc-asset"}, {"data": ["Not a valid list."]}),
        ({"data": []}, {"data": ["Shorter than minimum length 1."]}),
        ({"data": ["x"]}, {"data": {"0": ["Invalid input type."]}}),
        ({"data": [entry("held", type="s3")]}, {"data": {"0": {"type": ["Must be one of: edc-asset."]}}}),
        (
            {"data": [entry("held", counterPartyAddress="provider")]},
            {"data": {"0": {"counterPartyAddress": ["Not a valid URL."]}}},
        ),
        ({"connectorAddress": 1}, {"connectorAddress": ["Not a valid string."]}),
        ({"connectorAddress": "ftp://x/y"}, {"connectorAddress": ["Not a valid URL."]}),
        ({"connectorAddress": "http://user:pw@x/y"}, {"connectorAddress": ["Not a valid URL."]}),
        ({"connectorAddress": "http://x/%2e%2E/y"}, {"connectorAddress": ["Not a valid URL."]}),
        ({"properties": []}, {"properties": ["Not a valid mapping type."]}),
    ],
)
def test_what_is_wrong_is_said(rig: Orchestrating, changes: dict[str, Any], details: dict[str, Any]) -> None:
    """In the sentences that clients of the described service know."""
    assert details == _error(rig.post({**rig.request("held"), **changes}), 400)["details"]


def test_missing_fields_of_the_request(rig: Orchestrating) -> None:
    """The example of the description, word for word."""
    assert _error(rig.post({}), 400)["details"] == {"data": MISSING, "connectorAddress": MISSING}


@pytest.mark.parametrize("body", [[], "text", 7, None, True])
def test_a_body_that_is_no_object_is_refused(rig: Orchestrating, body: Any) -> None:
    """Any JSON may come."""
    _error(rig.post(body), 400)


def test_bodies_that_are_no_json_are_refused(rig: Orchestrating) -> None:
    """No JSON, none at all, another type, too much: 400 with the description's shape."""
    headers = {"X-Api-Key": KEY, "Content-Type": "application/json"}
    for content in (b"{", b"", b"\xff", b'{"data": NaN}', b"[" * 100_000):
        _error(rig.client.post("/orchestrate", content=content, headers=headers), 400)
    _error(
        rig.client.post("/orchestrate", content=b"{}", headers={**headers, "Content-Type": "text/xml"}), 400
    )
    _error(rig.post({"data": ["x" * 2_000_000]}), 400)


def test_too_many_entries_are_refused(rig: Orchestrating) -> None:
    """10,000 entries are more than a body may hold; a thousand and one are more than a request may."""
    _error(rig.post(rig.request(*["held"] * 10_000)), 400)
    small = {"type": "edc-asset", "counterPartyAddress": "http://p", "contractId": "c", "connectorId": "i"}
    error = _error(rig.post({"data": [small] * 1001, "connectorAddress": rig.edc.address}), 400)
    assert error["details"] == {"data": ["Longer than maximum length 1000."]}


@pytest.mark.parametrize(
    "address",
    ["http://169.254.169.254/latest", "http://127.0.0.1:1/consumer/cp", "http://edc.example/consumer/cp"],
)
def test_connectors_that_are_not_configured_are_refused(rig: Orchestrating, address: str) -> None:
    """Whatever a client names, only what the operator configured is called."""
    error = _error(rig.post(rig.request("held", connectorAddress=address)), 400)
    assert error["details"] == {"connectorAddress": ["Not a configured connector."]}


def test_a_connector_is_known_however_it_is_spelt(rig: Orchestrating) -> None:
    """A slash at the end and capitals of the scheme make no other connector; another path does."""
    spelt = rig.edc.address.replace("http:", "HTTP:") + "/"
    assert rig.post(rig.request("held", connectorAddress=spelt)).status_code == 200
    _error(rig.post(rig.request("held", connectorAddress=f"{rig.edc.address}/more")), 400)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("transferType", "Carrier-Pigeon", "Pigeon"),
        ("transferType", "AmazonS3-PUSH", "location of type s3"),
        ("destination", "orchestrator-data:x", "may name"),
        ("destination", "nowhere", "may name|NAME:PATH"),
    ],
)
def test_optional_fields_are_checked(rig: Orchestrating, field: str, value: str, words: str) -> None:
    """A transfer type that nobody can serve there, and a destination that is not allowed: refused at once."""
    error = _error(rig.post({**rig.request(), "data": [entry("held", **{field: value})]}), 400)
    assert re.search(words, error["details"]["data"]["0"][field][0])


@pytest.mark.parametrize("id_", [str(uuid.UUID(int=7)), "nonsense", "..%2f..", "0" * 500])
def test_unknown_orchestrations_are_404(rig: Orchestrating, id_: str) -> None:
    """Also where the id is none."""
    _error(rig.get(f"/status/{id_}"), 404)
    _error(rig.client.delete(f"/orchestrate/{id_}", headers={"X-Api-Key": KEY}), 404)


def test_other_methods_are_405(rig: Orchestrating) -> None:
    """In the same shape."""
    _error(rig.client.put("/orchestrate", json={}, headers={"X-Api-Key": KEY}), 405)
    _error(rig.client.post("/status", json={}, headers={"X-Api-Key": KEY}), 405)


def test_other_paths_keep_their_errors(rig: Orchestrating) -> None:
    """The shape is that of these paths only."""
    answer = rig.client.get("/statuses")
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_idempotency_key_starts_nothing_twice(rig: Orchestrating) -> None:
    """The same request again, also at the same time, gets the first answer; another one is refused."""
    headers = {"Idempotency-Key": "order 17"}
    body = rig.request("held")
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda: answers.append(rig.post(body, headers=headers))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({answer.text for answer in answers}) == 1
    _error(rig.post(rig.request("held", "held"), headers=headers), 409)
    _error(rig.post(body, headers={"Idempotency-Key": "x" * 300}), 400)


def test_a_dry_run_starts_nothing(rig: Orchestrating) -> None:
    """It says the same about a wrong request, and of a right one only that it is right."""
    before = len(rig.get("/status").json()["response"]["orchestration_processes"])
    answer = rig.post(rig.request("held"), params={"dryRun": "true"})
    assert answer.json()["response"]["status"] == "VALID"
    _error(rig.post(rig.request("held", connectorAddress="http://x"), params={"dryRun": "true"}), 400)
    _error(rig.post(rig.request("held"), params={"dryRun": "perhaps"}), 400)
    assert before == len(rig.get("/status").json()["response"]["orchestration_processes"])


def test_statuses_have_pages_when_asked(rig: Orchestrating) -> None:
    """Pages are disjoint and hold all; without a limit there are none."""
    for _ in range(3):
        rig.begin("held")
    every = rig.get("/status").json()["response"]
    assert "next" not in every
    seen: list[str] = []
    cursor = ""
    while True:
        page = rig.get(f"/status?limit=2{cursor}").json()["response"]
        seen += page["orchestration_processes"]
        if "next" not in page:
            break
        cursor = f"&cursor={page['next']}"
    assert list(every["orchestration_processes"]) == seen
    _error(rig.get("/status?cursor=nonsense"), 400)
    _error(rig.get("/status?limit=0"), 400)


def test_the_default_key_is_for_this_machine_only(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Who comes from elsewhere, by a proxy or a web page on this machine, does not get in with it."""
    directory = tmp_path_factory.mktemp("default-key")
    with orchestrating(directory, orchestrator={"api_key": "password"}) as rig:
        assert rig.get("/status", key="password").status_code == 200
        for header, value in (
            ("X-Forwarded-For", "203.0.113.9"),
            ("Host", "public.example"),
            ("Origin", "https://evil.example"),
        ):
            answer = rig.client.get("/status", headers={"X-Api-Key": "password", header: value})
            assert _error(answer, 403)["message"] == "Invalid API key"


def test_operators_who_may_orchestrate_get_in(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Their key must have the scope; to others it is a wrong one, and without a key nobody gets in."""
    may, may_not = "a-key-that-may-orchestrate", "a-key-that-may-only-read"
    keys = [
        {"name": "may", "key": may, "scopes": ["orchestrate"]},
        {"name": "may-not", "key": may_not, "scopes": ["read", "operate", "configure", "data-address"]},
    ]
    with orchestrating(tmp_path_factory.mktemp("operators"), auth={"api_keys": keys}) as rig:
        assert rig.get("/status", key=may).status_code == 200
        assert rig.post({}, key=may).status_code == 400
        for key in (may_not, None):
            assert _error(rig.get("/status", key=key), 403)["message"] == "Invalid API key"
