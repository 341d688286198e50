"""Rows of data flows. Every write names the state and the version it expects; zero rows is an error."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, String, and_, bindparam, func, insert, or_, select, type_coerce, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import ColumnElement

from dataferry.domain.address import DataAddress
from dataferry.domain.clock import Clock
from dataferry.domain.dataflow import FINAL_STATES, DataFlow, Dialect, Role, Run, State
from dataferry.domain.errors import ConflictError, DuplicateProcessError, NotFoundError, StaleVersionError
from dataferry.domain.location import Landing
from dataferry.domain.profile import Direction
from dataferry.domain.purview import EVERYTHING, Purview
from dataferry.secrets.redaction import SecretValues, secrets_in
from dataferry.secrets.sealing import Sealer
from dataferry.store import pages
from dataferry.store.schema import flows, objects
from dataferry.store.transitions import note_flow
from dataferry.store.within import within

# Methods named `list` hide the type from annotations in their classes.
DataFlows = list[DataFlow]
Ids = list[UUID]

# Columns that stand in the row as they stand in the flow.
_PLAIN = (
    "id", "data_flow_id", "control_plane_id", "participant_context_id", "process_id", "profile", "mechanism",
    "version", "epoch", "participant_id", "counter_party_id", "dataspace_context", "agreement_id",
    "dataset_id", "callback_address", "source_ref", "sink_ref", "correlation_id", "request_digest", "reason",
    "error_kind", "error_of_sink", "error", "created_at", "updated_at",
)  # fmt: skip
# What identifies a flow: never changed by a save.
_FIXED = ("id", "control_plane_id", "participant_context_id", "process_id", "created_at", "epoch")

# Statements of every attempt are made once: to put one together takes longer than to run it.
_INSERT = insert(flows)
_BY_ID = select(flows).where(flows.c.id == bindparam("of"))
_SAVE = update(flows).where(
    flows.c.id == bindparam("of"),
    flows.c.version == bindparam("expected_version"),
    flows.c.state == bindparam("expected_state"),
)
_CLAIM = (
    update(flows)
    .where(flows.c.id == bindparam("of"), flows.c.run == Run.QUEUED.value)
    .values(
        run=Run.RUNNING.value,
        epoch=flows.c.epoch + 1,
        version=flows.c.version + 1,
        updated_at=bindparam("now"),
    )
    .returning(*flows.c)
)
_STATE = select(flows.c.state).where(flows.c.id == bindparam("of"))
_VERSION = select(flows.c.version).where(flows.c.id == bindparam("of"))
_OWNER = select(flows.c.control_plane_id).where(flows.c.id == bindparam("of"))
_SAME_SCOPE = and_(
    flows.c.control_plane_id == bindparam("plane"), flows.c.participant_context_id == bindparam("participant")
)
_TAKEN = (
    select(flows.c.id)
    .where(_SAME_SCOPE, or_(flows.c.data_flow_id == bindparam("any"), flows.c.process_id == bindparam("any")))
    .limit(1)
)


class FlowRepository:
    """Data flows, sealed where they hold credentials."""

    def __init__(self, connection: Connection, sealer: Sealer, clock: Clock, secrets: SecretValues) -> None:
        self._connection = connection
        self._secrets = secrets
        self._sealer = sealer
        self._clock = clock

    def insert(self, flow: DataFlow) -> None:
        """Add a flow.

        Raises:
            DuplicateProcessError: Its process has a flow in that scope already.
            ConflictError: Its ``data_flow_id`` is taken in that scope.
        """
        try:
            with self._connection.begin_nested():
                self._connection.execute(_INSERT, self._row(flow))
        except IntegrityError as exc:
            scope = (flow.control_plane_id, flow.participant_context_id)
            if self.by_process(*scope, flow.process_id) is not None:
                raise DuplicateProcessError(f"process {flow.process_id!r} has a data flow already") from exc
            raise ConflictError(f"data flow id {flow.data_flow_id!r} is taken") from exc
        note_flow(self._connection, flow)

    def get(self, id: UUID) -> DataFlow:
        """Return the flow with this internal id.

        Raises:
            NotFoundError: There is none.
        """
        row = self._connection.execute(_BY_ID, {"of": id}).mappings().one_or_none()
        if row is None:
            raise NotFoundError(f"there is no data flow {str(id)!r}")
        return self._flow(row)

    def state(self, id: UUID) -> State | None:
        """Return a flow's state, with nothing else of it; None if there is no such flow."""
        found = self._connection.execute(_STATE, {"of": id}).scalar_one_or_none()
        return None if found is None else State(found)

    def version(self, id: UUID) -> int:
        """Return a flow's version, with nothing else of it: every change of its row is a new one.

        Raises:
            NotFoundError: There is no such flow.
        """
        found: int | None = self._connection.execute(_VERSION, {"of": id}).scalar_one_or_none()
        if found is None:
            raise NotFoundError(f"there is no data flow {str(id)!r}")
        return found

    def owner(self, id: UUID) -> str | None:
        """Return whose a flow is, by its control plane's id; None if there is no such flow."""
        owner: str | None = self._connection.execute(_OWNER, {"of": id}).scalar_one_or_none()
        return owner

    def names(self, ids: Collection[UUID]) -> dict[UUID, str]:
        """Return what control planes call those of these flows that are there."""
        query = select(flows.c.id, flows.c.data_flow_id).where(flows.c.id.in_(list(ids)))
        return {row.id: row.data_flow_id for row in self._connection.execute(query)}

    def exists(self, id: UUID) -> bool:
        """Return whether there is a flow with this internal id."""
        return self._connection.execute(select(flows.c.id).where(flows.c.id == id)).first() is not None

    def find(self, control_plane_id: str, participant_context_id: str, any_id: str) -> DataFlow:
        """Return the flow that a control plane calls ``any_id``: its dataFlowId, or else its processId.

        Raises:
            NotFoundError: There is none in that scope.
        """
        scope = _scope(control_plane_id, participant_context_id)
        found = self._all(and_(scope, or_(flows.c.data_flow_id == any_id, flows.c.process_id == any_id)))
        if not found:
            raise NotFoundError(f"there is no data flow {any_id!r}")
        # One flow's dataFlowId may be another's processId: the dataFlowId is what we gave out, so it comes
        # first.
        return min(found, key=lambda flow: flow.data_flow_id != any_id)

    def by_process(
        self, control_plane_id: str, participant_context_id: str, process_id: str
    ) -> DataFlow | None:
        """Return the flow of a process in a scope, None if there is none."""
        found = self._all(
            and_(_scope(control_plane_id, participant_context_id), flows.c.process_id == process_id)
        )
        return found[0] if found else None

    def data_flow_id_taken(
        self, control_plane_id: str, participant_context_id: str, data_flow_id: str
    ) -> bool:
        """Return True if a flow of that scope is addressed by this id already."""
        values = {"plane": control_plane_id, "participant": participant_context_id, "any": data_flow_id}
        return self._connection.execute(_TAKEN, values).first() is not None

    def save(self, flow: DataFlow, *, expected: DataFlow) -> DataFlow:
        """Write a flow over the one it was made from.

        Ids, the epoch and the time of creation stay as they are: ``claim`` alone moves the epoch.

        Args:
            flow: What it shall be; its ``version`` and ``updated_at`` do not matter.
            expected: As it was read.

        Returns:
            The flow as it is now stored, with its new version.

        Raises:
            StaleVersionError: Somebody else wrote it since it was read: read again, and decide again.
        """
        saved = replace(
            flow, version=expected.version + 1, epoch=expected.epoch, updated_at=self._clock.now()
        )
        row = {name: value for name, value in self._row(saved).items() if name not in _FIXED}
        row |= {
            "of": expected.id,
            "expected_version": expected.version,
            "expected_state": expected.state.value,
        }
        if self._connection.execute(_SAVE, row).rowcount != 1:
            raise StaleVersionError(f"data flow {expected.data_flow_id!r} was changed by somebody else")
        note_flow(self._connection, saved, expected)
        return saved

    def claim(self, id: UUID) -> DataFlow | None:
        """Take a queued flow to run it: exactly one caller gets it, under a new epoch.

        Returns:
            The flow, running; None if it is not queued (any more).
        """
        values = {"of": id, "now": self._clock.now()}
        taken = self._connection.execute(_CLAIM, values).mappings().one_or_none()
        if taken is None:
            return None
        claimed = self._flow(taken)
        note_flow(self._connection, claimed)
        return claimed

    def requeue_running(self) -> Ids:
        """Queue what a process that is gone was running; for a start when nobody else uses the database.

        Returns:
            Internal ids, oldest first.
        """
        condition = flows.c.run == Run.RUNNING.value
        ids = self._ids(condition, limit=None)
        self._connection.execute(
            update(flows)
            .where(condition)
            .values(run=Run.QUEUED.value, version=flows.c.version + 1, updated_at=self._clock.now())
        )
        for id_ in ids:
            note_flow(self._connection, self.get(id_))
        return ids

    def ended_with_uploads(self) -> Ids:
        """Return flows that are over, with uploads or intents that nobody has handed to the clean-up yet."""
        begun = select(objects.c.transfer_id).where(objects.c.intent_at > "").distinct()
        over = [state.value for state in FINAL_STATES]
        query = select(flows.c.id).where(type_coerce(flows.c.id, String).in_(begun), flows.c.state.in_(over))
        return [UUID(str(row[0])) for row in self._connection.execute(query)]

    def queued(self, limit: int) -> Ids:
        """Return flows that should run and do not, oldest first."""
        return self._ids(flows.c.run == Run.QUEUED.value, limit=pages.bounded(limit))

    def list(
        self,
        *,
        after: str | None = None,
        limit: int = 50,
        state: State | None = None,
        run: Run | None = None,
        control_plane_id: str | None = None,
        correlation_id: str | None = None,
        purview: Purview = EVERYTHING,
    ) -> tuple[DataFlows, str | None]:
        """Return a page of flows, newest first, and the cursor of the next page.

        Args:
            after: The cursor that the page before came with.
            limit: Of flows in the page; bounded.
            state: Only those in this state.
            run: Only those whose run is this.
            control_plane_id: Only this control plane's.
            correlation_id: Only those that say that they belong to this.
            purview: Only those within it.

        Raises:
            InputError: ``after`` is no cursor of ours.
        """
        bound = pages.bounded(limit)
        query = select(flows).where(within(purview))
        query = query.order_by(flows.c.created_at.desc(), flows.c.id.desc()).limit(bound + 1)
        if after is not None:
            moment, last = pages.decode_flow(after)
            query = query.where(
                or_(flows.c.created_at < moment, and_(flows.c.created_at == moment, flows.c.id < last))
            )
        if state is not None:
            query = query.where(flows.c.state == state.value)
        if run is not None:
            query = query.where(flows.c.run == run.value)
        if control_plane_id is not None:
            query = query.where(flows.c.control_plane_id == control_plane_id)
        if correlation_id is not None:
            query = query.where(flows.c.correlation_id == correlation_id)
        found = [self._flow(row) for row in self._connection.execute(query).mappings()]
        page = found[:bound]
        more = len(found) > bound
        return page, pages.encode(page[-1].created_at, str(page[-1].id)) if more else None

    def resolve(
        self, any_id: str, purview: Purview = EVERYTHING, *, control_plane_id: str | None = None
    ) -> DataFlow:
        """Return the flow that an operator means by a uuid, a dataFlowId or a processId.

        Args:
            any_id: One of these.
            purview: Whose flows there are for that operator.
            control_plane_id: Only this control plane's flows are meant; None: in any scope.

        Raises:
            NotFoundError: There is none within the operator's purview.
            ConflictError: Several flows there go by that id; the message names their internal ids.
        """
        conditions: list[ColumnElement[bool]] = [flows.c.data_flow_id == any_id, flows.c.process_id == any_id]
        try:
            internal = UUID(any_id)
        except ValueError:
            pass
        else:
            conditions.append(flows.c.id == internal)
        condition = and_(or_(*conditions), within(purview))
        if control_plane_id is not None:
            condition = and_(condition, flows.c.control_plane_id == control_plane_id)
        found = self._all(condition)
        if not found:
            raise NotFoundError(f"there is no data flow {any_id!r}")
        exact = [flow for flow in found if str(flow.id) == any_id.lower()]
        if len(found) > 1 and not exact:
            names = ", ".join(str(flow.id) for flow in found[:5])
            raise ConflictError(f"{len(found)} data flows go by {any_id!r}; name one by its own id: {names}")
        return exact[0] if exact else found[0]

    def runs(self, ids: Collection[UUID]) -> dict[UUID, Run]:
        """Return how those of these flows that are there run."""
        query = select(flows.c.id, flows.c.run).where(flows.c.id.in_(list(ids)))
        return {id_: Run(run) for id_, run in self._connection.execute(query)}

    def counts(self) -> dict[Run, int]:
        """Return how many flows there are of each run state."""
        rows = self._connection.execute(select(flows.c.run, func.count()).group_by(flows.c.run))
        return {Run(run): count for run, count in rows}

    def _one(self, condition: ColumnElement[bool], *, named: str) -> DataFlow:
        """Return the only flow of a condition that at most one can meet."""
        row = self._connection.execute(select(flows).where(condition)).mappings().one_or_none()
        if row is None:
            raise NotFoundError(f"there is no data flow {named!r}")
        return self._flow(row)

    def _all(self, condition: ColumnElement[bool]) -> DataFlows:
        """Return all flows of a condition that few can meet."""
        query = select(flows).where(condition).order_by(flows.c.created_at).limit(pages.MAX_PAGE)
        return [self._flow(row) for row in self._connection.execute(query).mappings()]

    def _ids(self, condition: ColumnElement[bool], *, limit: int | None) -> Ids:
        """Return internal ids, oldest first."""
        query = select(flows.c.id).where(condition).order_by(flows.c.created_at, flows.c.id).limit(limit)
        return [found for (found,) in self._connection.execute(query)]

    def _row(self, flow: DataFlow) -> dict[str, Any]:
        """Write a flow as its row."""
        row: dict[str, Any] = {name: getattr(flow, name) for name in _PLAIN}
        row |= {
            "role": flow.role.value,
            "direction": flow.direction.value,
            "dialect": flow.dialect.value,
            "state": flow.state.value,
            "run": flow.run.value,
            "landing": flow.landing.value,
            "labels": list(flow.labels),
            "claims_sealed": self._seal(flow.id, "claims", flow.claims or None),
            "metadata_sealed": self._seal(flow.id, "metadata", flow.metadata or None),
            "incoming_address_sealed": self._seal_address(flow.id, "incoming_address", flow.incoming_address),
            "outgoing_address_sealed": self._seal_address(flow.id, "outgoing_address", flow.outgoing_address),
        }
        return row

    def _flow(self, row: Mapping[Any, Any]) -> DataFlow:
        """Read a row as a flow."""
        flow_id: UUID = row["id"]
        return DataFlow(
            **{name: row[name] for name in _PLAIN},
            role=Role(row["role"]),
            direction=Direction(row["direction"]),
            dialect=Dialect(row["dialect"]),
            state=State(row["state"]),
            run=Run(row["run"]),
            landing=Landing(row["landing"]),
            labels=tuple(row["labels"]),
            claims=self._open(flow_id, "claims", row["claims_sealed"]) or {},
            metadata=self._open(flow_id, "metadata", row["metadata_sealed"]) or {},
            incoming_address=self._open_address(flow_id, "incoming_address", row["incoming_address_sealed"]),
            outgoing_address=self._open_address(flow_id, "outgoing_address", row["outgoing_address_sealed"]),
        )

    def _seal(self, id: UUID, column: str, value: Any) -> str | None:
        """Seal a JSON value for its place; None stays None."""
        if value is None:
            return None
        self._secrets.remember(*secrets_in(value))
        return self._sealer.seal(json.dumps(value), purpose=f"flows.{column}:{id}")

    def _open(self, id: UUID, column: str, sealed: str | None) -> Any:
        """Open what ``_seal`` made."""
        if sealed is None:
            return None
        value = json.loads(self._sealer.open(sealed, purpose=f"flows.{column}:{id}"))
        self._secrets.remember(*secrets_in(value))
        return value

    def _seal_address(self, id: UUID, column: str, address: DataAddress | None) -> str | None:
        """Seal an address in its wire shape."""
        return self._seal(id, column, None if address is None else address.to_wire())

    def _open_address(self, id: UUID, column: str, sealed: str | None) -> DataAddress | None:
        """Open a sealed address."""
        wire = self._open(id, column, sealed)
        return None if wire is None else DataAddress.from_wire(wire)


def _scope(control_plane_id: str, participant_context_id: str) -> ColumnElement[bool]:
    """Whose flows a caller may see."""
    return and_(
        flows.c.control_plane_id == control_plane_id, flows.c.participant_context_id == participant_context_id
    )
