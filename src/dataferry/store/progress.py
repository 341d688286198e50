"""Progress: the last moment of each transfer, so that it is there after a restart and for other processes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, and_, bindparam, insert, or_, select, update

from dataferry.domain.clock import Clock
from dataferry.domain.objects import Verification
from dataferry.domain.progress import Progress
from dataferry.store.records import Moment
from dataferry.store.schema import progress, transfers

_NAMES = frozenset(field.name for field in fields(Progress))
_UPDATE = update(progress).where(progress.c.flow_id == bindparam("of"))
_INSERT = insert(progress)


class ProgressRepository:
    """One row a flow."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def put(self, flow_id: UUID, moment: Progress) -> None:
        """Write the moment over the one before."""
        values = {"moment": asdict(moment), "at": self._clock.now()}
        if self._connection.execute(_UPDATE, {**values, "of": flow_id}).rowcount == 0:
            self._connection.execute(_INSERT, {**values, "flow_id": flow_id})

    def get(self, flow_id: UUID) -> Progress | None:
        """Return a flow's last moment; None if it never ran."""
        return self.get_many([flow_id]).get(flow_id)

    def get_many(self, flow_ids: Iterable[UUID]) -> dict[UUID, Progress]:
        """Return the last moments of those flows that have one."""
        query = select(progress.c.flow_id, progress.c.moment).where(progress.c.flow_id.in_(list(flow_ids)))
        return {flow_id: _moment(stored) for flow_id, stored in self._connection.execute(query)}

    def changed_since(self, moment: datetime, limit: int) -> list[UUID]:
        """Return flows whose moment was written after another one, in that order."""
        query = select(progress.c.flow_id).where(progress.c.at > moment).order_by(progress.c.at).limit(limit)
        return [flow_id for (flow_id,) in self._connection.execute(query)]

    def written_since(self, since: datetime, limit: int, *, behind: Moment | None = None) -> list[Moment]:
        """Return a page of the flows' last moments that were written after a time, the oldest first.

        Args:
            since: The time.
            limit: Of the page.
            behind: The last of the page before; None: this is the first.
        """
        query = select(progress).where(progress.c.at > since)
        if behind is not None:
            same = and_(progress.c.at == behind.at, progress.c.flow_id > behind.flow_id)
            query = query.where(or_(progress.c.at > behind.at, same))
        query = query.order_by(progress.c.at, progress.c.flow_id).limit(limit)
        return [
            Moment(flow_id=row.flow_id, progress=_moment(row.moment), at=row.at)
            for row in self._connection.execute(query)
        ]

    def levels(self, flow_ids: Iterable[UUID]) -> dict[UUID, Verification]:
        """Return the lowest level of what has arrived, of those flows of which something has."""
        ids = {str(flow_id): flow_id for flow_id in flow_ids}
        query = select(transfers.c.id, transfers.c.verification).where(transfers.c.id.in_(list(ids)))
        return {ids[id_]: Verification(level or 0) for id_, level in self._connection.execute(query)}


def _moment(stored: dict[str, Any]) -> Progress:
    """Read a stored moment; fields that an older or newer version wrote do not matter."""
    return Progress(**{name: value for name, value in stored.items() if name in _NAMES})
