"""What the specification's text asks of each message, and of what goes with it: written from the text, ours.

Stricter than it where we can be, in what we send: ids are not empty, nothing is null, nothing is there that
has no meaning, and an answer fits its question.

Source: Data Plane Signaling, "Data Flow API" and "Registration"; Dataspace Protocol 2025-1, "Data Address".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.interop.dps.dialects import DIALECTS, HEAD, Dialect
from tests.interop.dps.shapes import (
    Check,
    any_text,
    anything_in_it,
    list_of,
    matching,
    one_of,
    text,
    thing,
    url,
    uuid,
)

STATES = (
    "INITIALIZED", "PREPARING", "PREPARED", "STARTING", "STARTED", "SUSPENDED", "COMPLETED", "TERMINATED",
)  # fmt: skip
# What a verb's answer may say; a transfer can be over before its `started` comes.
TARGETS = {
    "prepare": {"PREPARING", "PREPARED"},
    "start": {"STARTING", "STARTED"},
    "started": {"STARTED", "COMPLETED"},
    "suspend": {"SUSPENDED"},
    "resume": {"STARTED"},
    "terminate": {"TERMINATED"},
    "completed": {"COMPLETED"},
}
CALLBACKS = {
    "prepared": {"PREPARED"},
    "started": {"STARTED"},
    "completed": {"COMPLETED"},
    "errored": set(STATES),
}
LATER = {"PREPARING", "STARTING"}
ADDRESS = thing(
    {"@type": one_of("DataAddress"), "endpointType": text},
    {
        "endpoint": any_text,
        "endpointProperties": list_of(
            thing({"@type": one_of("EndpointProperty"), "name": text, "value": any_text}), least=1
        ),
    },
)


def _base(dialect: Dialect) -> tuple[dict[str, Check], dict[str, Check], set[str]]:
    """Fields of prepare and start: those required, those that may be, and those of other dialects."""
    required = ("messageId", "participantId", "counterPartyId", "dataspaceContext", "processId")
    fields: dict[str, Check] = dict.fromkeys((*required, "agreementId", "datasetId", dialect.transfer), text)
    optional: dict[str, Check] = {"metadata": anything_in_it, "labels": list_of(any_text)}
    if dialect.has_callback_address:
        optional["callbackAddress"] = url
    foreign = {other.transfer for other in DIALECTS} | {"callbackAddress"}
    return {**fields, "claims": anything_in_it}, optional, foreign - fields.keys() - optional.keys()


def _plane(dialect: Dialect) -> dict[str, Check]:
    return {"dataplaneId": text} if dialect.names_data_plane else {}


def taken(dialect: Dialect) -> dict[str, Check]:
    """What each request of a control plane must be; the body of ``completed`` is empty."""
    required, optional, foreign = _base(dialect)
    reason = thing({"messageId": text}, {"reason": any_text})
    return {
        "prepare": thing(required, optional, never=foreign | {"dataAddress"}),
        "start": thing(required, {**optional, "dataAddress": ADDRESS}, never=foreign),
        "started": thing({"messageId": text}, {"dataAddress": ADDRESS}),
        "suspend": reason,
        "resume": thing({"messageId": text}, {"dataAddress": ADDRESS}),
        "terminate": reason,
    }


def status_message(dialect: Dialect) -> Check:
    """What we answer verbs with, and send as callbacks."""
    required = {"messageId": uuid, "dataFlowId": text, "state": one_of(*STATES), **_plane(dialect)}
    return thing(required, {"dataAddress": ADDRESS, "error": text}, closed=True)


def status_response(dialect: Dialect) -> Check:
    """What we answer a question for the status with."""
    return thing({"dataFlowId": text, "state": one_of(*STATES), **_plane(dialect)}, closed=True)


def registration() -> Check:
    """What we tell control planes about us: one message for all dialects, so that each reads its own word."""
    offers = dict.fromkeys((dialect.transfers for dialect in DIALECTS), list_of(text, least=1))
    return thing(
        {"dataplaneId": text, "endpoint": url, **offers, "authorization": thing({"type": text})},
        {"labels": list_of(text)},
        closed=True,
    )


def answer_faults(
    verb: str, dialect: Dialect, request: Mapping[str, Any], status: int, answer: Any, location: str
) -> Iterator[str]:
    """Say where our answer to an accepted request is not what it must be.

    Args:
        verb: ``prepare`` … ``completed``, or ``status``.
        dialect: Of the flow.
        request: The prepare or start message that made the flow, or that is answered.
        status: Of HTTP, of success.
        answer: Its body.
        location: Its header ``Location``; empty if it has none.
    """
    check = status_response(dialect) if verb == "status" else status_message(dialect)
    yield from check(answer, "$")
    state = answer.get("state") if isinstance(answer, dict) else None
    if verb == "status" or state is None:
        return
    if state not in TARGETS[verb]:
        yield f"$.state: {state} does not answer {verb}"
    if (status == 202) != (state in LATER):
        yield f"{status} with {state}"
    if status == 202:
        yield from matching(r"[^?#]*/dataflows/[^/]+/status")(location, "Location")
    if "error" in answer:
        yield "$.error: nothing went wrong"
    yield from _address_faults(verb, str(request.get(dialect.transfer, "")), state, "dataAddress" in answer)


def _address_faults(verb: str, transfer: str, state: str, has_address: bool) -> Iterator[str]:
    """Who owns the address hands it out when it is there; nobody else has one to hand out.

    Source: Data Plane Signaling, "Push Protocol Messaging", "Pull Protocol Messaging".
    """
    owner = {"prepare": "push", "start": "pull"}.get(verb)
    if owner is None:
        if has_address and verb != "resume":
            yield f"$.dataAddress: does not belong in the answer to {verb}"
        return
    owns = re.search(rf"[-_]?{owner}$", transfer, re.IGNORECASE) is not None
    if has_address and not (owns and state not in LATER):
        yield f"$.dataAddress: does not belong in the answer to {verb} with {state}"
    if owns and state not in LATER and not has_address:
        yield f"$.dataAddress: is missing in the answer to {verb}"


def callback_faults(kind: str, dialect: Dialect, message: Any) -> Iterator[str]:
    """Say where a callback of ours is not what it must be."""
    yield from status_message(dialect)(message, "$")
    if not isinstance(message, dict):
        return
    if message.get("state") not in CALLBACKS[kind]:
        yield f"$.state: {message.get('state')} in {kind}"
    if ("error" in message) != (kind == "errored"):
        yield f"$.error: {'is missing' if kind == 'errored' else 'does not belong'} in {kind}"
    if "dataAddress" in message and kind not in {"prepared", "started"}:
        yield f"$.dataAddress: does not belong in {kind}"


def request_faults(verb: str, dialect: Dialect, message: Any) -> Iterator[str]:
    """Say where a control plane's request is not what it must be."""
    if verb == "completed":
        if message is not None:
            yield "$: must be empty"
        return
    yield from taken(dialect)[verb](message, "$")


__all__ = ["HEAD", "answer_faults", "callback_faults", "registration", "request_faults"]
