"""The outbox: callbacks written in the transaction of the state they tell, and sent at least once.

Order is kept per flow: only the oldest pending message of a flow is due. One that was given up (``dead``) is
settled: later messages of its flow go out, because a control plane that refused ``started`` for ever must
still hear ``errored``. ``retry`` makes it pending again; being the oldest, it then goes first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, exists, insert, select, true, update

from dataferry.domain.clock import Clock
from dataferry.domain.dataflow import DataFlow, State
from dataferry.domain.errors import ConflictError, NotFoundError
from dataferry.domain.purview import EVERYTHING, Purview
from dataferry.store import pages
from dataferry.store.records import OutboxMessage, OutboxState
from dataferry.store.schema import flows, outbox
from dataferry.store.within import within

MAX_ERROR_CHARS = 2_000

# Built once: it is asked for several times a second.
_OLDER = outbox.alias("older")
_BLOCKED = exists().where(
    _OLDER.c.flow_id == outbox.c.flow_id,
    _OLDER.c.sequence < outbox.c.sequence,
    _OLDER.c.state == OutboxState.PENDING.value,
)


class OutboxRepository:
    """Messages to control planes. Rows hold no address and no secret."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def add(self, flow: DataFlow, kind: str, *, error: str | None = None, with_address: bool = False) -> str:
        """Write a message that tells ``flow.state``; none for a flow of our own, as there is nobody to tell.

        Args:
            flow: As it is saved in the same transaction.
            kind: ``prepared``, ``started``, ``completed`` or ``errored``.
            error: What to tell of a failure.
            with_address: The flow's outgoing address belongs in the message.

        Returns:
            Its ``messageId``, the same on every attempt.
        """
        message_id = str(uuid4())
        if flow.is_own:
            return message_id
        now = self._clock.now()
        row = {
            "message_id": message_id,
            "flow_id": flow.id,
            "kind": kind,
            "flow_state": flow.state.value,
            "with_address": with_address,
            "error": error,
            "state": OutboxState.PENDING.value,
            "attempts": 0,
            "next_at": now,
            "created_at": now,
        }
        self._connection.execute(insert(outbox).values(row))
        return message_id

    def due(self, limit: int, *, without: Collection[str] = ()) -> list[OutboxMessage]:
        """Return messages to send now: of each flow the oldest pending one, if its time has come.

        Args:
            limit: Of how many.
            without: Control planes to pass over.
        """
        passed_over = select(flows.c.id).where(flows.c.control_plane_id.in_(without))
        query = (
            select(outbox)
            .where(
                outbox.c.state == OutboxState.PENDING.value,
                outbox.c.next_at <= self._clock.now(),
                ~_BLOCKED,
                outbox.c.flow_id.not_in(passed_over) if without else true(),
            )
            .order_by(outbox.c.next_at, outbox.c.sequence)
            .limit(pages.bounded(limit))
        )
        return [_message(row) for row in self._connection.execute(query).mappings()]

    def get(self, message_id: str) -> OutboxMessage:
        """Return one message.

        Raises:
            NotFoundError: There is none.
        """
        row = (
            self._connection.execute(select(outbox).where(outbox.c.message_id == message_id))
            .mappings()
            .one_or_none()
        )
        if row is None:
            raise NotFoundError(f"there is no callback {message_id!r}")
        return _message(row)

    def sent(self, message_id: str) -> bool:
        """Settle a message that arrived; False if it is not pending any more (voided meanwhile)."""
        return self._settle(message_id, OutboxState.SENT, error=None)

    def later(self, message_id: str, *, error: str, retry_at: datetime) -> bool:
        """Note a failed attempt, to be repeated at ``retry_at``; False if it is not pending any more."""
        return self._write(
            message_id, attempts=outbox.c.attempts + 1, last_error=error[:MAX_ERROR_CHARS], next_at=retry_at
        )

    def dead(self, message_id: str, *, error: str) -> bool:
        """Give a message up; it stays visible and retryable. False if it is not pending any more."""
        return self._settle(message_id, OutboxState.DEAD, error=error)

    def void(self, flow_id: UUID) -> int:
        """Take back whatever of a flow is pending; return how many messages."""
        changed = self._connection.execute(
            update(outbox)
            .where(outbox.c.flow_id == flow_id, outbox.c.state == OutboxState.PENDING.value)
            .values(state=OutboxState.VOID.value, settled_at=self._clock.now())
        )
        return changed.rowcount

    def retry(self, message_id: str) -> OutboxMessage:
        """Make a dead message pending and due again.

        Raises:
            NotFoundError: There is none.
            ConflictError: It is not dead.
        """
        message = self.get(message_id)
        if message.state is not OutboxState.DEAD:
            raise ConflictError(
                f"callback {message_id} is {message.state.value}: only a dead one can be retried"
            )
        self._connection.execute(
            update(outbox)
            .where(outbox.c.message_id == message_id)
            .values(state=OutboxState.PENDING.value, attempts=0, next_at=self._clock.now(), settled_at=None)
        )
        return self.get(message_id)

    def list(
        self,
        flow_id: UUID | None = None,
        state: OutboxState | None = None,
        limit: int = 100,
        purview: Purview = EVERYTHING,
    ) -> list[OutboxMessage]:
        """Return messages of flows within a purview, newest first."""
        query = select(outbox).order_by(outbox.c.sequence.desc()).limit(pages.bounded(limit))
        if flow_id is not None:
            query = query.where(outbox.c.flow_id == flow_id)
        if state is not None:
            query = query.where(outbox.c.state == state.value)
        if purview.is_bound:
            query = query.join(flows, flows.c.id == outbox.c.flow_id).where(within(purview))
        return [_message(row) for row in self._connection.execute(query).mappings()]

    def _settle(self, message_id: str, state: OutboxState, *, error: str | None) -> bool:
        """Move a pending message to a final state."""
        values: dict[str, Any] = {"state": state.value, "settled_at": self._clock.now()}
        if error is not None:
            values |= {"attempts": outbox.c.attempts + 1, "last_error": error[:MAX_ERROR_CHARS]}
        return self._write(message_id, **values)

    def _write(self, message_id: str, **values: Any) -> bool:
        """Change a message that is pending: a voided one stays void."""
        changed = self._connection.execute(
            update(outbox)
            .where(outbox.c.message_id == message_id, outbox.c.state == OutboxState.PENDING.value)
            .values(**values)
        )
        return changed.rowcount == 1


def _message(row: Mapping[Any, Any]) -> OutboxMessage:
    """Read a row."""
    return OutboxMessage(
        **{
            **row,
            "flow_state": State(row["flow_state"]),
            "state": OutboxState(row["state"]),
        }
    )
