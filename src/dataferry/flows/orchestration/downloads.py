"""An entry's download: a data flow of our own, which the same attempts run that run those of control planes.

So it has their ledger, their retries and their progress, goes on after a crash where it was, waits for its
turn and for bandwidth, and operators see it beside the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import islice
from uuid import UUID, uuid4

from dataferry.domain.address import DataAddress
from dataferry.domain.dataflow import OWN_FLOWS, DataFlow, Dialect, Role, Run, State
from dataferry.domain.errors import ConfigError, NotFoundError, ObjectNotFoundError, TransitionError
from dataferry.domain.execution import Executor
from dataferry.domain.ledger import ObjectRow
from dataferry.domain.location import Landing
from dataferry.domain.names import refuse_bytes
from dataferry.domain.objects import ObjectInfo
from dataferry.domain.orchestration import Entry, Standing, Step
from dataferry.domain.profile import Direction
from dataferry.flows.management import Management
from dataferry.flows.orchestration.naming import base_name, below, file_name
from dataferry.flows.orchestration.policy import OrchestratorPolicy
from dataferry.flows.orchestration.tokens import is_resigned, is_same_place
from dataferry.flows.resolution import Place
from dataferry.flows.shared import Shared
from dataferry.flows.writing import by_id, change
from dataferry.net.connections import Network
from dataferry.store.store import Transaction

ACTOR = "orchestrator"
# Of what was pushed past this service: ten requests to a store, made within a step.
MOST_LISTED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where an entry's data is stored.

    Attributes:
        ref: ``location:path``; ends with ``/`` where it is several objects.
        shown: The same, as clients are told it.
    """

    ref: str
    shown: str


class Downloads:
    """Makes, follows and ends the flows of entries.

    Args:
        shared: The parts of this data plane.
        executor: Runs attempts.
        management: Ends flows as an operator would.
        policy: Bounds.
        probing: How sources are looked up: less patient than transfers, since a step waits for it.
    """

    def __init__(
        self,
        shared: Shared,
        executor: Executor,
        management: Management,
        policy: OrchestratorPolicy,
        *,
        probing: Network,
    ) -> None:
        self._shared = shared
        self._executor = executor
        self._management = management
        self._policy = policy
        self._probing = probing

    def transfer_type(self, entry: Entry) -> str:
        """Return what an entry is transferred by."""
        return entry.ask.transfer_type or self._policy.transfer_type

    def direction(self, entry: Entry) -> Direction:
        """Return who moves an entry's bytes.

        Raises:
            ProfileError: Nobody here serves its transfer type any more.
        """
        return self._shared.resolver.profile(self.transfer_type(entry))[1].direction

    def begin(self, entry: Entry, address: DataAddress) -> Entry:
        """Have an entry's data downloaded from an address; returns once both rows are written.

        Args:
            entry: Whose transfer process is started.
            address: Of that process.

        Raises:
            DataFerryError: The address is none, or what it leads to can't be read.
        """
        transfer_type = self.transfer_type(entry)
        place = self._shared.resolver.at_address(transfer_type, address)
        target = self._target(entry, self._look_up(place))
        flow = self._flow(entry, address, target, transfer_type)
        with self._shared.store.transaction() as tx:
            flow = _named(tx, flow)
            tx.flows.insert(flow)
            self._shared.renewals.note(tx, flow)
            tx.events.add(flow.id, "orchestrated", f"for entry {entry.reference}")
            after = tx.orchestrations.save(
                entry.to(Step.DOWNLOADING, flow_id=flow.id, sink_ref=target.ref, storage_path=target.shown),
                expected=entry,
                standing=Standing.DATA_ADDRESS_RETRIEVED,
            )
        self._executor.submit(flow.id)
        return after

    def opened(self, entry: Entry) -> DataFlow | None:
        """Return the flow that the connector has opened here for an entry, that nobody copies; None if none.

        A landing zone of mode ``none`` keeps such flows: from EDC 0.19 on that is the only way in which a
        data address comes.
        """
        mine = (
            flow
            for flow in self._prepared(entry, Direction.PULL)
            if flow.landing is Landing.NONE and not flow.state.is_final
        )
        return next(mine, None)

    def pushed(self, entry: Entry) -> DataFlow | None:
        """Return the flow in which the connector has an entry's data pushed here; None if there is none."""
        return next(self._prepared(entry, Direction.PUSH), None)

    def _prepared(self, entry: Entry, direction: Direction) -> Iterator[DataFlow]:
        """Find what the connector has prepared here for an entry: id and process must both agree."""
        with self._shared.store.snapshot() as tx:
            found, _ = tx.flows.list(correlation_id=entry.reference, limit=10)
        return (
            flow
            for flow in found
            if flow.process_id == entry.transfer_id
            and flow.participant_context_id == self._policy.participant
            and flow.role is Role.CONSUMER
            and flow.direction is direction
        )

    def take(self, entry: Entry, flow: DataFlow) -> Entry:
        """Write down which flow brings an entry's data, and where that will be."""
        ref = flow.sink_ref or ""
        with self._shared.store.transaction() as tx:
            return tx.orchestrations.save(
                entry.to(
                    Step.DOWNLOADING, flow_id=flow.id, sink_ref=ref, storage_path=self._shown(entry, ref)
                ),
                expected=entry,
                standing=Standing.DATA_ADDRESS_RETRIEVED,
            )

    def claim(self, entry: Entry, flow: DataFlow) -> Entry:
        """Say where a flow goes that the connector has opened: it is downloaded once, and completed with DPS.

        Args:
            entry: Whose transfer process it belongs to.
            flow: With its data address.

        Raises:
            DataFerryError: What its address leads to can't be read.
        """
        if flow.incoming_address is None:
            raise ConfigError(f"flow {flow.data_flow_id} has no data address yet")
        place = self._shared.resolver.at_address(flow.profile, flow.incoming_address)
        target = self._target(entry, self._look_up(place))
        with self._shared.store.transaction() as tx:
            after = tx.orchestrations.save(
                entry.to(Step.DOWNLOADING, flow_id=flow.id, sink_ref=target.ref, storage_path=target.shown),
                expected=entry,
                standing=Standing.DATA_ADDRESS_RETRIEVED,
            )
        self.direct(after)
        return after

    def direct(self, entry: Entry) -> None:
        """Let a claimed flow copy to where its entry says. Safe to repeat: a crash may come before it."""
        self._management.copy_to(str(entry.flow_id), entry.sink_ref or "", actor=ACTOR)

    def _look_up(self, place: Place) -> ObjectInfo | None:
        """Ask the source what it is; None if it is several objects."""
        with closing(place.mechanism.open_source(place.endpoint, self._probing)) as source:
            if not source.is_single:
                return None
            return next(iter(source.list()), None)

    def _target(self, entry: Entry, info: ObjectInfo | None) -> Target:
        """Name what is stored."""
        transfer_id, now, tail = entry.transfer_id or "", self._shared.clock.now(), uuid4().hex[:6]
        if info is None:
            name = base_name(transfer_id, now, tail) + "/"
        else:
            kind = info.attributes.content_type if info.attributes else None
            name = file_name(transfer_id, now, tail, content_type=kind, source=info.name)
        asked = entry.ask.destination
        full = below(asked or self._policy.destination, name)
        if info is None and not full.endswith("/"):
            full += "/"
        self._shared.resolver.at_ref(full, self._policy.participant)
        return Target(ref=full, shown=self._shown(entry, full))

    def _shown(self, entry: Entry, ref: str) -> str:
        """Return how clients are told a place."""
        shown_as = None if entry.ask.destination else self._policy.shown_as
        return ref if shown_as is None else shown_as + ref.removeprefix(self._policy.destination)

    def _flow(self, entry: Entry, address: DataAddress, target: Target, transfer_type: str) -> DataFlow:
        mechanism, _ = self._shared.resolver.profile(transfer_type)
        now, ask = self._shared.clock.now(), entry.ask
        return DataFlow(
            id=uuid4(),
            data_flow_id=entry.transfer_id or "",
            control_plane_id=OWN_FLOWS,
            participant_context_id=self._policy.participant,
            process_id=entry.transfer_id or "",
            role=Role.CONSUMER,
            direction=Direction.PULL,
            profile=transfer_type,
            mechanism=mechanism.name,
            dialect=Dialect.HEAD,
            state=State.STARTED,
            run=Run.QUEUED,
            participant_id=self._policy.participant,
            counter_party_id=ask.provider_id,
            dataspace_context="",
            agreement_id=ask.contract_id or "",
            dataset_id=ask.asset_id or ask.contract_id or "",
            incoming_address=address,
            sink_ref=target.ref,
            created_at=now,
            updated_at=now,
        )

    def flow(self, entry: Entry) -> DataFlow | None:
        """Return an entry's flow as it is now; None if there is none."""
        if entry.flow_id is None:
            return None
        try:
            with self._shared.store.snapshot() as tx:
                return tx.flows.get(entry.flow_id)
        except NotFoundError:
            return None

    def bytes_moved(self, flow_id: UUID) -> int:
        """Return how many bytes of a flow have arrived."""
        with self._shared.store.snapshot() as tx:
            moment = tx.progress.get(flow_id)
        return 0 if moment is None else moment.bytes_transferred

    def leads_on(self, flow: DataFlow, address: DataAddress) -> bool:
        """Return whether a new address leads to what the flow is reading, or may do so.

        What was refused has failed, and is looked at anew: nothing that was read before is mixed with it.
        """
        resolver = self._shared.resolver
        return is_same_place(resolver, flow, address) or is_resigned(resolver, flow, address)

    def go_on(self, flow: DataFlow, address: DataAddress) -> None:
        """Let a flow that was refused go on from its ledger, with a new address."""

        def decide(tx: Transaction, row: DataFlow) -> DataFlow:
            if row.run is not Run.FAILED or row.state.is_final:
                return row
            tx.events.add(row.id, "retry", "a new data address was fetched, as the old one was refused")
            return replace(row, run=Run.QUEUED, incoming_address=address, error=None, error_kind=None)

        change(self._shared.store, by_id(flow.id), decide)
        self._shared.schedule.forget(flow.id)
        self._executor.submit(flow.id)

    def end(self, entry: Entry, reason: str) -> None:
        """End an entry's flow, if it has one that has not ended; what it left half is cleaned up."""
        flow = self.flow(entry) or self.pushed(entry)
        if flow is not None and not flow.state.is_final:
            # One that completes in this moment has ended too.
            with suppress(TransitionError):
                self._management.terminate(str(flow.id), reason, actor=ACTOR)

    def only_object(self, flow_id: UUID | None) -> ObjectRow | None:
        """Return what the ledger knows of a flow's only object; None if there are several."""
        if flow_id is None:
            return None
        rows = self._shared.store.ledger.objects(str(flow_id), limit=2)
        return rows[0] if len(rows) == 1 else None

    def listed(self, flow: DataFlow) -> tuple[Sequence[ObjectInfo], bool]:
        """Return the objects where a push went, and whether these are all; none if nothing is there.

        Raises:
            DataFerryError: The place can't be listed.
        """
        place = self._shared.resolver.at_ref(flow.sink_ref or "", flow.participant_context_id)
        try:
            with closing(place.mechanism.open_source(place.endpoint, self._probing)) as source:
                found = list(islice(source.list(), MOST_LISTED + 1))
                for info in found:
                    refuse_bytes(info.name)
        except ObjectNotFoundError:
            found = []
        return found[:MOST_LISTED], len(found) <= MOST_LISTED


def _named(tx: Transaction, flow: DataFlow) -> DataFlow:
    """Give a flow a process id of its own where another one has it: ids of two connectors may be equal."""
    if not tx.flows.data_flow_id_taken(OWN_FLOWS, flow.participant_context_id, flow.process_id):
        return flow
    process_id = f"{flow.process_id}/{uuid4().hex[:8]}"
    return replace(flow, process_id=process_id, data_flow_id=process_id)
