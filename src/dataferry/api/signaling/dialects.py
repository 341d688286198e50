"""The two dialects of Data Plane Signaling that control planes speak, in one table.

Until RC2 the field ``profile`` was called ``transferType``, messages had a ``callbackAddress`` and answers
said which data plane gave them. Both are understood; an answer is in its caller's dialect. EDC speaks either,
and has names of its own for the properties of data addresses.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from dataferry.api.signaling.wire import DataFlowBaseMessage, DataFlowStartMessage
from dataferry.domain.address import EDC_NAMESPACE, DataAddress
from dataferry.domain.dataflow import DataFlow, Dialect
from dataferry.domain.errors import InputError
from dataferry.domain.location import RegistrationStyle
from dataferry.flows.messages import Answer, Callback, FlowRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """How one dialect differs.

    Attributes:
        profile_field: What the kind of transfer is called in prepare, start and registration.
        names_data_plane: Whether answers and callbacks carry ``dataplaneId``.
    """

    profile_field: str
    names_data_plane: bool


WORDS: dict[Dialect, Words] = {
    Dialect.HEAD: Words(profile_field="profile", names_data_plane=False),
    Dialect.RC2: Words(profile_field="transferType", names_data_plane=True),
}

# EDC makes names of JSON-LD of a data address's properties: one with a colon is no term but an IRI already,
# and to these EDC gives a value of its own.
_TERM = re.compile(r"[^@:/#][^:/#]*")
_EDCS_OWN = frozenset({"type", "endpoint", "keyName", "responseChannel"})


def dialect_of(message: DataFlowBaseMessage) -> Dialect:
    """Return whose words a message uses; one that has both is of the head, whose word then counts."""
    return Dialect.HEAD if message.profile is not None else Dialect.RC2


def digest(verb: str, document: dict[str, Any]) -> str:
    """Return a fingerprint of a message's content without its ``messageId``, to recognise a repetition."""
    content = {name: value for name, value in document.items() if name != "messageId"}
    text = json.dumps([verb, content], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def address_of(wire: dict[str, Any] | None) -> DataAddress | None:
    """Read a message's ``dataAddress``; null and an empty object are none.

    Raises:
        AddressError: It is malformed.
    """
    return DataAddress.from_wire(wire) if wire else None


def flow_request(verb: str, message: DataFlowBaseMessage, document: dict[str, Any]) -> FlowRequest:
    """Turn a prepare or start message into what the use cases take.

    Args:
        verb: ``prepare`` or ``start``.
        message: As read.
        document: The whole body, unknown fields included: what the digest is made of.

    Raises:
        InputError: An address is malformed, or holds credentials where it may not.
    """
    wire = message.data_address if isinstance(message, DataFlowStartMessage) else None
    return FlowRequest(
        message_id=message.message_id,
        participant_id=message.participant_id,
        counter_party_id=message.counter_party_id,
        dataspace_context=message.dataspace_context,
        process_id=message.process_id,
        agreement_id=message.agreement_id,
        dataset_id=message.dataset_id,
        profile=message.profile or message.transfer_type or "",
        dialect=dialect_of(message),
        digest=digest(verb, document),
        claims=message.claims or {},
        metadata=message.metadata or {},
        labels=tuple(message.labels or ()),
        data_address=address_of(wire),
        callback_address=_without_credentials(message.callback_address),
    )


def _without_credentials(url: str | None) -> str | None:
    """Return a callback address, which rows keep in plain.

    Raises:
        InputError: It is no URL, or holds credentials.
    """
    try:
        holds_credentials = url is not None and urlsplit(url).username is not None
    except ValueError as exc:
        raise InputError("callbackAddress is not a URL") from exc
    if holds_credentials:
        raise InputError("callbackAddress must hold no credentials")
    return url


def address_message(address: DataAddress, style: RegistrationStyle) -> dict[str, Any]:
    """Write the ``dataAddress`` of a message.

    For EDC each property is there by its IRI too, and so is the type: the Management API compacts an address
    as JSON-LD, which drops every name that no context defines, the token's among them. The plain names stay,
    since they are the profile's.

    Args:
        address: Whatever it is of.
        style: How its control plane is spoken to.
    """
    if style is not RegistrationStyle.EDC:
        return address.to_wire()
    named = [
        (f"{EDC_NAMESPACE}{name}", value)
        for name, value in (("endpointType", address.endpoint_type), *address.properties)
        if _TERM.fullmatch(name) and name not in _EDCS_OWN
    ]
    return replace(address, properties=(*address.properties, *named)).to_wire()


def status_message(
    answer: Answer, *, dialect: Dialect, data_plane_id: str, style: RegistrationStyle
) -> dict[str, Any]:
    """Write a ``DataFlowStatusMessage`` that answers a verb.

    Source: Data Plane Signaling, "DataFlowStatusMessage".
    """
    message: dict[str, Any] = {
        "messageId": str(uuid4()),
        "dataFlowId": answer.flow.data_flow_id,
        "state": answer.flow.state.value,
    }
    if answer.data_address is not None:
        message["dataAddress"] = address_message(answer.data_address, style)
    return message | _data_plane(dialect, data_plane_id)


def status_response(flow: DataFlow, *, data_plane_id: str) -> dict[str, Any]:
    """Write a ``DataFlowStatusResponseMessage``.

    Source: Data Plane Signaling, "DataFlowStatusResponseMessage".
    """
    response = {"dataFlowId": flow.data_flow_id, "state": flow.state.value}
    return response | _data_plane(flow.dialect, data_plane_id)


def callback_message(callback: Callback, *, data_plane_id: str, style: RegistrationStyle) -> dict[str, Any]:
    """Write the ``DataFlowStatusMessage`` of a callback.

    Source: Data Plane Signaling, "Control Plane Endpoint".
    """
    message: dict[str, Any] = {
        "messageId": callback.message_id,
        "dataFlowId": callback.data_flow_id,
        "state": callback.state.value,
    }
    if callback.data_address is not None:
        message["dataAddress"] = address_message(callback.data_address, style)
    if callback.error is not None:
        message["error"] = callback.error
    return message | _data_plane(callback.dialect, data_plane_id)


def _data_plane(dialect: Dialect, data_plane_id: str) -> dict[str, str]:
    """Return ``dataplaneId`` where the dialect has it."""
    return {"dataplaneId": data_plane_id} if WORDS[dialect].names_data_plane else {}
