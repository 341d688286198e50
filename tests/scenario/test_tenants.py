"""Two participants on one plane: whatever one tries at the other's, it is as if there were nothing."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.servers.did_documents import DidDocuments
from tests.servers.s3_client import s3_client
from tests.servers.tenants import PULL, Tenant, Tokens, plane_of, renew, tenants

from dataferry.demo.control_plane import message
from dataferry.demo.servers import JuiceFs

BUCKET = "bucket-of-anna-alone"
MINE = b"secret of bert"
THEIRS = b"secret of anna"


@pytest.fixture(scope="module")
def both(juicefs: JuiceFs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tenant, Tenant]]:
    """Anna, whose things are tried at, and Bert, who tries."""
    client = s3_client(juicefs)
    client.create_bucket(Bucket=BUCKET)
    client.put_object(Bucket=BUCKET, Key="secret", Body=THEIRS)
    with ExitStack() as cleanup:
        anna, bert = tenants(cleanup.enter_context(DidDocuments()))
        cleanup.enter_context(anna.control_plane)
        cleanup.enter_context(bert.control_plane)
        plane = plane_of(tmp_path_factory.mktemp("tenants"), anna, bert, juicefs, bucket=BUCKET)
        anna.on(plane)
        bert.on(plane)
        cleanup.enter_context(plane)
        yield anna, bert
        assert "Traceback" not in plane.process.log.read_text(errors="replace")


@pytest.fixture
def anna(both: tuple[Tenant, Tenant]) -> Tenant:
    """Whose things are tried at."""
    return both[0]


@pytest.fixture
def bert(both: tuple[Tenant, Tenant]) -> Tenant:
    """Who tries."""
    return both[1]


def ids_of(tenant: Tenant, pull: Tokens) -> list[str]:
    """Every id that a flow has."""
    flow = tenant.flow(pull.process_id)
    return [flow["id"], flow["dataFlowId"], flow["processId"]]


def told(answer: httpx.Response, *ids: str) -> str:
    """What an answer says, without the ids that were asked for."""
    text = answer.text
    for word in sorted(ids, key=len, reverse=True):
        text = text.replace(quote(word, safe=""), "ID").replace(word, "ID")
    return text


# -- the control plane's door


@pytest.mark.parametrize("verb", ["started", "suspend", "resume", "terminate", "completed", "status"])
def test_verbs_do_not_find_anothers_flow(anna: Tenant, bert: Tenant, verb: str) -> None:
    """By none of its ids; the answer is that for a flow which never was, and the flow stays as it is."""
    pull = anna.offer()
    before = anna.flow(pull.process_id)
    method = "GET" if verb == "status" else "POST"
    body = {"messageId": "m"} if method == "POST" and verb != "completed" else None
    absent = str(uuid.uuid4())
    nothing = bert.signal(method, f"/dataflows/{absent}/{verb}", body)
    assert nothing.status_code == 404
    for id_ in ids_of(anna, pull):
        refused = bert.signal(method, f"/dataflows/{quote(id_, safe='')}/{verb}", body)
        assert (refused.status_code, told(refused, id_)) == (404, told(nothing, absent)), id_
    assert anna.flow(pull.process_id) == before


def test_the_same_process_id_is_two_flows(anna: Tenant, bert: Tenant) -> None:
    """Each has its own data, and ends its own flow only."""
    process_id = f"shared-{uuid.uuid4().hex[:8]}"
    theirs, mine = anna.offer(process_id), bert.offer(process_id)
    assert fetched(theirs.url, theirs.access) == (200, THEIRS)
    assert fetched(mine.url, mine.access) == (200, MINE)
    bert.control_plane.notify(bert.address, process_id, "terminate")
    assert (bert.flow(process_id)["state"], anna.flow(process_id)["state"]) == ("TERMINATED", "STARTED")


@pytest.mark.parametrize("dataset_id", ["anna-data", "anna-", "trap-1", "object-1"])
def test_anothers_datasets_are_not_there(anna: Tenant, bert: Tenant, dataset_id: str) -> None:
    """By pattern, in a location of the other's, or in its bucket: word by word as one that never was."""
    assert anna.start(dataset_id).status == 200
    refused, nothing = bert.start(dataset_id), bert.start("never-was")
    assert (refused.status, nothing.status) == (404, 404)
    assert refused.body["detail"].replace(dataset_id, "never-was") == nothing.body["detail"]


@pytest.mark.parametrize(
    ("profile", "metadata"),
    [
        ("AmazonS3-PULL", {"sourceBucket": BUCKET, "sourceKey": "secret"}),
        ("AmazonS3-PULL", {"sourceBucket": BUCKET, "sourceKey": "secret", "endpointProperties": "ENDPOINT"}),
        ("AmazonS3-PULL", {"sourceDataAddress": "ADDRESS"}),
        (PULL, {"sourceDataAddress": {"endpointType": PULL, "endpoint": "place-of-anna:data"}}),
        (PULL, {"sourceBucket": BUCKET, "sourceKey": "secret"}),
    ],
    ids=["bucket", "endpoint", "address", "location", "other-profile"],
)
def test_metadata_does_not_lead_to_anothers_location(
    bert: Tenant, juicefs: JuiceFs, profile: str, metadata: dict[str, Any]
) -> None:
    """Not by bucket, endpoint or name: no location's credentials go with it, and nothing is told of one."""
    endpoint = {"name": "endpointOverride", "value": juicefs.endpoint_url}
    filled = dict(metadata)
    if filled.get("endpointProperties") == "ENDPOINT":
        filled["endpointProperties"] = {"endpointOverride": juicefs.endpoint_url}
    if filled.get("sourceDataAddress") == "ADDRESS":
        filled["sourceDataAddress"] = {
            "endpointType": "AmazonS3",
            "endpoint": f"s3://{BUCKET}/secret",
            "endpointProperties": [endpoint],
        }
    process_id = f"bert-{uuid.uuid4().hex[:8]}"
    said = message(process_id, "never-was", profile, counterPartyId=bert.partner.did, metadata=filled)
    reply = bert.control_plane.start_flow(bert.address, said)
    assert 400 <= reply.status < 500, reply.body
    assert juicefs.access_key_id not in json.dumps(dict(reply.body))
    assert "anna" not in json.dumps(dict(reply.body)).replace(BUCKET, "").replace("place-of-anna:data", "")
    assert bert.manage("GET", f"/dataflows/{process_id}").status_code == 404


def test_a_control_plane_registers_itself_only(anna: Tenant, bert: Tenant) -> None:
    """Neither over the other's registration nor away with it, and not for one that never was either."""
    for id_ in ("cp-of-anna", "cp-that-never-was"):
        body = {"messageId": "m", "controlplaneId": id_, "endpoint": "https://evil.example"}
        assert bert.signal("PUT", "/controlplanes", body).status_code == 403
        assert bert.signal("DELETE", f"/controlplanes/{id_}").status_code == 403
    assert anna.start("anna-data").status == 200


def test_credentials_open_their_own_door_only(bert: Tenant) -> None:
    """A control plane's token is no key, a key no token, and neither of them fetches data."""
    mine = bert.offer()
    url = bert.plane.url
    for path, credential in (
        ("/management/dataflows", bert.token),
        (f"/api/v1/dataflows/{mine.process_id}/status", bert.key),
        (mine.url.removeprefix(url), bert.key),
        (mine.url.removeprefix(url), bert.token),
        ("/management/dataflows", mine.access),
        (f"/api/v1/dataflows/{mine.process_id}/status", mine.access),
    ):
        answer = httpx.get(
            url + path, headers={"Authorization": f"Bearer {credential}"}, trust_env=False, timeout=30
        )
        assert answer.status_code == 401, path


# -- the gateway's door


def fetched(url: str, token: str, method: str = "GET") -> tuple[int, bytes]:
    """Ask the gateway for data."""
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.request(method, url, headers=headers, trust_env=False, timeout=30)
    return answer.status_code, answer.content if answer.is_success else b""


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_token_has_its_own_flows_data(anna: Tenant, bert: Tenant, method: str) -> None:
    """At the other's flow it is as wrong as any, and so is every flow that never was."""
    theirs, mine = anna.offer(), bert.offer()
    base = mine.url.rpartition("/")[0]
    for url in (theirs.url, f"{theirs.url}/data", f"{base}/{uuid.uuid4()}"):
        assert fetched(url, mine.access, method) == (401, b"")
    assert fetched(mine.url, theirs.access, method) == (401, b"")
    assert fetched(mine.url, mine.access) == (200, MINE)


def test_a_refresh_token_renews_its_own_flow(anna: Tenant, bert: Tenant) -> None:
    """Whoever signs, whatever for: no token at the other's endpoint, and no client for the other."""
    theirs, mine = anna.offer(), bert.offer()
    tried = (
        # Where, the refresh token, and what is signed by whom.
        (theirs.url, mine.refresh, bert.client_token(mine.access)),
        (theirs.url, mine.refresh, bert.client_token(mine.access, audience=anna.did.did)),
        (mine.url, theirs.refresh, bert.client_token(mine.access)),
        (theirs.url, theirs.refresh, bert.client_token(theirs.access, audience=anna.did.did)),
        (mine.url, mine.refresh, anna.client_token(mine.access, audience=bert.did.did)),
        (mine.url, mine.refresh, bert.client_token(mine.access, audience=anna.did.did)),
        (mine.url, mine.refresh, bert.client_token(theirs.access)),
    )
    for number, (url, refresh, signed) in enumerate(tried):
        refused = renew(url, refresh, signed)
        assert refused.status_code in {400, 401}, number
        assert refused.json()["error"] in {"invalid_grant", "invalid_client"}, number
        assert "access_token" not in refused.text
    assert renew(theirs.url, theirs.refresh, anna.client_token(theirs.access)).status_code == 200
    assert renew(mine.url, mine.refresh, bert.client_token(mine.access)).status_code == 200


# -- the operators' door


def test_a_bound_key_sees_its_own_only(anna: Tenant, bert: Tenant) -> None:
    """Lists of flows, callbacks and the catalogue hold nothing of the other, not even a name."""
    theirs, mine = anna.offer(), bert.offer()
    for tenant in (anna, bert):
        process_id = f"{tenant.name}-{uuid.uuid4().hex[:8]}"
        tenant.receive(f"{tenant.name}-data", process_id)
        tenant.control_plane.wait_for("completed", process_id)
    lists = [
        "/dataflows?limit=1000",
        "/callbacks",
        "/datasets",
        "/landing-zones",
        "/control-planes",
        "/locations",
        "/dataflows?controlPlaneId=cp-of-anna",
    ]
    shown = {path: bert.manage("GET", path) for path in lists}
    assert {answer.status_code for answer in shown.values()} == {200}
    for path, answer in shown.items():
        assert "anna" not in answer.text, path
    items = {path: answer.json()["items"] for path, answer in shown.items()}
    flows = items["/dataflows?limit=1000"]
    assert mine.process_id in {flow["processId"] for flow in flows}
    assert items["/callbacks"]
    assert {callback["flowId"] for callback in items["/callbacks"]} <= {flow["id"] for flow in flows}
    assert [entry["match"] for entry in items["/datasets"]] == ["bert-*"]
    assert [entry["name"] for entry in items["/landing-zones"]] == ["slow-zone-of-bert", "zone-of-bert"]
    assert [entry["id"] for entry in items["/control-planes"]] == ["cp-of-bert"]
    assert items["/locations"] == items["/dataflows?controlPlaneId=cp-of-anna"] == []
    assert theirs.process_id in {
        flow["processId"] for flow in anna.manage("GET", "/dataflows?limit=1000").json()["items"]
    }


def test_no_operation_finds_anothers_things(anna: Tenant, bert: Tenant) -> None:
    """Every operation, with every id and name: 404 or 403 as for what never was, and nothing has changed."""
    pull = anna.offer()
    message_id = dead_callback(anna)
    before = everything_of(anna)
    document = httpx.get(f"{bert.plane.url}/openapi.json", trust_env=False, timeout=30).json()
    absent = str(uuid.uuid4())
    names = {"id": [*ids_of(anna, pull), "cp-of-anna"], "match": ["anna-*", "trap-*"]}
    names |= {"name": ["place-of-anna", "zone-of-anna", "bucket-of-anna"], "message_id": [message_id]}
    tried = 0
    for path, methods in document["paths"].items():
        found = re.search(r"\{(\w+)\}", path)
        if not path.startswith("/management") or path.startswith("/management/mechanisms") or found is None:
            continue
        for method in methods:
            for name in names[found[1]]:
                asked = path.removeprefix("/management").replace(found[0], quote(name, safe=""))
                other = path.removeprefix("/management").replace(found[0], absent)
                refused = bert.manage(method.upper(), asked, json={})
                nothing = bert.manage(method.upper(), other, json={})
                assert refused.status_code in {403, 404}, (method, path, refused.text)
                assert refused.status_code == nothing.status_code, (method, path)
                assert told(refused, name) == told(nothing, absent), (method, path)
                tried += 1
    assert tried >= 60
    assert everything_of(anna) == before


def dead_callback(tenant: Tenant) -> str:
    """The id of a callback of the tenant's."""
    process_id = f"{tenant.name}-{uuid.uuid4().hex[:8]}"
    tenant.receive(f"{tenant.name}-data", process_id)
    tenant.control_plane.wait_for("completed", process_id)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        items = tenant.manage("GET", "/callbacks", params={"flow": process_id}).json()["items"]
        if [item["state"] for item in items] == ["sent"]:
            return str(items[0]["messageId"])
        time.sleep(0.05)
    raise AssertionError("the callback was not settled")


def everything_of(tenant: Tenant) -> dict[str, Any]:
    """All that a tenant sees, to see that it stayed."""
    paths = ("/dataflows?limit=1000", "/callbacks", "/datasets", "/landing-zones", "/control-planes")
    return {path: tenant.manage("GET", path).json() for path in paths}


def test_live_events_are_ones_own(anna: Tenant, bert: Tenant) -> None:
    """From the first event on that there ever was: what happens to the other's flows is not among them."""
    anna.offer()
    process_id = f"bert-{uuid.uuid4().hex[:8]}"
    seen: list[dict[str, Any]] = []
    headers = {"X-Api-Key": bert.key, "Last-Event-ID": "0"}
    with httpx.stream(
        "GET", f"{bert.plane.url}/management/events", headers=headers, trust_env=False, timeout=30
    ) as stream:
        assert stream.status_code == 200
        anna.receive("slow", f"anna-{uuid.uuid4().hex[:8]}")
        bert.receive("bert-data", process_id)
        last = (bert.flow(process_id)["id"], "completed")
        for line in stream.iter_lines():
            assert "anna" not in line
            if line.startswith("data: "):
                seen.append(json.loads(line.removeprefix("data: ")))
                if (seen[-1].get("flowId"), seen[-1].get("kind")) == last:
                    break
    mine = {flow["id"] for flow in bert.manage("GET", "/dataflows?limit=1000").json()["items"]}
    assert {entry.get("flowId", entry["id"]) for entry in seen} <= mine
    assert bert.flow(process_id)["state"] == "COMPLETED"


def test_a_bound_key_configures_nothing(bert: Tenant) -> None:
    """Not for itself either: what is configured is there for all."""
    for method, path, body in (
        ("PUT", "/datasets/bert-new", {"source": "place-of-anna:data"}),
        ("PUT", "/landing-zones/bert-new", {"sink": "place-of-anna:in/"}),
        ("PUT", "/locations/bert-new", {"type": "file", "root": "/"}),
        ("PUT", "/control-planes/bert-new", {"participant_context_id": "anna", "token": "x" * 20}),
        ("DELETE", "/datasets/anna-*", None),
        ("POST", "/locations/place-of-anna/test", {"path": "data"}),
    ):
        refused = bert.manage(method, path, json=body)
        assert refused.status_code == 403, path
        assert "lacks the scope 'configure'" in refused.json()["detail"]


# -- one is not to exhaust the other


def test_a_flood_of_flows_leaves_a_place(anna: Tenant, bert: Tenant) -> None:
    """Forty long flows of one wait or run, and the other's flow comes and goes within seconds."""
    flood = [f"anna-flood-{number}-{uuid.uuid4().hex[:6]}" for number in range(40)]
    try:
        for process_id in flood:
            anna.receive("slow", process_id)
        process_id = f"bert-{uuid.uuid4().hex[:8]}"
        began = time.monotonic()
        bert.receive("bert-data", process_id)
        bert.control_plane.wait_for("completed", process_id, timeout_s=20)
        assert time.monotonic() - began < 15
        runs = [anna.flow(process_id)["run"] for process_id in flood]
        assert set(runs) == {"running", "queued"}
        assert runs.count("running") < 4
    finally:
        for process_id in flood:
            anna.control_plane.notify(anna.address, process_id, "terminate")


def test_one_who_follows_much_leaves_places(anna: Tenant, bert: Tenant) -> None:
    """With all the streams of live events that one can have, the other has one too."""
    url = f"{anna.plane.url}/management/events"
    with ExitStack() as streams, httpx.Client(trust_env=False, timeout=30) as client:
        statuses = [
            streams.enter_context(client.stream("GET", url, headers={"X-Api-Key": anna.key})).status_code
            for _ in range(20)
        ]
        assert (statuses.count(200), statuses.count(429)) == (16, 4)
        mine = streams.enter_context(client.stream("GET", url, headers={"X-Api-Key": bert.key}))
        assert mine.status_code == 200
