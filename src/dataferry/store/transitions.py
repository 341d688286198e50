"""Transitions: what becomes of flows and orchestrations, written in the transaction of the change itself.

Repositories write them, not use cases: so none can be forgotten, and what a rolled-back transaction would
have done is not among them. A reader has a durable place in their order, and goes on from it after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Select, bindparam, delete, func, insert, select, update

from dataferry.domain.dataflow import DataFlow, Role, Run, State
from dataferry.domain.orchestration import Orchestration, Standing
from dataferry.domain.profile import Direction
from dataferry.store import pages
from dataferry.store.records import FlowTransition, OrchestrationTransition, Transition
from dataferry.store.schema import flows, orchestrations, readers, transitions

MAX_TEXT_CHARS = 2_000
# Of a flow; a control plane may suspend and resume it as often as it likes.
MAX_TRANSITIONS = 1_000

_OF_FLOW = (
    "data_flow_id", "process_id", "control_plane_id", "participant_context_id", "counter_party_id",
    "agreement_id", "dataset_id", "correlation_id", "role", "direction",
)  # fmt: skip
_OF_ORCHESTRATION = ("entries", "saved", "failed", "cancelled")

# Built once: they run with nearly every write of a flow.
_INSERT = insert(transitions)
_SURPLUS = (
    select(transitions.c.sequence)
    .where(transitions.c.flow_id == bindparam("of_flow"))
    .order_by(transitions.c.sequence.desc())
    .offset(bindparam("most"))
    .limit(1)
)
_FORGET_OLDEST = delete(transitions).where(
    transitions.c.flow_id == bindparam("of_flow"), transitions.c.sequence <= _SURPLUS.scalar_subquery()
)


def note_flow(connection: Connection, flow: DataFlow, before: DataFlow | None = None) -> None:
    """Write a flow's transition, if its state or run is another than before; forget the oldest of very many.

    Args:
        connection: In the transaction that writes the flow.
        flow: As it is written.
        before: As it was; None: it is new, or known to be changed.
    """
    if before is not None and (before.state, before.run) == (flow.state, flow.run):
        return
    row = {
        "message_id": str(uuid4()),
        "flow_id": flow.id,
        "orchestration_id": None,
        "state": flow.state.value,
        "run": flow.run.value,
        "reason": _clipped(flow.reason),
        "error_kind": flow.error_kind,
        "error": _clipped(flow.error),
        "at": flow.updated_at,
    }
    connection.execute(_INSERT, row)
    # One that was written less often has no more of them.
    if flow.version >= MAX_TRANSITIONS:
        connection.execute(_FORGET_OLDEST, {"of_flow": flow.id, "most": MAX_TRANSITIONS})


def note_orchestration(
    connection: Connection, after: Orchestration, before: Orchestration | None = None
) -> None:
    """Write an orchestration's transition, if it stands elsewhere than before; it has few of them."""
    if before is None or before.standing is not after.standing:
        note_new_orchestrations(connection, [after])


def note_new_orchestrations(connection: Connection, made: Sequence[Orchestration]) -> None:
    """Write where orchestrations stand, all with one statement."""
    rows = [
        {
            "message_id": str(uuid4()),
            "flow_id": None,
            "orchestration_id": one.id,
            "state": one.standing.value,
            "run": None,
            "reason": None,
            "error_kind": None,
            "error": _clipped(one.error),
            "at": one.updated_at,
        }
        for one in made
    ]
    connection.execute(_INSERT, rows)


class TransitionRepository:
    """Transitions in their order, and how far their readers are."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def since(self, after: int, limit: int = 100) -> Sequence[Transition]:
        """Return transitions with numbers above ``after``, oldest first."""
        query = _joined().where(transitions.c.sequence > after).order_by(transitions.c.sequence)
        rows = self._connection.execute(query.limit(pages.bounded(limit))).mappings()
        return [_transition(row) for row in rows]

    def last(self) -> int:
        """Return the newest one's number, 0 if there is none."""
        query = select(func.coalesce(func.max(transitions.c.sequence), 0))
        return int(self._connection.execute(query).scalar_one())

    def count(self, after: int) -> int:
        """Return how many there are above a number."""
        query = select(func.count()).select_from(transitions).where(transitions.c.sequence > after)
        return int(self._connection.execute(query).scalar_one())

    def place(self, reader: str) -> int | None:
        """Return the number up to which a reader is done; None if it has never read."""
        query = select(readers.c.sequence).where(readers.c.name == reader)
        found = self._connection.execute(query).scalar_one_or_none()
        return None if found is None else int(found)

    def move(self, reader: str, sequence: int) -> None:
        """Write down that a reader is done up to a number."""
        changed = self._connection.execute(
            update(readers).where(readers.c.name == reader).values(sequence=sequence)
        )
        if changed.rowcount == 0:
            self._connection.execute(insert(readers).values(name=reader, sequence=sequence))


def _clipped(text: str | None) -> str | None:
    return None if text is None else text[:MAX_TEXT_CHARS]


def _joined() -> Select[Any]:
    """Transitions with what their flow or orchestration is known by; no column of it is sealed."""
    return (
        select(
            transitions,
            *(flows.c[name] for name in _OF_FLOW),
            *(orchestrations.c[name] for name in _OF_ORCHESTRATION),
        )
        .outerjoin(flows, flows.c.id == transitions.c.flow_id)
        .outerjoin(orchestrations, orchestrations.c.id == transitions.c.orchestration_id)
    )


def _transition(row: Mapping[Any, Any]) -> Transition:
    """Read a row."""
    sequence, message_id, at = int(row["sequence"]), str(row["message_id"]), row["at"]
    if row["flow_id"] is None:
        return _of_orchestration(row, sequence, message_id, at)
    return FlowTransition(
        sequence=sequence,
        message_id=message_id,
        at=at,
        flow_id=row["flow_id"],
        **{name: row[name] for name in _OF_FLOW if name not in {"role", "direction"}},
        role=Role(row["role"]),
        direction=Direction(row["direction"]),
        state=State(row["state"]),
        run=Run(row["run"]),
        reason=row["reason"],
        error=row["error"],
        error_kind=row["error_kind"],
    )


def _of_orchestration(
    row: Mapping[Any, Any], sequence: int, message_id: str, at: datetime
) -> OrchestrationTransition:
    owner: UUID = row["orchestration_id"]
    return OrchestrationTransition(
        sequence=sequence,
        message_id=message_id,
        at=at,
        orchestration_id=owner,
        standing=Standing(row["state"]),
        error=row["error"],
        **{name: int(row[name]) for name in _OF_ORCHESTRATION},
    )
