"""How far a flow is, as every door of the API tells it."""

from __future__ import annotations

from typing import Any

from dataferry.domain.dataflow import DataFlow, Run, State
from dataferry.domain.progress import Progress

# Runs in which a flow may wait for a bandwidth window.
_AT_WORK = frozenset({Run.QUEUED, Run.RUNNING})
# States in which the gateway takes what others send.
_TAKEN_IN = frozenset({State.PREPARED, State.STARTED})


def progress_view(flow: DataFlow, progress: Progress | None) -> dict[str, Any]:
    """Show how far a flow is; what counts bytes is null on the side that neither moves nor takes any.

    Of what others send to the gateway, this side knows what has come, and the total only at the end.
    """
    counted = (progress or Progress()) if flow.moves_bytes else progress
    moves = flow.moves_bytes
    is_live = flow.run is Run.RUNNING if moves else flow.state in _TAKEN_IN
    is_total = counted is not None and not counted.objects_unsized and (moves or counted.plan_complete)
    return {
        "bytesTotal": counted.bytes_total if counted is not None and is_total else None,
        "bytesTransferred": counted and counted.bytes_transferred,
        "bytesResumed": counted and counted.bytes_resumed if moves else None,
        "bytesRetransferred": counted and counted.bytes_retransferred if moves else None,
        "bytesVerified": counted and counted.bytes_verified if moves else None,
        "percentComplete": counted and counted.percent_complete,
        "throughput": counted and (counted.throughput_bytes_per_s if is_live else 0.0),
        "workers": counted and (counted.workers if flow.run is Run.RUNNING else 0) if moves else None,
        "eta": counted.eta_s if counted is not None and flow.run is Run.RUNNING else None,
        "objectsTotal": counted and counted.objects_total,
        "objectsDone": counted and counted.objects_done,
        "objectsSkipped": counted and counted.objects_skipped,
        "objectsFailed": counted and counted.objects_failed,
        "waitingFor": counted.waiting if counted is not None and flow.run in _AT_WORK else None,
        "running": flow.run is Run.RUNNING,
        "queued": flow.run is Run.QUEUED,
        "paused": flow.run is Run.HELD or flow.state is State.SUSPENDED,
        "finished": flow.state.is_final or flow.run is Run.DONE,
        "lastError": flow.error,
        "lastErrorKind": flow.error_kind,
    }
