"""Prepare and start: how a data flow comes to be.

The work that may take long (are both ends there, what is granted) runs beside the verb. If it is not done
within the wait, the row is written in PREPARING or STARTING, the answer is 202, and an attempt does the work
durably. What turns out to be wrong for good while the caller still waits is refused, and nothing is left.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, replace
from uuid import uuid4

from dataferry.domain.dataflow import DataFlow, Event, Role, Run, State
from dataferry.domain.errors import DataFerryError, DuplicateProcessError, InputError
from dataferry.domain.execution import Executor
from dataferry.domain.location import ControlPlane, Retries
from dataferry.domain.profile import Direction
from dataferry.flows import gateway_tokens
from dataferry.flows.messages import Answer, Caller, FlowRequest
from dataferry.flows.orchestration.awaited import AwaitedFlows
from dataferry.flows.preparation import Prepared
from dataferry.flows.resolution import Own
from dataferry.flows.shared import Shared
from dataferry.flows.transfer_options import AskedOptions, correlation_of
from dataferry.flows.turns import Turns
from dataferry.flows.writing import wants_run


@dataclass(frozen=True, slots=True)
class _Later:
    """Preparation is not done yet: it goes on without the caller."""

    why: str


class Acceptance:
    """Takes in new flows.

    Args:
        shared: The parts of this data plane.
        executor: Runs and stops attempts.
        awaited: Knows the flows that the orchestrator waits for.
    """

    def __init__(self, shared: Shared, executor: Executor, awaited: AwaitedFlows) -> None:
        self._shared = shared
        self._executor = executor
        self._awaited = awaited
        self._turns = Turns()

    def take(self, caller: Caller, request: FlowRequest, role: Role) -> Answer:
        """Make a flow of a message, or recognise the message as a repetition.

        Raises:
            DuplicateProcessError: The process has a flow already, and this is not its message again.
            NotFoundError, InputError, ...: It can't be; nothing is left behind.
        """
        plane = self._shared.catalogue.control_planes.get(caller.control_plane_id)
        scope = (caller.control_plane_id, caller.participant_context_id, request.process_id)
        with self._turns.of(*scope, timeout_s=self._shared.policy.duplicate_wait_s):
            present = self._present(caller, request)
            if present is not None:
                return repeated(present, request, plane)
            draft, own = self._draft(caller, request, role, plane)
            outcome = self._prepare(draft, own)
            flow = _first_state(draft, outcome)
            why = outcome.why if isinstance(outcome, _Later) else None
            try:
                flow = self._insert(flow, why)
            except DuplicateProcessError:
                present = self._present(caller, request)
                if present is None:
                    raise
                return repeated(present, request, plane)
        if flow.run is Run.QUEUED:
            self._executor.submit(flow.id)
        return first_answer(flow)

    def _present(self, caller: Caller, request: FlowRequest) -> DataFlow | None:
        with self._shared.store.snapshot() as tx:
            return tx.flows.by_process(
                caller.control_plane_id, caller.participant_context_id, request.process_id
            )

    def _draft(
        self, caller: Caller, request: FlowRequest, role: Role, plane: ControlPlane
    ) -> tuple[DataFlow, Own]:
        """Check what can be checked without asking anybody, and write it down as a flow.

        Source: Data Plane Signaling, "Start": for pull an address with the start is an error; "Push Protocol
        Messaging": for push it says where to send.
        """
        mechanism, profile = self._shared.resolver.profile(request.profile)
        address = request.data_address if role is Role.PROVIDER else None
        if role is Role.PROVIDER and profile.direction is Direction.PULL and address is not None:
            raise InputError("a start of a pull transfer must not have a dataAddress: this side hands it out")
        AskedOptions.of(request.metadata)
        own = self._awaited.own(caller, request, role, profile.direction)
        if own is None:
            own = self._shared.resolver.own(request, role, plane)
        now = self._shared.clock.now()
        draft = DataFlow(
            id=uuid4(),
            data_flow_id=request.process_id,
            control_plane_id=caller.control_plane_id,
            participant_context_id=caller.participant_context_id,
            process_id=request.process_id,
            role=role,
            direction=profile.direction,
            profile=request.profile,
            mechanism=mechanism.name,
            dialect=request.dialect,
            state=State.INITIALIZED,
            run=Run.IDLE,
            participant_id=request.participant_id,
            counter_party_id=request.counter_party_id,
            dataspace_context=request.dataspace_context,
            agreement_id=request.agreement_id,
            dataset_id=request.dataset_id,
            callback_address=request.callback_address,
            claims=request.claims,
            metadata=request.metadata,
            labels=request.labels,
            incoming_address=address,
            source_ref=own.source_ref,
            sink_ref=own.sink_ref,
            landing=own.landing,
            correlation_id=correlation_of(request.metadata),
            request_digest=request.digest,
            created_at=now,
            updated_at=now,
        )
        self._check_ends(draft)
        return draft, own

    def _check_ends(self, draft: DataFlow) -> None:
        """Refuse places that are malformed, and a push that nobody says where to send to."""
        if draft.owns_address:
            self._shared.resolver.granted(draft)
            return
        ends = self._shared.resolver.ends(draft)
        if draft.role is Role.PROVIDER and ends.sink is None:
            raise InputError("a start of a push transfer needs a dataAddress that says where to send to")

    def _prepare(self, draft: DataFlow, own: Own) -> Prepared | _Later:
        """Prepare within the wait; what is wrong for good is raised, what may pass is left for later."""
        wait_s = self._shared.policy.prepare_wait_s if own.prepare_wait_s is None else own.prepare_wait_s
        if wait_s <= 0:
            return _Later(why="preparation is asynchronous here by configuration")
        work: Future[Prepared] = self._shared.preparations.begin(draft)
        try:
            return work.result(timeout=wait_s)
        except TimeoutError:
            work.cancel()
            return _Later(why=f"preparation takes longer than {wait_s:g} s")
        except DataFerryError as exc:
            if not exc.is_temporary:
                raise
            if draft.role is Role.PROVIDER and draft.moves_bytes:
                # The run meets the same fault, and retries it; the control plane need not wait for that.
                return Prepared()
            return _Later(why=str(exc))

    def _insert(self, flow: DataFlow, why_later: str | None) -> DataFlow:
        """Write the new row, and its first event, in one transaction."""
        with self._shared.store.transaction() as tx:
            taken = tx.flows.data_flow_id_taken(
                flow.control_plane_id, flow.participant_context_id, flow.data_flow_id
            )
            named = replace(flow, data_flow_id=str(uuid4())) if taken else flow
            tx.flows.insert(named)
            gateway_tokens.record(tx, named, self._shared.clock.now())
            verb = "prepare" if flow.role is Role.CONSUMER else "start"
            tx.events.add(
                flow.id, flow.state.value, why_later or f"{verb} was accepted", actor=flow.control_plane_id
            )
            self._shared.note_grant(tx, named)
        return named


def _first_state(draft: DataFlow, outcome: Prepared | _Later) -> DataFlow:
    """Return the draft in the state that the answer will have."""
    consumer = draft.role is Role.CONSUMER
    if isinstance(outcome, _Later):
        return draft.after(Event.PREPARE_LATER if consumer else Event.START_LATER, run=Run.QUEUED)
    ready = draft.after(Event.PREPARE if consumer else Event.START, outgoing_address=outcome.address)
    return replace(ready, run=Run.QUEUED) if wants_run(ready) else ready


def first_answer(flow: DataFlow) -> Answer:
    """Return the answer to a prepare or start: with the address where this side hands it out."""
    later = flow.state in {State.PREPARING, State.STARTING}
    address = None if later or flow.state.is_final else flow.outgoing_address
    return Answer(flow=flow, data_address=address if flow.owns_address else None, later=later)


def repeated(flow: DataFlow, request: FlowRequest, plane: ControlPlane) -> Answer:
    """Answer a message for a process that has a flow.

    Source: Data Plane Signaling, "Start": a client error. EDC repeats with a new messageId when an answer got
    lost, and takes every refusal as the end: for such control planes the same content gets the same answer.

    Raises:
        DuplicateProcessError: The control plane is strict, or the content is another.
    """
    if plane.retries is Retries.REPLAY and flow.request_digest == request.digest:
        return first_answer(flow)
    raise DuplicateProcessError(f"a data flow exists already for process {request.process_id[:200]!r}")
