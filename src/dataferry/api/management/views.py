"""What operators are shown of flows, objects, events and callbacks.

Never in them: credentials of ``metadata``, ``claims``, and the properties of a DataAddress, but for the one
view that is there to hand an address out.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from dataferry.api.progress import progress_view
from dataferry.domain.address import DataAddress
from dataferry.domain.agreement import Agreement, told
from dataferry.domain.dataflow import DataFlow, Role
from dataferry.domain.ledger import ObjectRow
from dataferry.flows.data_addresses import CurrentAddress
from dataferry.flows.management import FlowView
from dataferry.store.records import FlowEvent, OutboxMessage


def flow_view(view: FlowView) -> dict[str, Any]:
    """Show a flow with its progress."""
    flow = view.flow
    return {
        "id": str(flow.id),
        "dataFlowId": flow.data_flow_id,
        "processId": flow.process_id,
        "controlPlaneId": flow.control_plane_id,
        "participantContextId": flow.participant_context_id,
        "role": flow.role.value,
        "direction": flow.direction.value,
        "profile": flow.profile,
        "mechanism": flow.mechanism,
        "state": flow.state.value,
        "run": flow.run.value,
        "landing": flow.landing.value if flow.role is Role.CONSUMER else None,
        "correlationId": flow.correlation_id,
        "reason": flow.reason,
        "participantId": flow.participant_id,
        "counterPartyId": flow.counter_party_id,
        "dataspaceContext": flow.dataspace_context,
        "agreementId": flow.agreement_id,
        "datasetId": flow.dataset_id,
        "labels": list(flow.labels),
        **places(flow),
        **progress_view(flow, view.progress),
        "verification": view.verification.word if view.verification else None,
        "attempt": flow.epoch,
        "createdAt": flow.created_at.isoformat(),
        "updatedAt": flow.updated_at.isoformat(),
    }


def agreement_view(agreement: Agreement | None, now: datetime) -> dict[str, Any] | None:
    """Show a flow's contract agreement; null if its control plane was not asked."""
    if agreement is None:
        return None
    content, ends_at = agreement.content, agreement.ends_at
    is_over = ends_at is not None and ends_at <= now
    return {
        "standing": "expired" if is_over else agreement.standing.value,
        "providerId": told(content, "providerId"),
        "consumerId": told(content, "consumerId"),
        "assetId": told(content, "assetId"),
        "signedAt": agreement.signed_at and agreement.signed_at.isoformat(),
        "endsAt": ends_at and ends_at.isoformat(),
        "policy": next((value for key, value in content.items() if key.endswith("policy")), None),
        "error": agreement.error,
        "askedAt": agreement.asked_at.isoformat(),
    }


def places(flow: DataFlow) -> dict[str, str | None]:
    """Show both ends: ``location:path`` where it is ours, else the bare endpoint of the address."""
    theirs = _place(flow.incoming_address)
    if not flow.takes_address:
        return {"source": flow.source_ref, "sink": flow.sink_ref}
    if not flow.moves_bytes:
        return {"source": theirs, "sink": None}
    return {"source": flow.source_ref or theirs, "sink": flow.sink_ref or theirs}


def _place(address: DataAddress | None) -> str | None:
    """Show where an address leads, without anything that could let somebody in."""
    if address is None:
        return None
    try:
        parts = urlsplit(address.endpoint)
        host = parts.netloc.rpartition("@")[2]
        shown = urlunsplit((parts.scheme, host, parts.path, "", ""))
    except ValueError:
        shown = ""
    return shown or address.get("bucketName", "container") or address.endpoint_type or None


def data_address_view(current: CurrentAddress) -> dict[str, Any]:
    """Show where and how a flow's data can be read now: credentials included, for who may have them."""
    flow = current.flow
    return {
        "dataFlowId": flow.data_flow_id,
        "processId": flow.process_id,
        "controlPlaneId": flow.control_plane_id,
        "state": flow.state.value,
        "dataAddress": current.address.to_wire(),
        "expiresAt": current.expires_at and current.expires_at.isoformat(),
    }


def object_view(row: ObjectRow) -> dict[str, Any]:
    """Show one object of a transfer."""
    return {
        "ordinal": row.ordinal,
        "name": row.source.name,
        "targetKey": row.target_key,
        "state": row.state.value,
        "sizeBytes": row.source.size_bytes,
        "etag": row.etag,
        "crc64nvme": None if row.crc64nvme is None else f"{row.crc64nvme:016x}",
        "verification": row.verification.word,
        "lastError": row.error,
        "lastErrorKind": row.error_kind,
    }


def event_view(event: FlowEvent) -> dict[str, Any]:
    """Show one event of a flow."""
    return {
        "id": event.id,
        "flowId": str(event.flow_id),
        "kind": event.kind,
        "reason": event.reason,
        "actor": event.actor,
        "at": event.at.isoformat(),
    }


def callback_view(message: OutboxMessage) -> dict[str, Any]:
    """Show one message of the outbox."""
    return {
        "messageId": message.message_id,
        "flowId": str(message.flow_id),
        "kind": message.kind,
        "flowState": message.flow_state.value,
        "state": message.state.value,
        "attempts": message.attempts,
        "nextAt": message.next_at.isoformat(),
        "lastError": message.last_error,
        "createdAt": message.created_at.isoformat(),
        "settledAt": message.settled_at and message.settled_at.isoformat(),
    }
