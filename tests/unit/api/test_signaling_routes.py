"""The verbs of a control plane over HTTP, against the message tables of the specification."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.interop.dps.rules import ADDRESS
from tests.interop.dps.shapes import faults
from tests.servers.moto import MotoServer
from tests.unit.api.api_rig import PULL, PUSH, TOKEN_A, TOKEN_B, Plane, address, message, plane

from dataferry.domain.address import EDC_NAMESPACE, DataAddress
from dataferry.domain.keys import MAX_KEY_BYTES
from dataferry.domain.location import ControlPlane, RegistrationStyle, Retries

STATES = {
    "INITIALIZED",
    "PREPARING",
    "PREPARED",
    "STARTING",
    "STARTED",
    "SUSPENDED",
    "COMPLETED",
    "TERMINATED",
}


def assert_status_message(body: dict[str, Any]) -> None:
    """Check a body against the table of DataFlowStatusMessage."""
    assert body.keys() <= {"messageId", "dataFlowId", "state", "dataAddress", "error", "dataplaneId"}
    assert isinstance(body["messageId"], str)
    assert body["messageId"]
    assert isinstance(body["dataFlowId"], str)
    assert body["state"] in STATES
    if "dataAddress" in body:
        wire = body["dataAddress"]
        assert isinstance(wire["endpointType"], str)
        assert isinstance(wire["endpoint"], str)
        assert all(
            isinstance(entry["name"], str) and isinstance(entry["value"], str)
            for entry in wire["endpointProperties"]
        )


def test_prepare_of_a_pull_is_answered_with_prepared_and_no_address(api: Plane) -> None:
    """A pull's consumer owns no address, so its answer has none, and the flow is the process's."""
    answer = api.signal("prepare", message("pull-1"))
    assert_status_message(answer.json())
    assert (
        answer.status_code,
        answer.json()["state"],
        answer.json()["dataFlowId"],
    ) == (200, "PREPARED", "pull-1")
    assert "dataAddress" not in answer.json()
    assert "dataplaneId" not in answer.json()


def test_prepare_of_a_push_is_answered_with_the_address_to_push_to(s3_api: Plane) -> None:
    """The answer has the shared credentials and never the location's own."""
    answer = s3_api.signal("prepare", message("push-1", profile=PUSH))
    assert answer.status_code == 200
    assert_status_message(answer.json())
    wire = answer.json()["dataAddress"]
    assert wire["endpointType"] == PUSH
    properties = {entry["name"]: entry["value"] for entry in wire["endpointProperties"]}
    assert properties["secretAccessKey"] == "shared-secret-for-the-other-side"
    assert "location-secret" not in answer.text


def test_start_of_a_pull_is_answered_with_the_address_to_fetch_from(s3_api: Plane) -> None:
    """The provider of a pull hands the address out with its start."""
    answer = s3_api.signal("start", message("start-1"))
    assert (answer.status_code, answer.json()["state"]) == (200, "STARTED")
    assert answer.json()["dataAddress"]["endpointType"] == PULL


def test_edc_gets_each_property_by_its_iri_too(tmp_path: Path, moto_s3: MotoServer) -> None:
    """Each in both dialects, beside the profile's plain name; other control planes see no IRI."""
    httpx.put(f"{moto_s3.endpoint_url}/shelf-of-edc", trust_env=False).raise_for_status()
    planes = (
        ControlPlane(id="cp-a", token=TOKEN_A, registration=RegistrationStyle.EDC),
        ControlPlane(id="cp-b", token=TOKEN_B),
    )
    older = {name: value for name, value in message("edc-2").items() if name != "profile"}
    with plane(tmp_path, s3_url=moto_s3.endpoint_url, bucket="shelf-of-edc", control_planes=planes) as api:
        answers = [
            api.signal("start", message("edc-1")),
            api.signal("start", older | {"transferType": PULL}),
        ]
        other = api.signal("start", message("dps-1"), token=TOKEN_B).json()["dataAddress"]
    plain = {entry["name"]: entry["value"] for entry in other["endpointProperties"]}
    named = {f"{EDC_NAMESPACE}{name}": value for name, value in plain.items()}
    for answer in answers:
        wire = answer.json()["dataAddress"]
        assert faults(ADDRESS, wire) == []
        theirs = {entry["name"]: entry["value"] for entry in wire["endpointProperties"]}
        assert theirs == plain | named | {f"{EDC_NAMESPACE}endpointType": PULL}
        assert DataAddress.from_wire(wire).properties == (*plain.items(), ("endpointType", PULL))


def test_what_takes_long_is_answered_with_202_and_where_to_ask(s3_api: Plane) -> None:
    """An asynchronous start says STARTING and names a relative status URL that answers."""
    answer = s3_api.signal("start", message("slow process/1", datasetId="slow-1"))
    assert (answer.status_code, answer.json()["state"]) == (202, "STARTING")
    assert_status_message(answer.json())
    assert answer.headers["location"] == "/api/v1/dataflows/slow%20process%2F1/status"
    headers = {"Authorization": "Bearer token-of-control-plane-a"}
    status = s3_api.client.get(answer.headers["location"], headers=headers)
    assert status.json() == {"dataFlowId": "slow process/1", "state": "STARTING"}


def test_where_to_ask_is_right_behind_a_proxy_that_adds_a_path(tmp_path: Path) -> None:
    """Location is what the control plane has to call: with what the proxy takes off before it comes to us."""
    with plane(tmp_path, public_path="/ferry") as api:
        answer = api.signal("start", message("proxied-1", datasetId="slow-1"))
    assert answer.status_code == 202
    assert answer.headers["location"] == "/ferry/api/v1/dataflows/proxied-1/status"


def test_the_older_dialect_is_understood_and_answered(api: Plane) -> None:
    """A message with transferType is answered with dataplaneId, and so are its status and later verbs."""
    body = message("rc2-1", transferType="AmazonS3-PULL", callbackAddress="http://cp.example/callbacks")
    del body["profile"]
    answer = api.signal("prepare", body)
    assert (answer.status_code, answer.json()["dataplaneId"]) == (200, "plane-1")
    expected = {"dataFlowId": "rc2-1", "state": "PREPARED", "dataplaneId": "plane-1"}
    assert expected == api.status("rc2-1").json()
    assert api.signal("rc2-1/terminate").json()["dataplaneId"] == "plane-1"


def test_nulls_and_unknown_fields_are_tolerated(api: Plane) -> None:
    """EDC sends explicit nulls, and versions to come send fields we do not know."""
    nulls = dict.fromkeys(("callbackAddress", "labels", "metadata", "claims", "transferType", "somethingNew"))
    answer = api.signal("prepare", message("nulls-1") | nulls)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "messageId",
        "participantId",
        "counterPartyId",
        "dataspaceContext",
        "processId",
        "agreementId",
        "datasetId",
    ],
)
@pytest.mark.parametrize("verb", ["prepare", "start"])
def test_a_missing_field_is_named(api: Plane, verb: str, name: str) -> None:
    """What the specification requires and we build on is asked for by name."""
    body = message("missing-1")
    del body[name]
    answer = api.signal(verb, body)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert [name] == [entry["field"] for entry in answer.json()["errors"]]
    assert name in answer.json()["detail"]


def test_a_missing_profile_is_named(api: Plane) -> None:
    """Either name of the field would do, so both are told."""
    body = message("missing-2")
    del body["profile"], body["agreementId"]
    answer = api.signal("prepare", body)
    assert answer.status_code == 400
    assert {entry["field"] for entry in answer.json()["errors"]} == {"profile", "agreementId"}
    assert "transferType" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"profile": "no-such-profile"}, "unknown_profile"),
        ({"messageId": 5}, "invalid_input"),
        ({"labels": "gold"}, "invalid_input"),
        ({"processId": ".."}, "invalid_input"),
        ({"processId": "x" * (MAX_KEY_BYTES + 1)}, "invalid_input"),
        ({"processId": "\N{HIRAGANA LETTER A}" * 101}, "invalid_input"),
        ({"processId": "line\nbreak"}, "invalid_input"),
        ({"dataAddress": {"endpointProperties": "no list"}, "profile": PUSH}, "invalid_address"),
    ],
)
def test_a_wrong_message_is_refused_with_its_kind_and_leaves_nothing(
    api: Plane, change: dict[str, Any], kind: str
) -> None:
    """A 400 says what is wrong, and no flow is left behind."""
    answer = api.signal("start", message("wrong-1") | change)
    assert (400, f"urn:dataferry:problem:{kind}") == (answer.status_code, answer.json()["type"])
    assert api.status("wrong-1").status_code == 404


def test_a_missing_bucket_is_a_4xx_that_says_so(s3_api: Plane) -> None:
    """What a store answers at prepare or start is the caller's to know."""
    answer = s3_api.signal("start", message("lost-1", datasetId="lost-1"))
    expected = (422, "urn:dataferry:problem:bucket_not_found")
    assert expected == (answer.status_code, answer.json()["type"]), answer.text
    assert "no-such-bucket-here" in answer.json()["detail"]
    assert s3_api.status("lost-1").status_code == 404


def test_a_flow_goes_through_its_verbs(api: Plane) -> None:
    """Prepare, started, suspend without a body, resume, terminate: each answer has the state."""
    assert api.signal("prepare", message("life-1")).status_code == 200
    steps: list[tuple[str, Any, str]] = [
        ("started", {"messageId": "m-2", "dataAddress": address()}, "STARTED"),
        ("suspend", None, "SUSPENDED"),
        ("resume", {"messageId": "m-3", "dataAddress": address()}, "STARTED"),
        ("terminate", {"messageId": "m-4", "reason": "the agreement ended"}, "TERMINATED"),
    ]
    for verb, body, state in steps:
        answer = api.signal(f"life-1/{verb}", body)
        assert (200, state) == (answer.status_code, answer.json()["state"]), answer.text
        assert_status_message(answer.json())
    assert api.status("life-1").json() == {"dataFlowId": "life-1", "state": "TERMINATED"}


def test_completed_has_no_body_and_is_accepted_in_prepared(s3_api: Plane) -> None:
    """The provider may be done before its control plane has told ours that it started."""
    assert s3_api.signal("prepare", message("done-1", profile=PUSH)).status_code == 200
    answer = s3_api.signal("done-1/completed")
    assert (answer.status_code, answer.json()["state"]) == (200, "COMPLETED")


def test_a_step_that_the_state_machine_lacks_is_a_conflict(api: Plane) -> None:
    """Suspending what has not started is 409 with the step and the state."""
    api.signal("prepare", message("early-1"))
    answer = api.signal("early-1/suspend")
    expected = (409, "urn:dataferry:problem:illegal_transition")
    assert expected == (answer.status_code, answer.json()["type"])
    assert "PREPARED" in answer.json()["detail"]


def test_a_second_prepare_of_a_process_is_4xx(api: Plane) -> None:
    """The specification wants it refused."""
    api.signal("prepare", message("twice-1"))
    answer = api.signal("prepare", message("twice-1", messageId="m-2"))
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:dataferry:problem:duplicate_process")


def test_a_repetition_is_recognised_by_its_content(tmp_path: Path) -> None:
    """With retries = replay equal content gets the first answer again; other content is 409."""
    repeating = (ControlPlane(id="cp-a", token=TOKEN_A, retries=Retries.REPLAY),)
    with plane(tmp_path, control_planes=repeating) as api:
        first = api.signal("prepare", message("again-1")).json()
        again = api.signal("prepare", dict(reversed(message("again-1", messageId="m-2").items())))
        assert again.status_code == 200
        names = ("dataFlowId", "state", "dataAddress")
        assert {name: again.json().get(name) for name in names} == {name: first.get(name) for name in names}
        other = api.signal("prepare", message("again-1", labels=["other"]))
        assert other.status_code == 409
        unknown = api.signal("prepare", message("again-1", somethingNew=1))
        assert unknown.status_code == 409


def test_an_id_with_slashes_can_be_addressed(api: Plane) -> None:
    """Process ids are the control plane's business, URLs included."""
    odd_id = "urn:transfer/2026/a b?c#d"
    assert api.signal("prepare", message(odd_id)).status_code == 200
    quoted = quote(odd_id, safe="")
    assert {"dataFlowId": odd_id, "state": "PREPARED"} == api.status(quoted).json()
    assert api.signal(f"{quoted}/terminate").status_code == 200


def test_flows_of_another_control_plane_are_not_found(api: Plane) -> None:
    """Neither their status nor any verb tells that they exist."""
    api.signal("prepare", message("mine-1"))
    assert api.status("mine-1", token=TOKEN_B).status_code == 404
    for verb in ("started", "suspend", "resume", "terminate", "completed"):
        assert api.signal(f"mine-1/{verb}", token=TOKEN_B).status_code == 404
    assert api.status("mine-1").json()["state"] == "PREPARED"


@pytest.mark.parametrize(
    "header",
    [None, "token-of-control-plane-a", "Basic dG9rZW4=", "Bearer", "Bearer wrong", "Bearer token\xe9"],
)
def test_without_a_right_token_nobody_gets_in(api: Plane, header: str | None) -> None:
    """A bare token, another scheme and a wrong token are 401, with the way to do it."""
    headers: dict[bytes, bytes] = {} if header is None else {b"Authorization": header.encode("latin-1")}
    answer = api.client.post("/api/v1/dataflows/prepare", json=message("x"), headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["type"] == "urn:dataferry:problem:unauthorized"


def test_without_any_token_this_machine_may_call(open_api: Plane) -> None:
    """One anonymous control plane, on loopback only: not for a page in a browser, nor through a proxy."""
    assert open_api.signal("prepare", message("anonymous-1"), token=None).status_code == 200
    for headers in (
        {"Origin": "https://evil.example"},
        {"X-Forwarded-For": "1.2.3.4"},
        {"Host": "evil.example"},
    ):
        answer = open_api.client.get("/api/v1/dataflows/anonymous-1/status", headers=headers)
        assert answer.status_code == 401, headers


HTTP = "https://w3id.org/dspace-sig/profile/http"


def web_address(endpoint_type: str, endpoint: str) -> dict[str, Any]:
    """A DataAddress of HTTP without credentials."""
    return {"@type": "DataAddress", "endpointType": endpoint_type, "endpoint": endpoint}


@pytest.mark.parametrize(
    "given",
    [
        web_address("HttpData", "http://store.example/in"),
        web_address("HttpData", "https://store.example/in"),
        web_address(f"{HTTP}-pull", "https://store.example/in"),
        web_address(f"{HTTP}-push", "http://store.example/in"),
    ],
    ids=["another type, no TLS", "another type", "the other direction", "no TLS"],
)
def test_a_push_by_the_published_http_profile_takes_only_its_own_address(
    api: Plane, given: dict[str, Any]
) -> None:
    """The profile demands its type and https, so an address of another type is no way round that."""
    answer = api.signal("start", message("web-push-1", profile=f"{HTTP}-push", dataAddress=given))
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:dataferry:problem:invalid_address")
    assert api.status("web-push-1").status_code == 404


def test_a_pull_by_the_published_http_profile_takes_only_its_own_address(api: Plane) -> None:
    """The same for the address that comes with started, and with resume; the flow stays as it was."""
    assert api.signal("prepare", message("web-pull-1", profile=f"{HTTP}-pull")).status_code == 200
    lax = {"messageId": "m", "dataAddress": web_address("HttpData", "http://store.example/out")}
    strict = {"messageId": "m", "dataAddress": web_address(f"{HTTP}-pull", "https://store.example/out")}
    assert api.signal("web-pull-1/started", lax).status_code == 400
    assert api.status("web-pull-1").json()["state"] == "PREPARED"
    assert api.signal("web-pull-1/started", strict).status_code == 200
    assert api.signal("web-pull-1/suspend").status_code == 200
    assert api.signal("web-pull-1/resume", lax).status_code == 400
    assert api.status("web-pull-1").json()["state"] == "SUSPENDED"


def test_a_plain_name_of_the_http_profile_takes_any_address(api: Plane) -> None:
    """EDC's HttpData and the bare http-pull are read as their users write them."""
    for process, profile in (("web-lax-1", "HttpData-PULL"), ("web-lax-2", "http-pull")):
        assert api.signal("prepare", message(process, profile=profile)).status_code == 200
        lax = {"messageId": "m", "dataAddress": web_address("HttpData", "http://store.example/out")}
        assert api.signal(f"{process}/started", lax).status_code == 200
