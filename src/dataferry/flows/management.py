"""What operators may see and do, beside the control planes' verbs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from dataferry.domain.dataflow import DataFlow, Run, State
from dataferry.domain.errors import ConflictError, NotFoundError
from dataferry.domain.execution import Executor
from dataferry.domain.ledger import ObjectRow, ObjectState
from dataferry.domain.location import Landing
from dataferry.domain.objects import Verification
from dataferry.domain.progress import Progress
from dataferry.domain.purview import EVERYTHING, Purview
from dataferry.flows.data_addresses import CurrentAddress, DataAddresses
from dataferry.flows.shared import Shared
from dataferry.flows.writing import by_id, change, queued_if_it_should_run, terminated, wants_run
from dataferry.store.records import FlowEvent, OutboxMessage, OutboxState
from dataferry.store.store import Transaction

OPERATOR = "operator"
# Some of the intervals at which progress is written.
TAKING_IN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowView:
    """A flow and how far it is.

    Attributes:
        progress: None where this plane moves no bytes, or before any moved.
        verification: The lowest level of any object that has arrived; ``NONE`` before one has.
    """

    flow: DataFlow
    progress: Progress | None
    verification: Verification = Verification.NONE


class Management:
    """Flows as operators see them: those within the operator's purview, whoever owns them.

    ``any_id`` is the internal id, a dataFlowId or a processId; ``ConflictError`` if it names several flows,
    ``NotFoundError`` if none.

    Args:
        shared: The parts of this data plane.
        executor: Runs and stops attempts.
        purview: Whose flows there are; the others do not exist.
    """

    def __init__(self, shared: Shared, executor: Executor, purview: Purview = EVERYTHING) -> None:
        self._shared = shared
        self._executor = executor
        self._purview = purview
        self._addresses = DataAddresses(shared, purview)

    def within(self, purview: Purview) -> Management:
        """Return the same for somebody who sees no more than this."""
        return Management(self._shared, self._executor, purview)

    def list(
        self,
        *,
        after: str | None = None,
        limit: int = 50,
        state: State | None = None,
        run: Run | None = None,
        control_plane_id: str | None = None,
        correlation_id: str | None = None,
    ) -> tuple[Sequence[FlowView], str | None]:
        """Return a page of flows, newest first, and the cursor of the next page."""
        with self._shared.store.snapshot() as tx:
            flows, cursor = tx.flows.list(
                after=after,
                limit=limit,
                state=state,
                run=run,
                control_plane_id=control_plane_id,
                correlation_id=correlation_id,
                purview=self._purview,
            )
            ids = [flow.id for flow in flows]
            progress, levels = tx.progress.get_many(ids), tx.progress.levels(ids)
        return [
            FlowView(
                flow=flow,
                progress=progress.get(flow.id),
                verification=levels.get(flow.id, Verification.NONE),
            )
            for flow in flows
        ], cursor

    def taking_in(self, limit: int = 100) -> Sequence[FlowView]:
        """Return flows whose data others send, and of which something came in the last seconds."""
        since = self._shared.clock.now() - timedelta(seconds=TAKING_IN_S)
        with self._shared.store.snapshot() as tx:
            flows = [tx.flows.get(flow_id) for flow_id in tx.progress.changed_since(since, limit)]
            ids = [flow.id for flow in flows if not flow.moves_bytes]
            progress, levels = tx.progress.get_many(ids), tx.progress.levels(ids)
        return [
            FlowView(
                flow=flow,
                progress=progress.get(flow.id),
                verification=levels.get(flow.id, Verification.NONE),
            )
            for flow in flows
            if not flow.moves_bytes
        ]

    def get(self, any_id: str) -> DataFlow:
        """Return one flow."""
        with self._shared.store.snapshot() as tx:
            return tx.flows.resolve(any_id, self._purview)

    def view(self, any_id: str) -> FlowView:
        """Return one flow and how far it is."""
        with self._shared.store.snapshot() as tx:
            flow = tx.flows.resolve(any_id, self._purview)
            level = tx.progress.levels([flow.id]).get(flow.id, Verification.NONE)
            return FlowView(flow=flow, progress=tx.progress.get(flow.id), verification=level)

    def objects(
        self, any_id: str, *, after: int = 0, limit: int = 100, state: ObjectState | None = None
    ) -> Sequence[ObjectRow]:
        """Return a page of a flow's objects, by ordinal."""
        flow = self.get(any_id)
        return self._shared.store.ledger.objects(str(flow.id), after_ordinal=after, limit=limit, state=state)

    def events(self, any_id: str, *, after: int = 0, limit: int = 100) -> Sequence[FlowEvent]:
        """Return a page of a flow's events, oldest first."""
        with self._shared.store.snapshot() as tx:
            return tx.events.list(tx.flows.resolve(any_id, self._purview).id, after, limit)

    def events_since(self, after: int, limit: int = 100) -> tuple[Sequence[FlowEvent], int]:
        """Return events of all flows that are newer than ``after``, oldest first, and where to go on."""
        with self._shared.store.snapshot() as tx:
            found = tx.events.since(after, limit, self._purview)
            # Also behind those of others: they are not looked through again and again.
            return found, found[-1].id if len(found) == limit else max(after, tx.events.last_id())

    def last_event_id(self) -> int:
        """Return the id of the newest event: where a new listener begins."""
        with self._shared.store.snapshot() as tx:
            return tx.events.last_id()

    def pause(self, any_id: str, reason: str | None = None, *, actor: str = OPERATOR) -> DataFlow:
        """Hold the bytes of a flow; its DPS state does not change, and no control plane's verb lifts it.

        Raises:
            ConflictError: The flow is over, or this side moves none of its bytes.
        """

        def decide(tx: Transaction, flow: DataFlow) -> DataFlow:
            if flow.run is Run.HELD:
                return flow
            _refuse_if_nothing_to_do(flow)
            tx.events.add(flow.id, "paused", reason or "held by the operator", actor=actor)
            return replace(flow, run=Run.HELD)

        done = self._changed(any_id, decide)
        self._executor.stop(done.id, timeout_s=self._shared.policy.stop_wait_s)
        return done

    def unpause(self, any_id: str, *, actor: str = OPERATOR) -> DataFlow:
        """Let a held flow go on, as far as its DPS state lets it.

        Raises:
            ConflictError: It is not held.
        """

        def decide(tx: Transaction, flow: DataFlow) -> DataFlow:
            if flow.run in {Run.QUEUED, Run.RUNNING}:
                return flow
            if flow.run is not Run.HELD:
                raise ConflictError(f"flow {flow.data_flow_id} is not paused")
            tx.events.add(flow.id, "unpaused", "released by the operator", actor=actor)
            return replace(flow, run=Run.QUEUED if _has_work(flow) else Run.IDLE)

        return self._submitted(self._changed(any_id, decide))

    def retry(self, any_id: str, *, actor: str = OPERATOR) -> DataFlow:
        """Try a failed flow again, from the ledger: what is at the destination is not moved again.

        Raises:
            ConflictError: It has not failed, or is over.
        """

        def decide(tx: Transaction, flow: DataFlow) -> DataFlow:
            if flow.run in {Run.QUEUED, Run.RUNNING}:
                return flow
            if flow.run is not Run.FAILED or flow.state.is_final:
                raise ConflictError(f"flow {flow.data_flow_id} has not failed, or is over")
            tx.events.add(flow.id, "retry", "asked for by the operator", actor=actor)
            run = Run.QUEUED if _has_work(flow) else Run.IDLE
            return replace(flow, run=run, error=None, error_kind=None)

        return self._submitted(self._changed(any_id, decide))

    def terminate(self, any_id: str, reason: str | None = None, *, actor: str = OPERATOR) -> DataFlow:
        """End a flow now, and report it as ``errored``, for DPS has no other word for it.

        Raises:
            TransitionError: It is completed.
        """
        why = reason or "terminated by the operator"

        def decide(tx: Transaction, flow: DataFlow) -> DataFlow:
            if flow.state is State.TERMINATED:
                return flow
            after = terminated(flow, why)
            tx.outbox.void(flow.id)
            tx.outbox.add(after, "errored", error=why)
            tx.events.add(flow.id, after.state.value, why, actor=actor)
            return after

        flow = self._changed(any_id, decide)
        self._shared.schedule.forget(flow.id)
        self._executor.stop(flow.id, timeout_s=self._shared.policy.terminate_wait_s)
        self._shared.store.ledger.abandon_all(str(flow.id))
        self._shared.revoke(flow)
        return flow

    def data_address(
        self, any_id: str, *, control_plane_id: str | None = None, actor: str = OPERATOR
    ) -> CurrentAddress:
        """Return where and how a flow's data can be read now, and note who asked.

        Raises:
            DataFerryError: As ``DataAddresses.read``.
        """
        return self._addresses.read(any_id, control_plane_id=control_plane_id, actor=actor)

    def copy_to(self, any_id: str, sink: str, *, actor: str = OPERATOR) -> DataFlow:
        """Have a flow that copies nothing copy to a place of ours after all; it begins when it is STARTED.

        Args:
            any_id: Whose.
            sink: ``location:path``.
            actor: Who wants it.

        Raises:
            InputError: The place is malformed, or in no location of ours.
            ConflictError: The flow copies already, to another place, or is none that could, or is over.
        """
        self._shared.catalogue.locations.check_ref(sink)
        self._shared.resolver.at_ref(sink, self.get(any_id).participant_context_id)

        def decide(tx: Transaction, flow: DataFlow) -> DataFlow:
            if flow.sink_ref == sink and flow.landing is Landing.COPY:
                return flow
            if flow.landing is not Landing.NONE or flow.state.is_final:
                raise ConflictError(f"flow {flow.data_flow_id} is over, or has its destination already")
            tx.events.add(flow.id, "destination", f"it is copied to {sink}", actor=actor)
            return queued_if_it_should_run(replace(flow, landing=Landing.COPY, sink_ref=sink))

        return self._submitted(self._changed(any_id, decide))

    def outbox(
        self, any_id: str | None = None, *, state: OutboxState | None = None, limit: int = 100
    ) -> Sequence[OutboxMessage]:
        """Return callbacks, of one flow or all."""
        with self._shared.store.snapshot() as tx:
            flow_id = None if any_id is None else tx.flows.resolve(any_id, self._purview).id
            return tx.outbox.list(flow_id, state, limit, self._purview)

    def retry_callback(self, message_id: str) -> OutboxMessage:
        """Send a dead letter again.

        Raises:
            NotFoundError: There is no such message.
            ConflictError: It is not dead.
        """
        with self._shared.store.transaction() as tx:
            flow = tx.flows.get(tx.outbox.get(message_id).flow_id)
            if not self._purview.has(flow.control_plane_id, flow.participant_context_id):
                raise NotFoundError(f"there is no callback {message_id!r}")
            return tx.outbox.retry(message_id)

    def _changed(self, any_id: str, decide: Callable[[Transaction, DataFlow], DataFlow]) -> DataFlow:
        """Find the flow once, by whatever id, and change it."""
        return change(self._shared.store, by_id(self.get(any_id).id), decide).after

    def _submitted(self, flow: DataFlow) -> DataFlow:
        if flow.run is Run.QUEUED:
            self._shared.schedule.forget(flow.id)
            self._executor.submit(flow.id)
        return flow


def _has_work(flow: DataFlow) -> bool:
    """Return whether an attempt has something to do: bytes to move, or a preparation to end."""
    return wants_run(flow) or flow.state in {State.PREPARING, State.STARTING}


def _refuse_if_nothing_to_do(flow: DataFlow) -> None:
    """Refuse to hold what does not move."""
    if flow.state.is_final:
        raise ConflictError(f"flow {flow.data_flow_id} is over")
    if flow.landing is Landing.NONE:
        raise ConflictError(f"flow {flow.data_flow_id}: applications read its data; nothing is moved here")
    if not flow.moves_bytes:
        raise ConflictError(f"flow {flow.data_flow_id}: the other side moves the bytes")
