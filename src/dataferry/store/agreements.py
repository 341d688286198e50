"""Contract agreements of flows, one row a flow; they hold no secret."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection, insert, select, update

from dataferry.domain.agreement import Agreement, Standing
from dataferry.store.schema import agreements


class AgreementRepository:
    """What control planes told about flows' agreements."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, flow_id: UUID) -> Agreement | None:
        """Return a flow's; None if its control plane was not asked yet."""
        query = select(agreements).where(agreements.c.flow_id == flow_id)
        row = self._connection.execute(query).mappings().one_or_none()
        if row is None:
            return None
        return Agreement(
            standing=Standing(row["standing"]),
            content=row["content"],
            error=row["error"],
            asked_at=row["asked_at"],
        )

    def put(self, flow_id: UUID, agreement: Agreement) -> None:
        """Write a flow's over the one before."""
        row = {
            "standing": agreement.standing.value,
            "content": agreement.content,
            "error": agreement.error,
            "asked_at": agreement.asked_at,
        }
        here = agreements.c.flow_id == flow_id
        if self._connection.execute(update(agreements).where(here).values(row)).rowcount == 0:
            self._connection.execute(insert(agreements).values(flow_id=flow_id, **row))
