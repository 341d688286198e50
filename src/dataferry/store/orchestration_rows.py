"""Rows of orchestrations and their entries, and the domain's objects, one into the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dataferry.domain.asks import Asks
from dataferry.domain.orchestration import (
    Ask,
    Entry,
    Fault,
    Notice,
    NoticeState,
    Orchestration,
    Standing,
    Step,
)
from dataferry.domain.usage_policy import Offer

MAX_TEXT_CHARS = 4_000

# Columns that stand in the row as they stand in the object.
_PLAIN = (
    "id", "connector_address", "properties", "idempotency_key", "digest", "entries", "saved", "failed",
    "cancelled", "is_cancelled", "error", "created_at", "updated_at", "ended_at",
)  # fmt: skip
_ENTRY_PLAIN = (
    "orchestration_id", "position", "version", "negotiation_id", "transfer_id", "flow_id", "sink_ref",
    "storage_path", "size_bytes", "verification", "renewals", "renewed_at_bytes", "note", "started_at",
    "updated_at", "ended_at",
)  # fmt: skip
_NOTICE_PLAIN = ("attempts", "next_at", "error", "settled_at")
_OPTIONAL_ASKS = ("transfer_type", "counter_party_id", "destination", "asset_id")


def orchestration_row(one: Orchestration, asks: Asks) -> dict[str, Any]:
    """Write an orchestration, with all that it asks for, as its row."""
    return {
        **{name: getattr(one, name) for name in _PLAIN},
        "standing": one.standing.value,
        "pending": asks.columns,
        **({} if one.notice is None else notice_row(one.notice)),
    }


def orchestration_of(row: Mapping[Any, Any]) -> Orchestration:
    """Read an orchestration."""
    notice = None
    if row["notice_state"] is not None:
        plain = {name: row[f"notice_{name}"] for name in _NOTICE_PLAIN}
        notice = Notice(**plain, state=NoticeState(row["notice_state"]))
    return Orchestration(
        **{name: row[name] for name in _PLAIN}, standing=Standing(row["standing"]), notice=notice
    )


def asks_of(row: Mapping[Any, Any]) -> Sequence[Ask]:
    """Read what an orchestration asks for while its entries have no rows; empty once they have."""
    pending = row["pending"]
    if pending is None:
        return []
    if isinstance(pending, list):  # versions before wrote an object for each entry
        return [Ask(**asked) for asked in pending]
    return Asks(row["entries"], pending)


def notice_row(notice: Notice) -> dict[str, Any]:
    """Write a notice as the columns that it has in its orchestration's row."""
    plain = {f"notice_{name}": getattr(notice, name) for name in _NOTICE_PLAIN}
    error = None if notice.error is None else notice.error[:MAX_TEXT_CHARS]
    return {**plain, "notice_error": error, "notice_state": notice.state.value}


def entry_row(entry: Entry) -> dict[str, Any]:
    """Write an entry as its row."""
    fault = entry.fault
    return {
        **{name: getattr(entry, name) for name in _ENTRY_PLAIN},
        "ask": _asked(entry.ask),
        "step": entry.step.value,
        "outcome": None if entry.outcome is None else entry.outcome.value,
        "offer": None if entry.offer is None else entry.offer.to_text(),
        "crc64nvme": None if entry.crc64nvme is None else f"{entry.crc64nvme:016x}",
        "fault_code": None if fault is None else fault.code,
        "fault_kind": None if fault is None else fault.kind,
        "fault": None if fault is None else fault.message[:MAX_TEXT_CHARS],
    }


def entry_of(row: Mapping[Any, Any]) -> Entry:
    """Read an entry."""
    fault = None
    if row["fault_code"] is not None:
        fault = Fault(code=row["fault_code"], kind=row["fault_kind"], message=row["fault"])
    return Entry(
        **{name: row[name] for name in _ENTRY_PLAIN},
        ask=Ask(**row["ask"]),
        step=Step(row["step"]),
        outcome=None if row["outcome"] is None else Step(row["outcome"]),
        offer=None if row["offer"] is None else Offer.from_text(row["offer"]),
        crc64nvme=None if row["crc64nvme"] is None else int(row["crc64nvme"], 16),
        fault=fault,
    )


def _asked(ask: Ask) -> dict[str, str | None]:
    """Write what is asked for; by hand, as requests have hundreds of them."""
    asked = {
        "counter_party_address": ask.counter_party_address,
        "contract_id": ask.contract_id,
        "connector_id": ask.connector_id,
    }
    for name in _OPTIONAL_ASKS:
        value = getattr(ask, name)
        if value is not None:
            asked[name] = value
    return asked
