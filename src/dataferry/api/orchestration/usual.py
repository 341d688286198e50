"""Reads the usual request in one pass: JSON and rules together, hundreds of entries in half a millisecond.

It says yes or nothing. What it does not know for certain to be right, or to mean the same as what ``wire``
makes of it, is left to the bounds of ``api.bodies`` and the rules of ``wire``, which say what is wrong. So it
knows the described fields only, and ASCII that nothing is escaped in; a test holds both readings together.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Literal, NotRequired

from pydantic import ConfigDict, TypeAdapter, with_config
from pydantic_core import ValidationError
from typing_extensions import TypedDict

from dataferry.api.bodies import MAX_JSON_DEPTH, check_json, is_plain
from dataferry.api.orchestration.wire import Data, Properties, Text
from dataferry.domain.asks import Asks, column
from dataferry.domain.errors import InputError
from dataferry.flows.orchestration.connectors import normalized
from dataferry.flows.orchestration.orchestrator import Request

_ONLY_THESE = ConfigDict(strict=True, extra="forbid", cache_strings="keys")
# Fields of `Ask`, and what requests call them.
_REQUIRED = {
    "counter_party_address": "counterPartyAddress",
    "contract_id": "contractId",
    "connector_id": "connectorId",
}
_OPTIONAL = {
    "transfer_type": "transferType",
    "counter_party_id": "counterPartyId",
    "destination": "destination",
}


@with_config(_ONLY_THESE)
class _Entry(TypedDict):
    """As ``wire.EntryBody``."""

    type: Literal["edc-asset"]
    counterPartyAddress: Text
    contractId: Text
    connectorId: Text
    transferType: NotRequired[Text | None]
    counterPartyId: NotRequired[Text | None]
    destination: NotRequired[Text | None]


@with_config(_ONLY_THESE)
class _Body(TypedDict):
    """As ``wire.OrchestrateBody``."""

    data: Data[_Entry]
    connectorAddress: Text
    properties: NotRequired[Properties]


_BODY = TypeAdapter(_Body)


def read(body: bytes) -> Request | None:
    """Read a request; None if it is not the usual one, right or wrong.

    Args:
        body: As it came.
    """
    if not is_plain(body):
        return None
    try:
        found = _BODY.validate_json(body)
        properties = found.get("properties", {})
        check_json(properties, max_depth=MAX_JSON_DEPTH - 1, texts=False)
        asks = _asks(found["data"])
        for address in asks.distinct("counter_party_address") | {found["connectorAddress"]}:
            normalized(address)
    except (ValidationError, InputError):
        return None
    return Request(connector_address=found["connectorAddress"], asks=asks, properties=properties)


def _asks(entries: list[_Entry]) -> Asks:
    """Return what entries ask for, without an object for each."""
    columns = {field: column(list(map(itemgetter(name), entries))) for field, name in _REQUIRED.items()}
    if max(map(len, entries)) > len(("type", *_REQUIRED)):
        for field, name in _OPTIONAL.items():
            columns[field] = column([entry.get(name) for entry in entries])
    return Asks(len(entries), columns)
