"""What clients see, field for field as the orchestrator's description has it; what is new comes after."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from dataferry.domain.orchestration import Entry, Notice, Orchestration, Step
from dataferry.domain.progress import Progress
from dataferry.flows.orchestration.orchestrator import OrchestrationView
from dataferry.flows.orchestration.sidecar import checksum
from dataferry.flows.orchestration.work import Retry

STARTED_MESSAGE = "Transfer processing started"
VALID_MESSAGE = "The request is valid; nothing was started"
CANCELLED_MESSAGE = "What was not begun is not begun any more; what runs is being ended"


def success(response: dict[str, Any], *, orchestration_id: str | None = None) -> dict[str, Any]:
    """Return an answer of success around a response."""
    named = {} if orchestration_id is None else {"orchestration_id": orchestration_id}
    return {"status": "SUCCESS", "status_code": 200, **named, "response": response}


def accepted(orchestration: Orchestration) -> dict[str, Any]:
    """Return the answer to a request that was taken in: the first one, however far it is by now."""
    return _told(orchestration, "QUEUED", STARTED_MESSAGE)


def cancelled(orchestration: Orchestration) -> dict[str, Any]:
    """Return the answer to a request to call one off."""
    return _told(orchestration, "CANCELLED", CANCELLED_MESSAGE)


def _told(orchestration: Orchestration, status: str, message: str) -> dict[str, Any]:
    id_ = str(orchestration.id)
    return success({"orchestration_id": id_, "status": status, "message": message}, orchestration_id=id_)


def listed(found: Sequence[Orchestration], following: str | None) -> dict[str, Any]:
    """Return the answer with all orchestrations; ``next`` only where there are more."""
    processes = {str(one.id): {**_base(one), "properties": one.properties, **_more(one)} for one in found}
    more = {} if following is None else {"next": following}
    return success({"orchestration_processes": processes, **more})


def detailed(view: OrchestrationView) -> dict[str, Any]:
    """Return the answer with one orchestration and its entries."""
    return success({"orchestration_processes": {str(view.orchestration.id): process(view)}})


def process(view: OrchestrationView) -> dict[str, Any]:
    """Return one orchestration and its entries."""
    one = view.orchestration
    paths = [
        _entry(
            entry,
            view.progress.get(entry.flow_id) if entry.flow_id else None,
            view.retries.get(entry.position),
        )
        for entry in view.entries
    ]
    return {
        **_base(one),
        "storage_paths": paths,
        "properties": one.properties,
        **_more(one),
        "progress": _overall(view),
    }


def _base(one: Orchestration) -> dict[str, Any]:
    return {
        "orchestration_id": str(one.id),
        "process_status": one.standing.value,
        "created_at": _time(one.created_at),
        "updated_at": _time(one.updated_at),
    }


def _more(one: Orchestration) -> dict[str, Any]:
    """What the description does not have."""
    return {
        "connector_address": one.connector_address,
        "entries_total": one.entries,
        "entries_saved": one.saved,
        "entries_failed": one.failed,
        "entries_cancelled": one.cancelled,
        "error": one.error,
        "ended_at": None if one.ended_at is None else _time(one.ended_at),
        "webhook": None if one.notice is None else _notice(one.notice),
    }


def _notice(notice: Notice) -> dict[str, Any]:
    """How telling the webhook goes; its address is the operator's affair."""
    return {
        "status": notice.state.value.upper().replace(" ", "_"),
        "failed_attempts": notice.attempts,
        "error": notice.error,
        "settled_at": None if notice.settled_at is None else _time(notice.settled_at),
    }


def _entry(entry: Entry, progress: Progress | None, retry: Retry | None) -> dict[str, Any]:
    """One of ``storage_paths``; the path is told once something is there."""
    shown: dict[str, Any] = {
        "transfer_id": entry.transfer_id,
        "storage_path": entry.storage_path if _is_saved(entry) else None,
        "status": _status(entry),
        "position": entry.position,
        "contract_id": entry.ask.contract_id,
        "size": entry.size_bytes,
        "checksum": checksum(entry.crc64nvme),
        "verification": entry.verification,
        "updated_at": _time(entry.updated_at),
    }
    if entry.ask.asset_id is not None:
        shown |= {"asset_id": entry.ask.asset_id, "negotiation_id": entry.negotiation_id}
    if entry.fault is not None:
        shown |= {
            "error": entry.fault.message,
            "error_kind": entry.fault.kind,
            "status_code": entry.fault.code,
        }
    if retry is not None:
        shown["last_retry"] = {"reason": retry.reason, "at": _time(retry.at)}
    if entry.note is not None:
        shown["note"] = entry.note
    if progress is not None:
        shown["progress"] = {
            "bytes_total": progress.bytes_total if progress.is_total_final else None,
            "bytes_transferred": progress.bytes_transferred,
            "percent_complete": progress.percent_complete,
            "throughput": progress.throughput_bytes_per_s,
            "eta": progress.eta_s,
            "waiting": progress.waiting,
        }
    return shown


def _is_saved(entry: Entry) -> bool:
    return entry.step is Step.SAVED or (entry.step is Step.CLOSING and entry.outcome is Step.SAVED)


def _status(entry: Entry) -> str:
    """Return an entry's status, in the description's words as far as it has them."""
    if entry.step.is_final:
        return entry.step.value.upper()
    if entry.step is Step.WAITING:
        return "QUEUED"
    if entry.step in {Step.DOWNLOADING, Step.CLOSING}:
        return "DATA_ADDRESS_RETRIEVED" if entry.flow_id else "PROCESSING"
    return "ASSET_REGISTERED" if entry.transfer_id else "PROCESSING"


def _overall(view: OrchestrationView) -> dict[str, Any]:
    """How far all entries together are; bytes of those that have begun."""
    moved = sum(entry.size_bytes or 0 for entry in view.entries if _is_saved(entry))
    running = list(view.progress.values())
    ended = view.orchestration.saved + view.orchestration.failed + view.orchestration.cancelled
    return {
        "entries_ended": ended,
        "bytes_transferred": moved + sum(progress.bytes_transferred for progress in running),
        "throughput": sum(progress.throughput_bytes_per_s for progress in running),
    }


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")
