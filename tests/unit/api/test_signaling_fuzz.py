"""Whatever a caller sends to the signaling API, the answer is never a 5xx, and a refusal is a problem."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.api.api_rig import PULL, PUSH, TOKEN_A, Plane, address, message

ODD_TEXT = st.text(max_size=20) | st.sampled_from(
    [
        "",
        " ",
        "\n",
        "\x00",
        "\ud800",
        "..",
        "/",
        "%2e%2e",
        "\u202e",
        "x" * 5000,
        "s3://",
        "s3://b",
        PULL,
        PUSH,
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXT, inner, max_size=3),
    max_leaves=8,
)
PROPERTY = st.fixed_dictionaries({}, optional={"name": JSON, "value": JSON, "@type": JSON})
ADDRESS = JSON | st.fixed_dictionaries(
    {},
    optional={
        "endpointType": JSON | st.just(PUSH),
        "endpoint": JSON
        | st.sampled_from(["s3://bucket/key", "http://127.0.0.1:9/bucket/key", "file:///etc"]),
        "endpointProperties": JSON | st.lists(PROPERTY, max_size=4),
    },
)
METADATA = JSON | st.dictionaries(
    st.sampled_from(["sourceBucket", "destinationKey", "sourceDataAddress", "endpointProperties"]),
    JSON | ADDRESS,
    max_size=4,
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(message(), JSON),
    "profile": JSON | st.sampled_from([PULL, PUSH, "AmazonS3-PUSH"]),
    "datasetId": ODD_TEXT | JSON,
    "processId": ODD_TEXT | JSON,
    "transferType": JSON,
    "callbackAddress": JSON,
    "labels": JSON,
    "metadata": METADATA,
    "dataAddress": ADDRESS,
}
CHANGES = st.fixed_dictionaries({}, optional=FIELDS)
LENIENT = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def post(api: Plane, path: str, body: Any) -> None:
    """Send a body as it is, and check the answer's class."""
    headers = {"Authorization": f"Bearer {TOKEN_A}", "Content-Type": "application/json"}
    answer = api.client.post(f"/api/v1/dataflows/{path}", content=json.dumps(body).encode(), headers=headers)
    assert answer.status_code < 500, (path, body, answer.text)
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]
    else:
        assert answer.json()["state"]


@LENIENT
@given(
    verb=st.sampled_from(["prepare", "start"]),
    changes=CHANGES,
    dropped=st.sets(st.sampled_from(list(message()))),
)
def test_prepare_and_start_take_anything(
    api: Plane, verb: str, changes: dict[str, Any], dropped: set[str]
) -> None:
    """Fields of wrong types, odd texts, missing ones, addresses of every shape."""
    body = message(str(uuid4())) | {"datasetId": "slow-1"} | changes
    post(api, verb, {name: value for name, value in body.items() if name not in dropped or name in changes})


@settings(LENIENT, max_examples=20)
@given(body=JSON | st.fixed_dictionaries({"messageId": JSON, "dataAddress": ADDRESS, "reason": JSON}))
def test_other_verbs_take_anything(api: Plane, body: Any) -> None:
    """On a flow that is there, in whatever state the last body left it."""
    api.signal("prepare", message("fuzzed"))
    for verb in ("started", "suspend", "resume", "terminate", "completed"):
        post(api, f"fuzzed/{verb}", body)


@LENIENT
@given(id=st.text(min_size=1, max_size=30))
def test_any_id_can_be_asked_for(api: Plane, id: str) -> None:
    """An id that nobody has is not found, whatever it is made of."""
    encoded = "".join(f"%{byte:02X}" for byte in id.encode("utf-8", "surrogatepass"))
    headers = {"Authorization": f"Bearer {TOKEN_A}"}
    answer = api.client.get(f"/api/v1/dataflows/none-{encoded}/status", headers=headers)
    assert answer.status_code in {400, 404}, answer.text


@LENIENT
@given(body=JSON | st.fixed_dictionaries({"controlplaneId": JSON, "endpoint": JSON, "authorization": JSON}))
def test_registration_takes_anything(api: Plane, body: Any) -> None:
    """Also of an operator."""
    headers = {"X-Api-Key": "an-operators-api-key-0123456789", "Content-Type": "application/json"}
    answer = api.client.put("/api/v1/controlplanes", content=json.dumps(body).encode(), headers=headers)
    assert answer.status_code < 500, (body, answer.text)


@LENIENT
@given(
    path=st.sampled_from(["locations/f", "datasets/f-x", "landing-zones/f", "control-planes/f"]),
    body=JSON
    | st.fixed_dictionaries(
        {}, optional={"type": st.sampled_from(["s3", "file"]), "endpoint_url": JSON, "root": JSON}
    )
    | st.fixed_dictionaries(
        {}, optional={"source": JSON | st.just("disk:x"), "prepare_wait_s": JSON, "labels": JSON}
    )
    | st.fixed_dictionaries({"sink": JSON | st.just("disk:{x}")}, optional={"profiles": JSON, "source": JSON})
    | st.fixed_dictionaries(
        {}, optional={"endpoint": JSON, "token": JSON, "retries": JSON, "register": JSON}
    ),
)
def test_the_catalogue_takes_anything(api: Plane, path: str, body: Any) -> None:
    """Operators mistype too; what is written can be read, listed and deleted."""
    headers = {"X-Api-Key": "an-operators-api-key-0123456789", "Content-Type": "application/json"}
    answer = api.client.put(f"/management/{path}", content=json.dumps(body).encode(), headers=headers)
    assert answer.status_code < 500, (path, body, answer.text)
    if answer.is_success:
        assert api.manage("GET", f"/{path.partition('/')[0]}").is_success
        assert api.manage("DELETE", f"/{path}").is_success


def test_an_address_from_a_message_is_never_repeated_in_an_error(api: Plane) -> None:
    """What was sent as a secret does not come back, whatever is wrong with it."""
    wrong = [
        address(endpoint="s3://bad bucket"),
        address(endpoint=7),
        address(
            endpointProperties=[{"name": "secretAccessKey", "value": ["their-secret-in-a-data-address"]}]
        ),
    ]
    for data_address in wrong:
        answer = api.signal(
            "start", message("repeat", profile=PUSH, dataAddress=data_address, datasetId="slow-1")
        )
        assert 400 <= answer.status_code < 500, (data_address, answer.text)
        assert "their-secret" not in answer.text
