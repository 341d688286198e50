"""The rules find what is wrong in a message, and leave what is right alone."""

from __future__ import annotations

from typing import Any

import pytest
from tests.interop.dps.dialects import DIALECTS, HEAD, RC, Dialect
from tests.interop.dps.observed import Inspector
from tests.interop.dps.rules import answer_faults, callback_faults, registration, request_faults
from tests.interop.dps.shapes import faults

from dataferry.demo.control_plane import Received, Reply

ID = "b1d5f9e2-3c4b-4f7a-9c3e-2f1e5d6c7b8a"
ADDRESS = {
    "@type": "DataAddress",
    "endpointType": "https://w3id.org/dspace-sig/profile/s3-push",
    "endpoint": "s3://bucket/",
    "endpointProperties": [{"@type": "EndpointProperty", "name": "region", "value": "here"}],
}


def asked(dialect: Dialect, transfer: str = "s3-push", **changes: Any) -> dict[str, Any]:
    """A prepare or start message of a dialect."""
    names = ("messageId", "participantId", "counterPartyId", "dataspaceContext", "processId", "agreementId")
    message: dict[str, Any] = {**dict.fromkeys(names, "x"), "datasetId": "d", "claims": {}}
    return {**message, dialect.transfer: transfer, **changes}


def answered(dialect: Dialect, state: str, **changes: Any) -> dict[str, Any]:
    """A status message of a dialect."""
    plane = {"dataplaneId": "us"} if dialect.names_data_plane else {}
    return {"messageId": ID, "dataFlowId": "p", "state": state, **plane, **changes}


def answer(
    verb: str, dialect: Dialect, transfer: str, status: int, body: Any, location: str = ""
) -> list[str]:
    """What is wrong with an answer to a message of a kind of transfer."""
    return list(answer_faults(verb, dialect, asked(dialect, transfer), status, body, location))


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
def test_what_is_right_passes(dialect: Dialect) -> None:
    """Messages of each kind, in each dialect."""
    granted = answered(dialect, "PREPARED", dataAddress=ADDRESS)
    later = answered(dialect, "STARTING")
    assert not list(request_faults("prepare", dialect, asked(dialect, metadata={}, labels=["gold"])))
    assert not list(request_faults("start", dialect, asked(dialect, dataAddress=ADDRESS)))
    assert not list(request_faults("started", dialect, {"messageId": "m", "dataAddress": ADDRESS}))
    assert not list(request_faults("suspend", dialect, {"messageId": "m", "reason": ""}))
    assert not list(request_faults("completed", dialect, None))
    assert not answer("prepare", dialect, "s3-push", 200, granted)
    assert not answer("start", dialect, "s3-pull", 202, later, "/api/v1/dataflows/p/status")
    assert not answer(
        "resume", dialect, "AmazonS3-PULL", 200, answered(dialect, "STARTED", dataAddress=ADDRESS)
    )
    assert not list(callback_faults("errored", dialect, answered(dialect, "STARTED", error="no such bucket")))
    assert not list(callback_faults("started", dialect, answered(dialect, "STARTED", dataAddress=ADDRESS)))


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
@pytest.mark.parametrize("name", [*asked(HEAD), "transfer"])
@pytest.mark.parametrize("value", [None, 7, "", [], "absent"], ids=str)
def test_each_field_of_a_request_counts(dialect: Dialect, name: str, value: Any) -> None:
    """Absent, null or of another type: each is named."""
    name = dialect.transfer if name in {"transfer", "profile"} else name
    message = asked(dialect, **{name: value})
    if value == "absent":
        del message[name]

    assert [fault for fault in request_faults("start", dialect, message) if f"$.{name}" in fault]


@pytest.mark.parametrize(
    "wrong",
    [
        {"messageId": "m"},
        {"dataFlowId": ""},
        {"state": "RUNNING"},
        {"state": None},
        {"error": ""},
        {"dataAddress": None},
        {"dataAddress": {}},
        {"dataAddress": {**ADDRESS, "endpointProperties": []}},
        {"dataAddress": {**ADDRESS, "endpointProperties": None}},
        {"dataAddress": {**ADDRESS, "endpointProperties": [{"name": "region", "value": "x"}]}},
        {"dataAddress": {**ADDRESS, "@type": "dspace:DataAddress"}},
        {"reason": "there is no such field"},
        {"participantId": None},
    ],
    ids=str,
)
def test_what_we_send_has_no_more_and_no_less(wrong: dict[str, Any]) -> None:
    """A field that is wrong, or that has no meaning in the message."""
    for dialect in DIALECTS:
        assert list(callback_faults("started", dialect, answered(dialect, "STARTED") | wrong))


def test_a_dialect_is_not_mixed_with_another() -> None:
    """Our answers name the plane for whom that has a meaning, and for nobody else; words do not cross."""
    assert answer("suspend", HEAD, "s3-push", 200, answered(RC, "SUSPENDED"))
    assert answer("suspend", RC, "s3-push", 200, answered(HEAD, "SUSPENDED"))
    assert list(request_faults("prepare", HEAD, asked(HEAD, callbackAddress="https://cp.example")))
    assert not list(request_faults("prepare", RC, asked(RC, callbackAddress="https://cp.example")))
    assert list(request_faults("prepare", RC, asked(RC, profile="s3-push")))


@pytest.mark.parametrize(
    ("verb", "transfer", "status", "body", "words"),
    [
        ("suspend", "s3-push", 200, answered(HEAD, "STARTED"), "does not answer suspend"),
        ("start", "s3-push", 200, answered(HEAD, "STARTING"), "200 with STARTING"),
        ("start", "s3-push", 202, answered(HEAD, "STARTING"), "Location"),
        ("start", "s3-push", 200, answered(HEAD, "STARTED", dataAddress=ADDRESS), "does not belong"),
        ("start", "s3-pull", 200, answered(HEAD, "STARTED"), "dataAddress: is missing"),
        ("prepare", "s3-push", 200, answered(HEAD, "PREPARED"), "dataAddress: is missing"),
        ("prepare", "s3-pull", 200, answered(HEAD, "PREPARED", dataAddress=ADDRESS), "does not belong"),
        ("suspend", "s3-pull", 200, answered(HEAD, "SUSPENDED", dataAddress=ADDRESS), "does not belong"),
        ("start", "s3-push", 200, answered(HEAD, "STARTED", error="x"), "nothing went wrong"),
        ("status", "s3-push", 200, answered(HEAD, "STARTED"), "messageId: does not belong"),
        ("status", "s3-push", 200, [], "must be an object"),
    ],
)
def test_an_answer_fits_its_question(verb: str, transfer: str, status: int, body: Any, words: str) -> None:
    """State, status, header and address go together as the text says."""
    assert [fault for fault in answer(verb, HEAD, transfer, status, body) if words in fault]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("prepared", answered(HEAD, "PREPARING")),
        ("completed", answered(HEAD, "STARTED")),
        ("completed", answered(HEAD, "COMPLETED", dataAddress=ADDRESS)),
        ("completed", answered(HEAD, "COMPLETED", error="x")),
        ("errored", answered(HEAD, "STARTED")),
    ],
)
def test_a_callback_tells_one_thing(kind: str, body: dict[str, Any]) -> None:
    """Its state is that of its path; an error is in ``errored`` alone, and always there."""
    assert list(callback_faults(kind, HEAD, body))


def test_a_registration_is_readable_in_each_dialect() -> None:
    """Both words for what is offered, and the authorization, which only the schema wants, not the text."""
    offers = {dialect.transfers: ["s3-push"] for dialect in DIALECTS}
    message = {
        "dataplaneId": "us",
        "endpoint": "https://dp.example",
        "authorization": {"type": "bearer"},
        **offers,
    }

    assert not faults(registration(), message)
    for name in message:
        assert faults(registration(), {key: value for key, value in message.items() if key != name})
    assert faults(registration(), {**message, "token": "x"})


def test_the_inspector_knows_whose_words_a_flow_is_in() -> None:
    """A callback that is faster than its answer, and later verbs, are held against the flow's dialect."""
    inspector = Inspector()
    message = asked(RC, "s3-pull", processId="p")
    inspector.calling("/dataflows/prepare", message)
    early = answered(RC, "PREPARED")
    inspector.told(Received(kind="prepared", process_id="p", body=early, authorization="", answered=200))
    location = {"location": "/api/v1/dataflows/p/status"}
    later = Reply(status=202, body=answered(RC, "PREPARING"), headers=location)
    inspector.called("POST", "/dataflows/prepare", message, later)
    status = Reply(status=200, body={"dataFlowId": "p", "state": "PREPARED"}, headers={})
    inspector.called("GET", "/dataflows/p/status", None, status)
    inspector.called("POST", "/dataflows/p/suspend", {}, Reply(status=409, body={}, headers={}))

    assert inspector.faults == ["answer to status (rc): $.dataplaneId: is missing"]
    assert inspector.seen["rc", "callback prepared"] == inspector.seen["rc", "prepare"] == 1
    assert inspector.seen["rc", "suspend"] == 0
