"""Events: what happened to a flow, who did it and why. Told to operators and kept with the flow."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from dataferry.domain.clock import Clock
from dataferry.domain.purview import EVERYTHING, Purview
from dataferry.store import pages
from dataferry.store.records import FlowEvent
from dataferry.store.schema import events, flows
from dataferry.store.within import within

MAX_REASON_CHARS = 4_000
# Of a flow; a control plane may suspend and resume it as often as it likes.
MAX_EVENTS = 1_000
# Methods named `list` hide the type from annotations in their classes.
FlowEvents = list[FlowEvent]

_INSERT = insert(events).returning(events.c.id)
_OF_FLOW = events.c.flow_id == bindparam("of")
_SURPLUS = select(events.c.id).where(_OF_FLOW).order_by(events.c.id.desc()).offset(MAX_EVENTS).limit(1)
_FORGET = delete(events).where(_OF_FLOW, events.c.id <= _SURPLUS.scalar_subquery())


class EventRepository:
    """Events of flows, in the order in which they were written."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def add(
        self, flow_id: UUID, kind: str, reason: str, *, actor: str = "dataferry", most: int = MAX_EVENTS
    ) -> int:
        """Write an event, and forget the flow's oldest ones beyond ``MAX_EVENTS``; return its id.

        Args:
            flow_id: Whose it is.
            kind: A short word, e.g. ``started``, ``paused``, ``route``.
            reason: A sentence for operators; no secret.
            actor: ``dataferry``, a control plane's id, or an operator's name.
            most: Of this kind that are kept for the flow: what is read often must not push out its story.
        """
        row = {
            "flow_id": flow_id,
            "kind": kind,
            "reason": reason[:MAX_REASON_CHARS],
            "actor": actor,
            "at": self._clock.now(),
        }
        event_id = int(self._connection.execute(_INSERT, row).scalar_one())
        self._connection.execute(_FORGET, {"of": flow_id})
        if most < MAX_EVENTS:
            of_kind = (events.c.flow_id == flow_id, events.c.kind == kind)
            surplus = select(events.c.id).where(*of_kind).order_by(events.c.id.desc()).offset(most).limit(1)
            self._connection.execute(delete(events).where(*of_kind, events.c.id <= surplus.scalar_subquery()))
        return event_id

    def list(self, flow_id: UUID, after: int = 0, limit: int = 100) -> FlowEvents:
        """Return a flow's events with ids above ``after``, oldest first."""
        query = (
            select(events)
            .where(events.c.flow_id == flow_id, events.c.id > after)
            .order_by(events.c.id)
            .limit(pages.bounded(limit))
        )
        return [_event(row) for row in self._connection.execute(query).mappings()]

    def latest(self, flow_ids: Collection[UUID], kind: str) -> dict[UUID, FlowEvent]:
        """Return the last event of a kind of each of these flows that has one."""
        last = (
            select(func.max(events.c.id))
            .where(events.c.flow_id.in_(list(flow_ids)), events.c.kind == kind)
            .group_by(events.c.flow_id)
        )
        rows = self._connection.execute(select(events).where(events.c.id.in_(last))).mappings()
        return {found.flow_id: found for found in map(_event, rows)}

    def since(self, after: int, limit: int = 100, purview: Purview = EVERYTHING) -> FlowEvents:
        """Return the events with ids above ``after`` of all flows within a purview, oldest first."""
        query = select(events).where(events.c.id > after).order_by(events.c.id).limit(pages.bounded(limit))
        if purview.is_bound:
            query = query.join(flows, flows.c.id == events.c.flow_id).where(within(purview))
        return [_event(row) for row in self._connection.execute(query).mappings()]

    def last_id(self) -> int:
        """Return the newest event's id, 0 if there is none."""
        return int(self._connection.execute(select(func.coalesce(func.max(events.c.id), 0))).scalar_one())


def _event(row: Mapping[Any, Any]) -> FlowEvent:
    """Read a row."""
    return FlowEvent(**row)
