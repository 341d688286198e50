"""The end of a push to us: what has come is there; what was begun and is not there, the flow says."""

from __future__ import annotations

from dataclasses import replace

from dataferry.domain.dataflow import DataFlow
from dataferry.domain.errors import DataFerryError
from dataferry.flows.ingest_progress import moment_of
from dataferry.store.store import Transaction

SHOWN = 5


class IncompleteError(DataFerryError):
    """Who sent has ended, and not all that was begun has come; it stands with the flow, and is not raised."""

    kind = "incomplete"


def noted(tx: Transaction, flow: DataFlow) -> DataFlow:
    """Note that the other side has moved everything, and what is missing of it all the same.

    The state is the control plane's to say; that objects are missing stands beside it, as the flow's error.

    Args:
        tx: In which the flow is written.
        flow: In its final state.
    """
    totals = tx.transfers.totals(flow.id)
    if totals is None:
        tx.events.add(
            flow.id, flow.state.value, "the other side has moved everything", actor=flow.control_plane_id
        )
        return flow
    tx.transfers.finish_plan(flow.id)
    tx.progress.put(flow.id, moment_of(replace(totals, plan_complete=True)))
    counts = f"{totals.objects_done:,} objects, {totals.bytes_done:,} bytes"
    tx.events.add(
        flow.id,
        flow.state.value,
        f"the other side has moved everything; here are {counts}",
        actor=flow.control_plane_id,
    )
    missing = totals.objects_total - totals.objects_done - totals.objects_skipped
    if not missing:
        return flow
    names = ", ".join(repr(name[:100]) for name in tx.transfers.missing(flow.id, limit=SHOWN))
    text = f"{missing} objects were begun and did not arrive: {names}" + (", ..." if missing > SHOWN else "")
    tx.events.add(flow.id, IncompleteError.kind, text)
    return replace(flow, error=text, error_kind=IncompleteError.kind)
