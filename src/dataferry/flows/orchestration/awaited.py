"""Which flows of a connector belong to entries of ours, and so go where these say, not to a landing zone."""

from __future__ import annotations

from uuid import uuid4

from dataferry.domain.clock import Clock
from dataferry.domain.dataflow import Role
from dataferry.domain.location import Landing
from dataferry.domain.orchestration import Entry
from dataferry.domain.profile import Direction
from dataferry.flows.messages import Caller, FlowRequest
from dataferry.flows.orchestration.naming import base_name, below
from dataferry.flows.orchestration.policy import OrchestratorPolicy
from dataferry.flows.resolution import Own
from dataferry.flows.transfer_options import correlation_of
from dataferry.store.store import Store


class AwaitedFlows:
    """Recognises what a connector prepares for an entry: the transfer request told it the entry's reference.

    Args:
        store: Where entries are.
        clock: Time.
        policy: Says where what is pushed goes; None where this service orchestrates nothing.
    """

    def __init__(self, store: Store, clock: Clock, policy: OrchestratorPolicy | None = None) -> None:
        self._store = store
        self._clock = clock
        self._policy = policy

    def own(self, caller: Caller, request: FlowRequest, role: Role, direction: Direction) -> Own | None:
        """Return where the flow of an entry goes; None if it is no entry's that waits for one.

        What is pulled waits until its entry says where to. What is pushed needs a place at once, and gets one
        of its own: nothing that is there can be overwritten by a provider, unless the entry names a file.

        Raises:
            InputError: Its correlation id is none.
        """
        reference = correlation_of(request.metadata)
        if reference is None or role is not Role.CONSUMER:
            return None
        with self._store.snapshot() as tx:
            entry = tx.orchestrations.awaited(reference)
        if entry is None:
            return None
        if direction is Direction.PULL:
            return Own(landing=Landing.NONE)
        return self._pushed(caller, request, entry)

    def _pushed(self, caller: Caller, request: FlowRequest, entry: Entry) -> Own | None:
        """Name the place of a push. Another participant's connector gets none: it does not fetch for us."""
        policy = self._policy
        if policy is None or caller.participant_context_id != policy.participant:
            return None
        name = base_name(request.process_id, self._clock.now(), uuid4().hex[:6])
        return Own(sink_ref=below(entry.ask.destination or policy.destination, f"{name}/"))
