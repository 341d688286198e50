"""What connectors answer, in all the spellings of JSON-LD that releases have, and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from dataferry.api.orchestration import edc_wire as wire
from dataferry.domain.errors import ProtocolError
from dataferry.domain.orchestration import ApiVersion, Ask, Connector
from dataferry.domain.profile import Direction

EDC = "https://w3id.org/edc/v0.0.1/ns/"
ASK = Ask(counter_party_address="http://p/api/dsp", contract_id="c", connector_id="did:web:p")


@pytest.mark.parametrize(
    "answer",
    [
        {"@type": "DataAddress", "endpointType": "T", "endpoint": "http://x", "authorization": "t"},
        {"type": "T", "endpoint": "http://x", "authorization": "t", "@context": {"@vocab": EDC}},
        {"edc:type": "T", "edc:endpoint": "http://x", "edc:authorization": "t"},
        {f"{EDC}type": [{"@value": "T"}], f"{EDC}endpoint": [{"@value": "http://x"}], "authorization": "t"},
        {
            "endpointType": "T",
            "endpoint": "http://x",
            "endpointProperties": [
                {"@type": "EndpointProperty", "name": f"{EDC}authorization", "value": "t"}
            ],
        },
        {
            "endpointType": {"@id": "T"},
            "endpoint": "http://x",
            "endpointProperties": {"name": "authorization", "value": "t"},
        },
    ],
)
def test_data_addresses_come_in_many_spellings(answer: dict[str, Any]) -> None:
    """All of them are the same address."""
    found = wire.address_of(answer)
    assert (found.endpoint_type, found.endpoint, found.get("authorization")) == ("T", "http://x", "t")


def test_names_with_a_prefix_of_theirs_are_understood() -> None:
    """Tractus-X names the renewal of tokens in a namespace of its own; headers keep their colon."""
    found = wire.address_of(
        {
            "endpoint": "http://x",
            "type": "https://w3id.org/idsa/v4.1/HTTP",
            "tx-auth:refreshToken": "r",
            "https://w3id.org/tractusx/auth/expiresIn": 300,
            "header:X-Thing": "1",
            "nothing": None,
            "object": {"a": 1},
        }
    )
    assert dict(found.properties) == {"refreshToken": "r", "expiresIn": "300", "header:X-Thing": "1"}


@pytest.mark.parametrize(
    "answer",
    [
        None, [], "text", 7, {}, {"@context": {}}, {"endpoint": 7}, {"type": ["a", "b"]},
        {"authorization": "t"},
        {"endpoint": "http://x", "authorization": "t" * 20_000},
        {"endpoint": "http://x", **{f"p{number}": "v" for number in range(300)}},
    ],
)  # fmt: skip
def test_what_is_no_data_address_is_refused(answer: Any) -> None:
    """By one kind of error, without the values."""
    with pytest.raises(ProtocolError) as refused:
        wire.address_of(answer)
    assert "ttt" not in str(refused.value)


@pytest.mark.parametrize("answer", [None, [], {}, {"state": 7}, {"state": ""}, {"@id": "x"}, "STARTED"])
def test_what_is_no_process_is_refused(answer: Any) -> None:
    """A state must be there and be text."""
    with pytest.raises(ProtocolError):
        wire.process_of(answer)


def test_a_process_says_its_state_and_error() -> None:
    """The error is bounded."""
    found = wire.process_of({"edc:state": "terminated", f"{EDC}errorDetail": [{"@value": "x" * 5000}]})
    assert (found.state, len(found.error or "")) == ("TERMINATED", 1000)


@pytest.mark.parametrize("answer", [None, [], {}, {"@id": ""}, {"@id": 7}, {"@id": "x" * 2000}, ["@id"]])
def test_what_has_no_id_is_refused(answer: Any) -> None:
    """An id must be there and be short."""
    with pytest.raises(ProtocolError):
        wire.id_of(answer)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([{"message": "no such agreement", "type": "BadRequest"}], "no such agreement"),
        ({"message": "a\x1b[31mb\nc"}, "a [31mb c"),
        ([], ""),
        ("text", ""),
        ([{"message": {"a": 1}}], ""),
        ([{"message": "x" * 1000}], "x" * 300),
    ],
)
def test_what_a_connector_says_of_a_refusal(answer: Any, said: str) -> None:
    """A sentence that a terminal can show, or nothing."""
    assert wire.refusal_of(answer) == said


@pytest.mark.parametrize("version", list(ApiVersion))
def test_requests_are_what_each_version_wants(version: ApiVersion) -> None:
    """Version 4 takes its own context and no fields that its schema does not know."""
    request = wire.transfer_request(
        version, Connector(address="http://edc"), ASK, transfer_type="HttpData-PULL", reference="o/1"
    )
    common = {
        "@context", "@type", "counterPartyAddress", "contractId", "protocol", "transferType",
        "privateProperties", "dataplaneMetadata",
    }  # fmt: skip
    older = {"connectorId", "dataDestination"} if version is ApiVersion.V3 else set()
    assert set(request) == common | older
    assert request["privateProperties"] == {wire.REFERENCE: "o/1"}
    properties = request["dataplaneMetadata"]["properties"]
    assert properties.get("@value", properties) == {"correlationId": "o/1"}


@pytest.mark.parametrize("version", ApiVersion)
def test_a_push_names_no_destination(version: ApiVersion) -> None:
    """The data plane says where to; a placeholder would reach the provider where no plane does."""
    connector = Connector(address="http://edc")
    made = {
        direction: wire.transfer_request(
            version, connector, ASK, transfer_type="T", reference="r", direction=direction
        )
        for direction in Direction
    }
    assert "dataDestination" not in made[Direction.PUSH]
    assert ("dataDestination" in made[Direction.PULL]) is (version is ApiVersion.V3)
    assert made[Direction.PUSH]["dataplaneMetadata"] == made[Direction.PULL]["dataplaneMetadata"]
