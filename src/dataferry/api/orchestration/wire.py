"""What clients send: the request of the orchestrator's description, and what is wrong with one that is not.

Sentences about wrong fields are those that clients of the described service know.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticKnownError

from dataferry.domain.asks import Asks
from dataferry.domain.errors import InputError
from dataferry.domain.orchestration import Ask
from dataferry.flows.orchestration.connectors import normalized
from dataferry.flows.orchestration.orchestrator import MAX_FAULTS, Request, RequestError

MAX_TEXT_CHARS = 2048
MAX_PROPERTIES_BYTES = 16 * 1024
MAX_KEY_CHARS = 255


def _url(value: str) -> str:
    try:
        normalized(value)
    except InputError as error:
        raise ValueError(error.message) from error
    return value


def _small(value: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(value)) > MAX_PROPERTIES_BYTES:
        raise ValueError(f"Longer than maximum length {MAX_PROPERTIES_BYTES}.")
    return value


T = TypeVar("T")
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS)]
Url = Annotated[Text, AfterValidator(_url)]
Data = Annotated[list[T], Field(min_length=1, description="The assets.")]
Properties = Annotated[dict[str, Any], AfterValidator(_small)]

EXAMPLE: dict[str, Any] = {
    "data": [
        {
            "type": "edc-asset",
            "counterPartyAddress": "http://provider-qna-controlplane:8082/api/dsp",
            "contractId": "2b9d3ab6-8325-4c0f-a1f9-56f0e103585e",
            "connectorId": "did:web:provider-identityhub:7083:provider",
        }
    ],
    "connectorAddress": "http://consumer.example/consumer/cp",
}
NEGOTIATED: dict[str, Any] = {
    "data": [
        {
            "type": "edc-asset",
            "counterPartyAddress": "http://provider-qna-controlplane:8082/api/dsp",
            "assetId": "measurements-2026",
            "connectorId": "did:web:provider-identityhub:7083:provider",
        }
    ],
    "connectorAddress": "http://consumer.example/consumer/cp",
}


def _either(schema: dict[str, Any]) -> None:
    """Say in the schema that a contract or an asset is needed."""
    schema["required"].remove("contractId")
    schema["anyOf"] = [{"required": ["contractId"]}, {"required": ["assetId"]}]


class EntryBody(BaseModel):
    """One asset."""

    model_config = ConfigDict(
        extra="ignore",
        strict=True,
        populate_by_name=True,
        json_schema_extra=_either,
    )

    type: Literal["edc-asset"] = Field(description="What it is.")
    counter_party_address: Url = Field(
        alias="counterPartyAddress", description="The provider's protocol address."
    )
    asset_id: Text | None = Field(
        default=None,
        alias="assetId",
        description="The asset, for which a contract is negotiated if there is no `contractId`.",
    )
    contract_id: Text | None = Field(
        alias="contractId", description="The contract agreement; goes before `assetId`."
    )
    connector_id: Text = Field(alias="connectorId", description="The provider's participant id.")
    transfer_type: Text | None = Field(
        default=None, alias="transferType", description="How it is transferred: a pull, or a push to here."
    )
    counter_party_id: Text | None = Field(
        default=None, alias="counterPartyId", description="The provider's id, where it is another one."
    )
    destination: Text | None = Field(
        default=None, description="`LOCATION:PATH` to store at, in a location that requests may name."
    )

    @model_validator(mode="before")
    @classmethod
    def _no_contract(cls, value: Any) -> Any:
        if isinstance(value, dict) and "assetId" in value and "contractId" not in value:
            return {"contractId": None} | value
        return value

    @field_validator("contract_id")
    @classmethod
    def _contract_or_asset(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("asset_id") is None:
            raise PydanticKnownError("missing")
        return value


class OrchestrateBody(BaseModel):
    """A list of assets, and the connector through which they are had."""

    model_config = ConfigDict(
        extra="ignore", strict=True, json_schema_extra={"examples": [EXAMPLE, NEGOTIATED]}
    )

    data: Data[EntryBody]
    connector_address: Url = Field(alias="connectorAddress", description="The consumer's own connector.")
    properties: Properties = Field(
        default_factory=dict, description="Whatever a client wants to see again with the status."
    )


def request_of(document: Any, idempotency_key: str | None) -> Request:
    """Read a request.

    Args:
        document: The body, as JSON, or as ``usual`` has read it already.
        idempotency_key: Of the header; None without.

    Raises:
        RequestError: Names each field that is wrong.
    """
    if idempotency_key is not None and not (
        0 < len(idempotency_key) <= MAX_KEY_CHARS and idempotency_key.isprintable()
    ):
        raise RequestError({"Idempotency-Key": [f"Length must be between 1 and {MAX_KEY_CHARS}."]})
    if isinstance(document, Request):
        return replace(document, idempotency_key=idempotency_key)
    if not isinstance(document, dict):
        raise RequestError({"_schema": ["Invalid input type."]})
    try:
        body = OrchestrateBody.model_validate(document)
    except ValidationError as error:
        raise RequestError(faults(error.errors(include_url=False, include_input=False))) from None
    return Request(
        connector_address=body.connector_address,
        asks=Asks.of(
            [
                Ask(
                    counter_party_address=entry.counter_party_address,
                    contract_id=entry.contract_id,
                    connector_id=entry.connector_id,
                    transfer_type=entry.transfer_type,
                    counter_party_id=entry.counter_party_id,
                    destination=entry.destination,
                    asset_id=entry.asset_id,
                )
                for entry in body.data
            ]
        ),
        properties=body.properties,
        idempotency_key=idempotency_key,
    )


def faults(errors: Sequence[ErrorDetails]) -> dict[str, Any]:
    """Return what is wrong, by field, nested as the request is; of very many the first."""
    found: dict[str, Any] = {}
    for error in errors[:MAX_FAULTS]:
        node = found
        *above, last = [str(part)[:100] for part in error["loc"]] or ["_schema"]
        for part in above:
            inner = node.setdefault(part, {})
            if not isinstance(inner, dict):
                break
            node = inner
        else:
            node.setdefault(last, []).append(_sentence(error))
    return found


def _sentence(error: ErrorDetails) -> str:
    """Say what is wrong in the words that clients know."""
    context = error.get("ctx", {})
    sentences = {
        "missing": "Missing data for required field.",
        "string_type": "Not a valid string.",
        "list_type": "Not a valid list.",
        "dict_type": "Not a valid mapping type.",
        "model_type": "Invalid input type.",
        "literal_error": "Must be one of: edc-asset.",
        "string_too_short": "Shorter than minimum length 1.",
        "too_short": "Shorter than minimum length 1.",
        "string_too_long": f"Longer than maximum length {context.get('max_length')}.",
    }
    known = sentences.get(error["type"])
    return known or error["msg"].removeprefix("Value error, ")
