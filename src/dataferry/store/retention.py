"""Forgetting flows that are over: with all their rows, a bounded number of rows in a transaction."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, String, and_, delete, exists, select, type_coerce
from sqlalchemy.sql import ColumnElement

from dataferry.domain.dataflow import FINAL_STATES, Run
from dataferry.store import pages
from dataferry.store.records import OutboxState
from dataferry.store.schema import cleanups, flows, objects, outbox, parts, transfers

# A million rows deleted at once would keep every other writer waiting for seconds.
OBJECTS_A_TRANSACTION = 500


class RetentionRepository:
    """Deletes flows that are over, and their events, callbacks, progress and ledger."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def expired(self, before: datetime, limit: int) -> list[UUID]:
        """Return flows to forget, oldest first.

        Those are in a final state and have not changed since ``before``; nothing runs, no callback is
        pending, no upload of theirs is open and none is due to be aborted.
        """
        query = (
            select(flows.c.id)
            .where(_is_expired(before))
            .order_by(flows.c.created_at, flows.c.id)
            .limit(pages.bounded(limit))
        )
        return [found for (found,) in self._connection.execute(query)]

    def forget(self, id: UUID, before: datetime) -> bool:
        """Delete some of a flow's rows, the flow's own at last; True once nothing is left to do.

        Call it again, in another transaction, until it is. Asks again whether the flow is to be forgotten.
        """
        condition = and_(flows.c.id == id, _is_expired(before))
        if self._connection.execute(select(flows.c.id).where(condition)).first() is None:
            return True
        if self._forget_objects(str(id)):
            return False
        self._connection.execute(delete(cleanups).where(cleanups.c.transfer_id == str(id)))
        self._connection.execute(delete(transfers).where(transfers.c.id == str(id)))
        # Callbacks, events and progress go with it.
        self._connection.execute(delete(flows).where(condition))
        return True

    def _forget_objects(self, transfer_id: str) -> int:
        """Delete a bounded number of a transfer's objects with their parts; return how many."""
        query = (
            select(objects.c.ordinal)
            .where(objects.c.transfer_id == transfer_id)
            .order_by(objects.c.ordinal)
            .limit(OBJECTS_A_TRANSACTION)
        )
        ordinals = [ordinal for (ordinal,) in self._connection.execute(query)]
        if ordinals:
            for table in (parts, objects):
                within = table.c.ordinal.between(ordinals[0], ordinals[-1])
                self._connection.execute(delete(table).where(table.c.transfer_id == transfer_id, within))
        return len(ordinals)


def _is_expired(before: datetime) -> ColumnElement[bool]:
    """What ``expired`` promises."""
    transfer_id = type_coerce(flows.c.id, String)
    return and_(
        # No flow changed before it was made: this one has an index.
        flows.c.created_at < before,
        flows.c.updated_at < before,
        flows.c.state.in_([state.value for state in FINAL_STATES]),
        flows.c.run.not_in([Run.QUEUED.value, Run.RUNNING.value]),
        ~exists().where(outbox.c.flow_id == flows.c.id, outbox.c.state == OutboxState.PENDING.value),
        ~exists().where(cleanups.c.transfer_id == transfer_id, cleanups.c.due_at.is_not(None)),
        ~exists().where(objects.c.transfer_id == transfer_id, objects.c.intent_at > ""),
    )
