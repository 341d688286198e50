"""Orchestrations and their entries. Every write of an entry names the version that it expects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, or_, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import ColumnElement

from dataferry.domain.asks import Asks
from dataferry.domain.clock import Clock
from dataferry.domain.errors import ConflictError, NotFoundError, StaleVersionError
from dataferry.domain.orchestration import Entry, Notice, NoticeState, Orchestration, Standing, Step
from dataferry.store import pages
from dataferry.store.orchestration_rows import (
    MAX_TEXT_CHARS,
    asks_of,
    entry_of,
    entry_row,
    notice_row,
    orchestration_of,
    orchestration_row,
)
from dataferry.store.schema import NOTICE_IS_DUE, orchestrations
from dataferry.store.schema import orchestration_entries as entries
from dataferry.store.transitions import note_new_orchestrations, note_orchestration

MAX_LISTED = 10_000
ENTRIES_A_TRANSACTION = 1_000

# Methods named `list` hide the type from annotations in their classes.
Orchestrations = list[Orchestration]

_COUNTERS = {Step.SAVED: "saved", Step.FAILED: "failed", Step.CANCELLED: "cancelled"}

# Statements that every step of an entry needs are made once: to put one together takes longer than to run it.
_ORDER = select(orchestrations).where(orchestrations.c.id == bindparam("of"))
_ENTRY = select(entries).where(
    entries.c.orchestration_id == bindparam("of"), entries.c.position == bindparam("at")
)
_SAVE = update(entries).where(
    entries.c.orchestration_id == bindparam("of"),
    entries.c.position == bindparam("at"),
    entries.c.version == bindparam("expected_version"),
    entries.c.step == bindparam("expected_step"),
)
_FOLLOW = update(orchestrations).where(orchestrations.c.id == bindparam("of"))
# How far one is by a step of an entry; it never goes back.
_ADVANCE = {
    standing: _FOLLOW.where(
        orchestrations.c.standing.in_([before.value for before in standing.before()])
    ).values(updated_at=bindparam("now"), standing=standing.value)
    for standing in Standing
    if not standing.is_final
}
_TOUCH = _FOLLOW.values(updated_at=bindparam("now"))


class OrchestrationRepository:
    """Orchestrations and their entries. No secret is in any of them: data addresses are with the flows."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def insert(self, made: Sequence[tuple[Orchestration, Asks]]) -> None:
        """Add orchestrations with all that they ask for, each as one row.

        Raises:
            ConflictError: An idempotency key is taken; the transaction can't go on.
        """
        rows = [orchestration_row(one, asks) for one, asks in made]
        if not rows:
            return
        try:
            self._connection.execute(insert(orchestrations), rows)
        except IntegrityError as exc:
            raise ConflictError("an Idempotency-Key is taken") from exc
        note_new_orchestrations(self._connection, [one for one, _ in made])

    def get(self, id: UUID) -> Orchestration:
        """Return one.

        Raises:
            NotFoundError: There is none.
        """
        row = self._connection.execute(_ORDER, {"of": id}).mappings().one_or_none()
        if row is None:
            raise NotFoundError(f"there is no orchestration {id}")
        return orchestration_of(row)

    def by_idempotency_key(self, key: str) -> Orchestration | None:
        """Return the one that was made under this key; None if none was."""
        row = self._one(orchestrations.c.idempotency_key == key)
        return None if row is None else orchestration_of(row)

    def list(
        self, *, after: str | None = None, limit: int = MAX_LISTED, is_active: bool | None = None
    ) -> tuple[Orchestrations, str | None]:
        """Return orchestrations, newest first, and the cursor of the next page.

        Args:
            after: The cursor that the page before came with.
            limit: Of the page.
            is_active: True only those that are not over, False only those that are.

        Raises:
            InputError: ``after`` is no cursor of ours.
        """
        bound = max(1, min(limit, MAX_LISTED))
        table = orchestrations.c
        query = select(orchestrations).order_by(table.created_at.desc(), table.id.desc()).limit(bound + 1)
        if after is not None:
            moment, last = pages.decode_flow(after)
            query = query.where(
                or_(table.created_at < moment, and_(table.created_at == moment, table.id < last))
            )
        if is_active is not None:
            query = query.where(table.ended_at.is_(None) if is_active else table.ended_at.is_not(None))
        found = [orchestration_of(row) for row in self._connection.execute(query).mappings()]
        page = found[:bound]
        more = len(found) > bound
        return page, pages.encode(page[-1].created_at, str(page[-1].id)) if more else None

    def entries_of(self, id: UUID) -> Sequence[Entry]:
        """Return an orchestration's entries in their order, those that have no row yet included."""
        query = select(entries).where(entries.c.orchestration_id == id).order_by(entries.c.position)
        found = [entry_of(row) for row in self._connection.execute(query).mappings()]
        return found or self._pending(id)

    def _pending(self, id: UUID) -> Sequence[Entry]:
        """The entries of one that is not expanded."""
        row = self._one(orchestrations.c.id == id)
        asks = [] if row is None else asks_of(row)
        made_at = self._clock.now() if row is None else row["updated_at"]
        return [
            Entry(orchestration_id=id, position=position, ask=ask, updated_at=made_at)
            for position, ask in enumerate(asks)
        ]

    def unexpanded(self, limit: int) -> Sequence[UUID]:
        """Return orchestrations whose entries have no rows yet, oldest first."""
        query = (
            select(orchestrations.c.id)
            .where(orchestrations.c.ended_at.is_(None), orchestrations.c.pending.is_not(None))
            .order_by(orchestrations.c.created_at)
            .limit(limit)
        )
        return list(self._connection.execute(query).scalars())

    def expand(self, id: UUID) -> int:
        """Give an orchestration's entries rows of their own; return how many. Safe to repeat."""
        pending = self._pending(id)
        if pending:
            self._connection.execute(insert(entries), [entry_row(entry) for entry in pending])
            self._connection.execute(
                update(orchestrations).where(orchestrations.c.id == id).values(pending=None)
            )
        return len(pending)

    def waiting(self, limit: int, *, of_one: int, without: Iterable[UUID] = ()) -> Sequence[tuple[UUID, int]]:
        """Return entries that nobody has begun, those of the oldest orchestrations first.

        Args:
            limit: Of orchestrations that are looked through, and of entries, but for those of the last one.
            of_one: Of how many of each orchestration.
            without: Orchestrations that have enough at work.
        """
        mine = and_(entries.c.step == Step.WAITING.value, entries.c.ended_at.is_(None))
        owners = (
            select(orchestrations.c.id)
            .where(
                orchestrations.c.ended_at.is_(None),
                orchestrations.c.id.not_in(list(without)),
                select(entries.c.position)
                .where(entries.c.orchestration_id == orchestrations.c.id, mine)
                .exists(),
            )
            .order_by(orchestrations.c.created_at)
            .limit(limit)
        )
        found: list[tuple[UUID, int]] = []
        for owner in self._connection.execute(owners).scalars().all():
            if len(found) >= limit:
                break
            query = (
                select(entries.c.position)
                .where(entries.c.orchestration_id == owner, mine)
                .order_by(entries.c.position)
                .limit(of_one)
            )
            found += [(owner, position) for position in self._connection.execute(query).scalars()]
        return found

    def connectors_of(self, ids: Iterable[UUID]) -> dict[UUID, str]:
        """Return the connector addresses of those orchestrations that are there."""
        query = select(orchestrations.c.id, orchestrations.c.connector_address).where(
            orchestrations.c.id.in_(list(ids))
        )
        return {row.id: row.connector_address for row in self._connection.execute(query)}

    def begun(self) -> Sequence[tuple[UUID, int]]:
        """Return entries that were begun and have not ended: what a start goes on with."""
        query = (
            select(entries.c.orchestration_id, entries.c.position)
            .where(entries.c.ended_at.is_(None), entries.c.step != Step.WAITING.value)
            .order_by(entries.c.started_at)
        )
        return [(owner, position) for owner, position in self._connection.execute(query)]

    def entry(self, key: tuple[UUID, int]) -> Entry:
        """Return one entry that has a row.

        Raises:
            NotFoundError: There is none.
        """
        row = self._connection.execute(_ENTRY, {"of": key[0], "at": key[1]}).mappings().one_or_none()
        if row is None:
            raise NotFoundError(f"there is no entry {key[1]} of orchestration {key[0]}")
        return entry_of(row)

    def awaited(self, reference: str) -> Entry | None:
        """Return the entry of this reference if it has been begun and has no data yet; else None."""
        owner, _, position = reference.partition("/")
        try:
            key = (UUID(owner), int(position[:9]))
        except ValueError:
            return None
        steps = [Step.STARTING.value, Step.WATCHING.value]
        query = select(entries).where(_is(key), entries.c.step.in_(steps))
        row = self._connection.execute(query).mappings().first()
        found = None if row is None else entry_of(row)
        return None if found is None or found.reference != reference else found

    def of_flow(self, flow_id: UUID) -> Entry | None:
        """Return the entry that a flow downloads and that has not ended; None if there is none."""
        condition = and_(entries.c.flow_id == flow_id, entries.c.ended_at.is_(None))
        row = self._connection.execute(select(entries).where(condition)).mappings().first()
        return None if row is None else entry_of(row)

    def save(self, entry: Entry, *, expected: Entry, standing: Standing | None = None) -> Entry:
        """Write an entry over the one it was made from, and what follows for its orchestration.

        Args:
            entry: What it shall be; its ``version`` and times do not matter.
            expected: As it was read.
            standing: How far the orchestration is by that; it never goes back.

        Returns:
            The entry as it is now stored.

        Raises:
            StaleVersionError: Somebody else wrote it since it was read.
        """
        now = self._clock.now()
        ended_at = now if entry.step.is_final else None
        saved = replace(entry, version=expected.version + 1, updated_at=now, ended_at=ended_at)
        row = entry_row(saved) | {
            "of": entry.orchestration_id,
            "at": entry.position,
            "expected_version": expected.version,
            "expected_step": expected.step.value,
        }
        if self._connection.execute(_SAVE, row).rowcount != 1:
            raise StaleVersionError(f"entry {entry.reference} was changed by somebody else")
        if saved.step.is_final:
            self._follow(entry.orchestration_id, now, {saved.step: 1})
        else:
            self._advance(entry.orchestration_id, now, standing)
        return saved

    def cancel(self, id: UUID) -> Orchestration:
        """Mark one as cancelled, with all entries that nobody has begun; those at work end by themselves.

        Raises:
            NotFoundError: There is none.
        """
        self.expand(id)
        now = self._clock.now()
        self._connection.execute(
            update(orchestrations)
            .where(orchestrations.c.id == id, orchestrations.c.ended_at.is_(None))
            .values(is_cancelled=True)
        )
        changed = self._connection.execute(
            update(entries)
            .where(entries.c.orchestration_id == id, entries.c.step == Step.WAITING.value)
            .values(step=Step.CANCELLED.value, version=entries.c.version + 1, updated_at=now, ended_at=now)
        )
        self._follow(id, now, {Step.CANCELLED: changed.rowcount})
        return self.get(id)

    def _advance(self, id: UUID, now: datetime, standing: Standing | None) -> None:
        """Write how far an orchestration is by a step of an entry; no other row is read for it."""
        at = {"of": id, "now": now}
        if standing is not None and self._connection.execute(_ADVANCE[standing], at).rowcount:
            note_orchestration(self._connection, self.get(id))
        else:
            self._connection.execute(_TOUCH, at)

    def _follow(self, id: UUID, now: datetime, ended: Mapping[Step, int]) -> None:
        """Write what the ends of entries mean for an orchestration: counts, and its own end."""
        before = self.get(id)
        counts = {_COUNTERS[step]: getattr(before, _COUNTERS[step]) + count for step, count in ended.items()}
        after = replace(before, **counts, updated_at=now)
        if after.is_over and before.ended_at is None:
            after = replace(after, standing=after.end, ended_at=now, error=self._why(after))
        names = ("saved", "failed", "cancelled", "error", "updated_at", "ended_at")
        row = {name: getattr(after, name) for name in names} | {"standing": after.standing.value, "of": id}
        self._connection.execute(_FOLLOW, row)
        note_orchestration(self._connection, after, before)

    def _why(self, over: Orchestration) -> str | None:
        """Say why not everything is there; None if it is."""
        if not over.failed:
            return None
        query = (
            select(entries.c.fault)
            .where(entries.c.orchestration_id == over.id, entries.c.step == Step.FAILED.value)
            .order_by(entries.c.position)
            .limit(1)
        )
        first = self._connection.execute(query).scalar_one_or_none()
        return f"{over.failed} of {over.entries} entries failed; the first: {first}"[:MAX_TEXT_CHARS]

    def notices(self, limit: int) -> Sequence[UUID]:
        """Return orchestrations whose end is to be told now, those that have waited longest first."""
        table = orchestrations.c
        due = and_(
            text(NOTICE_IS_DUE),
            or_(table.notice_next_at.is_(None), table.notice_next_at <= self._clock.now()),
        )
        query = (
            select(table.id)
            .where(due)
            .order_by(table.notice_next_at.nulls_first(), table.ended_at)
            .limit(limit)
        )
        return list(self._connection.execute(query).scalars())

    def noted(self, id: UUID, notice: Notice) -> bool:
        """Write how a notice stands now; False if it is not pending any more, or forgotten."""
        changed = self._connection.execute(
            update(orchestrations)
            .where(orchestrations.c.id == id, orchestrations.c.notice_state == NoticeState.PENDING.value)
            .values(notice_row(notice))
        )
        return changed.rowcount == 1

    def expired(self, before: datetime, limit: int) -> Sequence[UUID]:
        """Return orchestrations that ended before a moment, oldest first."""
        query = (
            select(orchestrations.c.id)
            .where(orchestrations.c.ended_at < before)
            .order_by(orchestrations.c.created_at)
            .limit(limit)
        )
        return list(self._connection.execute(query).scalars())

    def forget(self, id: UUID) -> bool:
        """Delete some of an ended one's entries, then it; True once nothing is left. Repeat until then."""
        ended = and_(orchestrations.c.id == id, orchestrations.c.ended_at.is_not(None))
        if self._connection.execute(select(orchestrations.c.id).where(ended)).first() is None:
            return True
        bound = (
            select(func.min(entries.c.position) + ENTRIES_A_TRANSACTION)
            .where(entries.c.orchestration_id == id)
            .scalar_subquery()
        )
        deleted = self._connection.execute(
            delete(entries).where(entries.c.orchestration_id == id, entries.c.position < bound)
        )
        if deleted.rowcount == ENTRIES_A_TRANSACTION:
            return False
        self._connection.execute(delete(orchestrations).where(ended))
        return True

    def _one(self, condition: ColumnElement[bool]) -> Mapping[Any, Any] | None:
        return self._connection.execute(select(orchestrations).where(condition)).mappings().one_or_none()


def _is(key: tuple[UUID, int]) -> ColumnElement[bool]:
    return and_(entries.c.orchestration_id == key[0], entries.c.position == key[1])
