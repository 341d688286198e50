"""What connectors are sent and what they answer: EDC's Management API, versions 3 and 4, as JSON-LD.

Answers come compacted, expanded or with prefixes, depending on version and configuration; all are read. What
is not there, or of another type, is a protocol error.

Source: Eclipse Dataspace Components, Management API v3 and v4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataferry.domain.address import EDC_NAMESPACE, DataAddress, short_name
from dataferry.domain.errors import AddressError, ProtocolError
from dataferry.domain.orchestration import ApiVersion, Ask, Connector
from dataferry.domain.profile import Direction
from dataferry.flows.orchestration.ports import TransferProcess

CONTEXTS: dict[ApiVersion, Any] = {
    ApiVersion.V3: {"@vocab": EDC_NAMESPACE},
    ApiVersion.V4: ["https://w3id.org/edc/connector/management/v2"],
}
# Which entry of ours a transfer process belongs to; private, so that no counterparty sees it.
REFERENCE = f"{EDC_NAMESPACE}dataferryEntry"
_PREFIXES = ("edc:", "tx-auth:", "dspace:", "dcat:", "dct:", "odrl:")
MAX_DETAIL_CHARS = 1_000


def message(version: ApiVersion, type_: str, **fields: Any) -> dict[str, Any]:
    """Return a message of a type; fields that are None are left out."""
    given = {name: value for name, value in fields.items() if value is not None}
    return {"@context": CONTEXTS[version], "@type": type_, **given}


def transfer_request(
    version: ApiVersion,
    connector: Connector,
    ask: Ask,
    *,
    transfer_type: str,
    reference: str,
    direction: Direction = Direction.PULL,
) -> dict[str, Any]:
    """Return what starts a transfer process.

    Releases before 0.6 want ``connectorId`` and ``dataDestination``; of a pull later ones of version 3 ignore
    them. Of a push the destination is what the connector's data plane prepares, so that none is named: what
    stood here would reach the provider where no plane prepares anything. EDC up to 0.15 refuses that.
    """
    fields: dict[str, Any] = {
        "counterPartyAddress": ask.counter_party_address,
        "contractId": ask.contract_id,
        "protocol": connector.protocol,
        "transferType": transfer_type,
        "privateProperties": {REFERENCE: reference},
        "dataplaneMetadata": _for_our_plane(version, reference),
    }
    if version is ApiVersion.V3:
        fields |= {"connectorId": ask.connector_id, "counterPartyId": ask.counter_party_id}
        if direction is Direction.PULL:
            fields["dataDestination"] = {"@type": "DataAddress", "type": "HttpProxy"}
    return message(version, "TransferRequest", **fields)


def _for_our_plane(version: ApiVersion, reference: str) -> dict[str, Any]:
    """Return what a connector tells its own data plane with ``prepare``: that may be this service."""
    properties: dict[str, Any] = {"correlationId": reference}
    if version is ApiVersion.V3:
        # Version 4's context says so by itself.
        properties = {"@type": "@json", "@value": properties}
    # No labels: a connector would look for a data plane that has them.
    return {"@type": "DataplaneMetadata", "properties": properties}


def reference_query(version: ApiVersion, reference: str) -> dict[str, Any]:
    """Return the query for the transfer process that was started with a reference."""
    criterion = {
        "@type": "Criterion",
        "operandLeft": f"privateProperties.'{REFERENCE}'",
        "operator": "=",
        "operandRight": reference,
    }
    return message(version, "QuerySpec", limit=2, filterExpression=[criterion])


def id_of(answer: Any) -> str:
    """Return the ``@id`` of an answer.

    Raises:
        ProtocolError: It has none.
    """
    found = answer.get("@id") if isinstance(answer, dict) else None
    if not isinstance(found, str) or not found or len(found) > MAX_DETAIL_CHARS:
        raise ProtocolError("the answer has no @id")
    return found


def list_of(answer: Any) -> list[Any]:
    """Return an answer that is a list.

    Raises:
        ProtocolError: It is none.
    """
    if not isinstance(answer, list):
        raise ProtocolError("the answer is no list")
    return answer


def process_of(answer: Any) -> TransferProcess:
    """Read a transfer process, or only its state.

    Raises:
        ProtocolError: It has no state.
    """
    if not isinstance(answer, dict):
        raise ProtocolError("the answer is no transfer process")
    values = flat(answer)
    state = values.get("state")
    if not isinstance(state, str) or not state:
        raise ProtocolError("the answer has no state")
    error = values.get("errorDetail")
    return TransferProcess(
        state=state.upper()[:100], error=error[:MAX_DETAIL_CHARS] if isinstance(error, str) else None
    )


def address_of(answer: Any) -> DataAddress:
    """Read a data address: flat as version 3 has it, or with ``endpointProperties`` as the protocol has it.

    Raises:
        ProtocolError: It is none.
    """
    if not isinstance(answer, dict):
        raise ProtocolError("the answer is no data address")
    values = flat(answer)
    nested = values.pop("endpointProperties", None)
    type_, endpoint = values.pop("endpointType", None), values.pop("endpoint", None)
    type_ = type_ or values.pop("type", None)
    values.pop("type", None)
    properties = [
        {"name": name, "value": value}
        for name, value in values.items()
        if not name.startswith("@") and isinstance(value, str | int | float | bool)
    ]
    named = [flat(entry) for entry in listed(nested) if isinstance(entry, dict)]
    try:
        found = DataAddress.from_wire(
            {"endpointType": type_, "endpoint": endpoint, "endpointProperties": [*named, *properties]}
        )
    except AddressError as exc:
        raise ProtocolError(f"the data address can't be used: {exc.message}") from exc
    if not found.endpoint_type and not found.endpoint:
        raise ProtocolError("the answer is no data address: it names neither type nor endpoint")
    return found


def refusal_of(answer: Any) -> str:
    """Return what a connector says about a refusal, empty if it says nothing that can be read.

    Source: EDC, "ApiErrorDetail": a list of ``{message, type, path, invalidValue}``.
    """
    first = next((entry for entry in listed(answer) if isinstance(entry, dict)), {})
    text = flat(first).get("message")
    if not isinstance(text, str):
        return ""
    return "".join(char if char.isprintable() else " " for char in text)[:300]


def listed(value: Any) -> list[Any]:
    """Return what may be a list, one value, or nothing, as a list."""
    return value if isinstance(value, list) else [] if value is None else [value]


def member(document: Mapping[str, Any], name: str) -> Any:
    """Return an object's property by its short name, as it came; None if it has none."""
    return next((value for key, value in document.items() if _plain(key) == name), None)


def flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object's properties by their short names, with values out of ``@value`` and lists of one."""
    return {_plain(name): _value(value) for name, value in document.items() if name != "@context"}


def _plain(name: str) -> str:
    short = short_name(name)
    prefix = next((prefix for prefix in _PREFIXES if short.startswith(prefix)), "")
    return short[len(prefix) :]


def _value(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        inner = _value(value[0])
        return value if isinstance(inner, dict) else inner
    if isinstance(value, dict) and ("@value" in value or "@id" in value):
        return value.get("@value", value.get("@id"))
    return value
