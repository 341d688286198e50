"""Payloads: JSON objects in the words of the management API. No address, no credential is in any.

``docs/reference/mqtt.md`` documents them; a test holds the two together.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from dataferry.api.progress import progress_view
from dataferry.domain.dataflow import DataFlow
from dataferry.store.records import FlowTransition, Moment, OrchestrationTransition

Redactor = Callable[[str], str]


def encoded(payload: dict[str, Any]) -> bytes:
    """Write a payload; ASCII, so that no half of a surrogate pair can break it."""
    return json.dumps(payload, separators=(",", ":")).encode("ascii")


def flow_state(change: FlowTransition, redact: Redactor) -> dict[str, Any]:
    """Tell a flow's new state.

    Args:
        change: As the store has it.
        redact: Masks known secrets in what others wrote.
    """
    return {
        "messageId": change.message_id,
        "sequence": change.sequence,
        "at": change.at.isoformat(),
        "id": str(change.flow_id),
        "dataFlowId": change.data_flow_id,
        "processId": change.process_id,
        "controlPlaneId": change.control_plane_id,
        "participantContextId": change.participant_context_id,
        "counterPartyId": change.counter_party_id,
        "agreementId": change.agreement_id,
        "datasetId": change.dataset_id,
        "correlationId": change.correlation_id,
        "role": change.role.value,
        "direction": change.direction.value,
        "state": change.state.value,
        "run": change.run.value,
        "reason": change.reason and redact(change.reason),
        "error": change.error and redact(change.error),
        "errorKind": change.error_kind,
    }


def orchestration_state(
    change: OrchestrationTransition, participant: str, redact: Redactor
) -> dict[str, Any]:
    """Tell where an orchestration stands now; as ``flow_state``. Counts are those of the end, null before."""
    is_over = change.standing.is_final
    return {
        "messageId": change.message_id,
        "sequence": change.sequence,
        "at": change.at.isoformat(),
        "id": str(change.orchestration_id),
        "participantContextId": participant,
        "state": change.standing.value,
        "entries": change.entries,
        "saved": change.saved if is_over else None,
        "failed": change.failed if is_over else None,
        "cancelled": change.cancelled if is_over else None,
        "error": change.error and redact(change.error),
    }


def flow_progress(flow: DataFlow, moment: Moment, redact: Redactor) -> dict[str, Any]:
    """Tell how far a flow is, in the words of ``/management/dataflows/{id}``."""
    view = progress_view(flow, moment.progress)
    return {
        "at": moment.at.isoformat(),
        "id": str(flow.id),
        "dataFlowId": flow.data_flow_id,
        "processId": flow.process_id,
        "controlPlaneId": flow.control_plane_id,
        "participantContextId": flow.participant_context_id,
        "state": flow.state.value,
        **view,
        "lastError": view["lastError"] and redact(view["lastError"]),
    }


def plane_status(data_plane_id: str, *, is_online: bool, at: datetime | None) -> dict[str, Any]:
    """Tell whether this plane is online; ``at`` is null in what the broker says for us: it knows no time."""
    return {
        "dataplaneId": data_plane_id,
        "status": "online" if is_online else "offline",
        "at": at and at.isoformat(),
    }
