"""What the ledger has of a transfer, for use cases that decide by it in their own transaction."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection, and_, select, update

from dataferry.domain.ledger import ObjectState
from dataferry.domain.objects import Totals, Verification
from dataferry.store.schema import objects, transfers

_COUNTS = (
    "objects_total", "bytes_total", "objects_done", "objects_skipped", "objects_failed", "bytes_done",
    "bytes_skipped", "objects_unsized",
)  # fmt: skip
_THERE = (ObjectState.DONE.value, ObjectState.SKIPPED.value)


class TransferRepository:
    """Reads the ledger's counters; the ledger itself commits in transactions of its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def totals(self, flow_id: UUID) -> Totals | None:
        """Return a transfer's counts; None if the ledger knows none of that flow."""
        row = (
            self._connection.execute(select(transfers).where(transfers.c.id == str(flow_id)))
            .mappings()
            .first()
        )
        if row is None:
            return None
        return Totals(
            **{name: int(row[name]) for name in _COUNTS},
            plan_complete=bool(row["plan_complete"]),
            verification=Verification(row["verification"] or 0),
        )

    def finish_plan(self, flow_id: UUID) -> None:
        """Write that nothing more comes."""
        self._connection.execute(
            update(transfers).where(transfers.c.id == str(flow_id)).values(plan_complete=1)
        )

    def missing(self, flow_id: UUID, limit: int) -> list[str]:
        """Return names of objects that are not there, in the order in which they were begun."""
        query = (
            select(objects.c.source_name)
            .where(and_(objects.c.transfer_id == str(flow_id), objects.c.state.not_in(_THERE)))
            .order_by(objects.c.ordinal)
            .limit(limit)
        )
        return [name for (name,) in self._connection.execute(query)]
