"""The control plane's verbs on data flows.

Source: Data Plane Signaling, "Data Plane Endpoint".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dataferry.domain.address import DataAddress
from dataferry.domain.dataflow import SATISFIED, DataFlow, Event, Role, Run, State
from dataferry.domain.errors import AddressError, ConflictError, TransitionError
from dataferry.domain.execution import Executor
from dataferry.domain.location import Landing
from dataferry.flows import gateway_tokens, ingest_completion
from dataferry.flows.acceptance import Acceptance, first_answer
from dataferry.flows.messages import Answer, Caller, FlowRequest
from dataferry.flows.orchestration.awaited import AwaitedFlows
from dataferry.flows.shared import Shared
from dataferry.flows.writing import (
    Change,
    change,
    knows_source,
    queued_if_it_should_run,
    terminated,
    wants_run,
)
from dataferry.store.store import Transaction


class Signaling:
    """What a control plane may ask of its data flows; everything is looked up in the caller's scope.

    Args:
        shared: The parts of this data plane.
        executor: Runs and stops attempts.
        awaited: Knows the flows that the orchestrator waits for; None: it waits for none.
    """

    def __init__(self, shared: Shared, executor: Executor, awaited: AwaitedFlows | None = None) -> None:
        self._shared = shared
        self._executor = executor
        known = awaited or AwaitedFlows(shared.store, shared.clock)
        self._acceptance = Acceptance(shared, executor, known)

    def prepare(self, caller: Caller, request: FlowRequest) -> Answer:
        """Make a consumer's flow; for push the answer has the address to send to."""
        return self._acceptance.take(caller, request, Role.CONSUMER)

    def start(self, caller: Caller, request: FlowRequest) -> Answer:
        """Make a provider's flow; for pull the answer has the address to fetch from."""
        return self._acceptance.take(caller, request, Role.PROVIDER)

    def status(self, caller: Caller, any_id: str) -> Answer:
        """Return a flow as it is; no address, for that was handed out once.

        Raises:
            NotFoundError: There is none in the caller's scope.
        """
        with self._shared.store.snapshot() as tx:
            flow = _found(caller, any_id)(tx)
        return Answer(flow=flow, later=first_answer(flow).later)

    def started(self, caller: Caller, any_id: str, data_address: DataAddress | None) -> Answer:
        """The provider has started: the consumer of a pull may fetch now, that of a push only takes note.

        An address that can't be reached is not refused here: the run meets it, and retries.

        Raises:
            TransitionError: This side is the provider, or the state does not allow it.
            AddressError: The address is malformed.
            NotFoundError: There is no such flow.

        Source: Data Plane Signaling, "Started Notification".
        """

        def decide(tx: Transaction, flow: DataFlow) -> DataFlow:
            if flow.role is Role.PROVIDER:
                raise TransitionError("started is for consumers; this flow is a provider's")
            address = data_address if flow.takes_address else None
            self._check_address(flow, address)
            if flow.state in SATISFIED[Event.STARTED]:
                return self._with_address(tx, flow, address)
            after = flow.after(Event.STARTED, incoming_address=address or flow.incoming_address)
            self._shared.renewals.note(tx, after)
            tx.events.add(flow.id, after.state.value, _started_reason(after), actor=flow.control_plane_id)
            return queued_if_it_should_run(after)

        return self._answer(self._changed(caller, any_id, decide))

    def _check_address(self, flow: DataFlow, address: DataAddress | None) -> None:
        """Refuse an address that is malformed, or not what the landing zone takes.

        Source: Data Plane Signaling, "HTTP Transfer Profile", section "Token Renewal": it may be there.
        """
        if address is None:
            return
        self._shared.resolver.at_address(flow.profile, address)
        if self._shared.resolver.wants_renewal(flow) and self._shared.renewals.offer(address) is None:
            raise AddressError(
                "this landing zone takes only addresses whose token can be renewed: refreshToken,"
                " expiresIn in seconds, and an https refreshEndpoint"
            )

    def _with_address(self, tx: Transaction, flow: DataFlow, address: DataAddress | None) -> DataFlow:
        """A repeated notification may bring the address, or a fresh one."""
        if address is None or address == flow.incoming_address:
            return flow
        tx.events.add(
            flow.id, "address", "the control plane sent a new data address", actor=flow.control_plane_id
        )
        after = replace(flow, incoming_address=address)
        self._shared.renewals.note(tx, after)
        return queued_if_it_should_run(after)

    def suspend(self, caller: Caller, any_id: str, reason: str | None = None) -> Answer:
        """Stop the bytes, then answer; what was moved stays, and resume goes on from there.

        Raises:
            TransitionError: The state does not allow it.
            NotFoundError: There is no such flow.
        """

        def decide(tx: Transaction, flow: DataFlow) -> DataFlow:
            if flow.state in SATISFIED[Event.SUSPEND]:
                return flow
            stopped = flow.run in {Run.QUEUED, Run.RUNNING}
            after = flow.after(Event.SUSPEND, reason=reason, run=Run.IDLE if stopped else flow.run)
            tx.events.add(flow.id, after.state.value, reason or "suspended", actor=flow.control_plane_id)
            return after

        done = self._changed(caller, any_id, decide)
        self._stop(done.after, self._shared.policy.stop_wait_s)
        if done.changed:
            self._shared.revoke(done.after)
        return Answer(flow=done.after)

    def resume(self, caller: Caller, any_id: str, data_address: DataAddress | None = None) -> Answer:
        """Go on. The side that owns the address answers with a fresh one; the mover takes one that is sent.

        A flow that is STARTED but whose run failed is tried again from the ledger. An operator's hold stays.

        Raises:
            TransitionError: The state does not allow it.
            AddressError: The address is malformed.
            NotFoundError: There is no such flow.

        Source: Data Plane Signaling, "Data Flow Suspension/Resumption".
        """
        with self._shared.store.snapshot() as tx:
            seen = _found(caller, any_id)(tx)
        fresh = self._fresh_grant(seen)

        def decide(tx: Transaction, flow: DataFlow) -> DataFlow:
            address = data_address if flow.takes_address else None
            self._check_address(flow, address)
            known = replace(
                flow,
                incoming_address=address or flow.incoming_address,
                outgoing_address=fresh or flow.outgoing_address,
            )
            gateway_tokens.record(tx, known, self._shared.clock.now())
            self._shared.renewals.note(tx, known)
            if fresh is not None:
                self._shared.note_grant(tx, known)
            if flow.state in SATISFIED[Event.RESUME]:
                again = queued_if_it_should_run(known)
                return flow if again == flow else again
            after = queued_if_it_should_run(known.after(Event.RESUME, reason=None))
            why = "resumed; the operator's hold stays" if after.run is Run.HELD else "resumed"
            tx.events.add(flow.id, after.state.value, why, actor=flow.control_plane_id)
            return after

        return self._answer(self._changed(caller, any_id, decide), with_address=True)

    def _fresh_grant(self, flow: DataFlow) -> DataAddress | None:
        """Grant anew where this side owns the address, if the flow was suspended or the grant has ended.

        The other side's run may have failed of that: then a resume without a suspend is to help too.
        """
        until = self._shared.preparations.granted_until(flow)
        ended = flow.state is State.STARTED and until is not None and until <= self._shared.clock.now()
        if not flow.owns_address or not (flow.state is State.SUSPENDED or ended):
            return None
        work = self._shared.preparations.begin_grant(flow)
        try:
            return work.result(timeout=self._shared.policy.duplicate_wait_s)
        except TimeoutError:
            work.cancel()
            raise ConflictError("a fresh data address could not be made in time") from None

    def terminate(self, caller: Caller, any_id: str, reason: str | None = None) -> Answer:
        """End the flow now: no more bytes, no more callbacks; what was begun is cleaned up later.

        Raises:
            TransitionError: It is completed.
            NotFoundError: There is no such flow.
        """

        def decide(tx: Transaction, flow: DataFlow) -> DataFlow:
            if flow.state in SATISFIED[Event.TERMINATE]:
                return flow
            after = terminated(flow, reason)
            tx.outbox.void(flow.id)
            tx.events.add(flow.id, after.state.value, reason or "terminated", actor=flow.control_plane_id)
            return after

        done = self._changed(caller, any_id, decide)
        self._shared.schedule.forget(done.after.id)
        if done.changed:
            self._stop(done.after, self._shared.policy.terminate_wait_s)
            self._shared.store.ledger.abandon_all(str(done.after.id))
            self._shared.revoke(done.after)
        return Answer(flow=done.after)

    def completed(self, caller: Caller, any_id: str) -> Answer:
        """The other side has moved everything.

        Raises:
            ConflictError: This side moves the bytes and is not done.
            TransitionError: The state does not allow it.
            NotFoundError: There is no such flow.

        Source: Data Plane Signaling, "Completed".
        """

        def decide(tx: Transaction, flow: DataFlow) -> DataFlow:
            if flow.state in SATISFIED[Event.COMPLETE]:
                return flow
            after = flow.after(Event.COMPLETE, run=Run.DONE)
            if flow.moves_bytes and (flow.role is Role.PROVIDER or knows_source(flow)):
                raise ConflictError("this side moves the bytes, and they are not all there yet")
            return ingest_completion.noted(tx, after)

        done = self._changed(caller, any_id, decide)
        if done.changed:
            # What was begun and never ended is cleaned up; of what is there nothing is open.
            self._shared.store.ledger.abandon_all(str(done.after.id))
            self._shared.revoke(done.after)
        return Answer(flow=done.after)

    def _changed(
        self, caller: Caller, any_id: str, decide: Callable[[Transaction, DataFlow], DataFlow]
    ) -> Change:
        return change(self._shared.store, _found(caller, any_id), decide)

    def _answer(self, done: Change, *, with_address: bool = False) -> Answer:
        """Wake the executor if there is work, and answer."""
        flow = done.after
        if flow.run is Run.QUEUED:
            if done.changed:
                self._shared.schedule.forget(flow.id)
            self._executor.submit(flow.id)
        address = flow.outgoing_address if with_address and flow.owns_address else None
        return Answer(flow=flow, data_address=address)

    def _stop(self, flow: DataFlow, timeout_s: float) -> None:
        """Stop the flow's threads; one that hangs is noted: it has no connection any more to write with."""
        if flow.moves_bytes and not self._executor.stop(flow.id, timeout_s=timeout_s):
            with self._shared.store.transaction() as tx:
                tx.events.add(
                    flow.id,
                    "stopping",
                    f"a worker did not end within {timeout_s:g} s; its connections are shut",
                )


def _found(caller: Caller, any_id: str) -> Callable[[Transaction], DataFlow]:
    """Find a flow in the caller's scope, by dataFlowId or processId."""
    return lambda tx: tx.flows.find(caller.control_plane_id, caller.participant_context_id, any_id)


def _started_reason(flow: DataFlow) -> str:
    """Say what follows from a started notification."""
    if not flow.takes_address:
        return "the provider has started to send"
    if flow.landing is Landing.NONE and flow.incoming_address is not None:
        return "the provider has started; applications may read the data"
    return "the provider has started" if wants_run(flow) else "the provider has started; no address came yet"
