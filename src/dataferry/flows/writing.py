"""How a use case writes a flow: one transaction that reads the row, decides, and saves what it read.

Somebody else who wrote first is no error of the caller: the use case is done again on the new row, boundedly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

from dataferry.domain.dataflow import DataFlow, Event, Role, Run, State
from dataferry.domain.errors import DataFerryError, StaleVersionError
from dataferry.domain.location import ControlPlane, OnFailure
from dataferry.engine.transfer import Result
from dataferry.store.store import Store, Transaction

MOST_TRIES = 10
TERMINATE_VIA_MANAGEMENT_API = "terminate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A flow before and after a use case; the same object twice where there was nothing to do."""

    before: DataFlow
    after: DataFlow

    @property
    def changed(self) -> bool:
        """True if something was written."""
        return self.before is not self.after


def change(
    store: Store,
    find: Callable[[Transaction], DataFlow],
    decide: Callable[[Transaction, DataFlow], DataFlow],
) -> Change:
    """Read a flow, let ``decide`` say what becomes of it, and save that, in one transaction.

    Args:
        store: Where flows are.
        find: Reads the row.
        decide: Returns the new row, or the very same object if nothing is to be written; may use the
            transaction to add events and messages.

    Raises:
        StaleVersionError: Others were faster, many times in a row.
    """
    for tries in range(MOST_TRIES):
        try:
            with store.transaction() as tx:
                before = find(tx)
                wanted = decide(tx, before)
                if wanted is before:
                    return Change(before=before, after=before)
                return Change(before=before, after=tx.flows.save(wanted, expected=before))
        except StaleVersionError:
            if tries == MOST_TRIES - 1:
                raise
    raise AssertionError("unreachable")  # pragma: no cover


def by_id(flow_id: UUID) -> Callable[[Transaction], DataFlow]:
    """Find a flow by its internal id."""
    return lambda tx: tx.flows.get(flow_id)


def completed(tx: Transaction, flow: DataFlow, result: Result) -> DataFlow:
    """All bytes are there: COMPLETED, and the control plane is told in the same transaction."""
    skipped = f" ({result.objects_skipped:,} were there)" if result.objects_skipped else ""
    counts = f"{result.objects:,} objects{skipped}, {result.bytes:,} bytes in {result.seconds:.1f} s"
    done = flow.after(Event.COMPLETE, run=Run.DONE, error=None, error_kind=None)
    tx.outbox.add(done, "completed")
    tx.events.add(flow.id, "completed", f"{counts}, verified: {result.verification.word}")
    return done


def failed(tx: Transaction, flow: DataFlow, error: DataFerryError, plane: ControlPlane | None) -> DataFlow:
    """The run failed for good: ``errored``, and what the control plane's ``on_failure`` says.

    Source: Data Plane Signaling, "Errored": it changes no state; a plane that must stop reports ``errored``.
    """
    text = str(error)
    after = replace(flow, run=Run.FAILED, error=text, error_kind=error.kind, error_of_sink=error.of_sink)
    on_failure = OnFailure.HOLD if plane is None else plane.on_failure
    if on_failure is OnFailure.TERMINATE and not flow.state.is_final:
        tx.outbox.void(flow.id)
        after = after.after(Event.TERMINATE, reason=text)
    tx.outbox.add(after, "errored", error=text)
    if on_failure is OnFailure.TERMINATE_VIA_MANAGEMENT_API:
        tx.outbox.add(after, TERMINATE_VIA_MANAGEMENT_API, error=text)
    tx.events.add(flow.id, "failed", text)
    return after


def terminated(flow: DataFlow, reason: str | None) -> DataFlow:
    """The flow ends before completion; nothing of it runs any more."""
    run = Run.DONE if flow.run is Run.DONE else Run.IDLE
    return flow.after(Event.TERMINATE, run=run, reason=reason)


def wants_run(flow: DataFlow) -> bool:
    """Return whether this side has something to move: it is the mover, and knows where the bytes are."""
    if not flow.moves_bytes or flow.state is not State.STARTED:
        return False
    return flow.role is Role.PROVIDER or knows_source(flow)


def queued_if_it_should_run(flow: DataFlow) -> DataFlow:
    """Queue a flow that has bytes to move and does not move them; a hold is the operator's to lift."""
    if wants_run(flow) and flow.run in {Run.IDLE, Run.FAILED}:
        return replace(flow, run=Run.QUEUED, error=None, error_kind=None)
    return flow


def knows_source(flow: DataFlow) -> bool:
    """Return whether a consumer that fetches was told where from: by an address, or by its landing zone."""
    return flow.incoming_address is not None or flow.source_ref is not None
