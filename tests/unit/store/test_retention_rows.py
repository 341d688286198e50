"""Which flows are forgotten, and that nothing of them stays."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text
from tests.unit.store.sample_rows import flow

from dataferry.domain.dataflow import DataFlow, Run, State
from dataferry.domain.errors import NotFoundError
from dataferry.domain.ledger import Attempt
from dataferry.domain.objects import Upload
from dataferry.store import retention
from dataferry.store.events import MAX_EVENTS
from dataferry.store.store import Store
from dataferry.testing.ledger_suite import NOON, StillClock, planned

OLD = NOON - timedelta(days=100)
BEFORE = NOON - timedelta(days=90)


def over(process_id: str = "p1", **changes: object) -> DataFlow:
    """A flow that has been over for a hundred days."""
    return flow(
        process_id,
        **{"state": State.COMPLETED, "run": Run.DONE, "created_at": OLD, "updated_at": OLD, **changes},
    )


def insert(store: Store, made: DataFlow) -> DataFlow:
    """Write it."""
    with store.transaction() as tx:
        tx.flows.insert(made)
    return made


def with_objects(store: Store, made: DataFlow, count: int, *, upload: bool = False) -> None:
    """Plan objects of it; with an open upload of the first one, if wanted."""
    attempt = Attempt(transfer_id=str(made.id), epoch=made.epoch)
    store.ledger.add(attempt, [planned(f"{number:04}") for number in range(count)], cursor=None)
    if upload:
        store.ledger.intend(attempt, 1, part_size_bytes=5)
        store.ledger.open_upload(attempt, 1, Upload(upload_id="u", key="to/0000", started_at=NOON))


def forget(store: Store, id: UUID) -> int:
    """Forget a flow; return in how many transactions."""
    for number in range(1, 20):
        with store.transaction() as tx:
            if tx.retention.forget(id, BEFORE):
                return number
    raise AssertionError("it does not come to an end")


def expired(store: Store) -> list[str]:
    """Process ids of what is to be forgotten."""
    with store.snapshot() as tx:
        return sorted(tx.flows.get(found).process_id for found in tx.retention.expired(BEFORE, 100))


def test_only_what_is_over_for_long_is_expired(store: Store) -> None:
    """Neither the living, nor the recently changed, nor what still runs."""
    insert(store, over("completed"))
    insert(store, over("terminated", state=State.TERMINATED, run=Run.FAILED))
    insert(store, over("suspended", state=State.SUSPENDED, run=Run.IDLE))
    insert(store, over("changed", updated_at=BEFORE))
    insert(store, over("running", run=Run.RUNNING))
    insert(store, over("queued", run=Run.QUEUED))
    assert expired(store) == ["completed", "terminated"]


def test_a_pending_callback_keeps_its_flow(store: Store) -> None:
    """Until it is settled, one way or the other."""
    made = insert(store, over())
    with store.transaction() as tx:
        message_id = tx.outbox.add(made, "completed")
    assert expired(store) == []
    assert forget(store, made.id) == 1
    with store.transaction() as tx:
        assert tx.flows.get(made.id) == made
        tx.outbox.dead(message_id, error="refused")
    assert expired(store) == ["p1"]


def test_an_upload_that_is_to_be_aborted_keeps_its_flow(store: Store, clock: StillClock) -> None:
    """While it is open, while it is due, and until it is aborted or given up."""
    made = insert(store, over(state=State.TERMINATED))
    with_objects(store, made, 1, upload=True)
    assert expired(store) == []
    store.ledger.abandon_all(str(made.id))
    assert expired(store) == []
    (cleanup,) = store.ledger.cleanups()
    store.ledger.cleaned(cleanup.id, error="no", retry_at=clock.now() + timedelta(hours=1))
    assert expired(store) == []
    store.ledger.cleaned(cleanup.id, error="no", retry_at=None)
    assert expired(store) == ["p1"]


def test_nothing_of_a_forgotten_flow_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """All its rows go, a bounded number at a time, another's stay, and its process id is free again."""
    monkeypatch.setattr(retention, "OBJECTS_A_TRANSACTION", 10)
    made, other = insert(store, over()), insert(store, over("p2", state=State.STARTED))
    for each in (made, other):
        with_objects(store, each, 25)
        with store.transaction() as tx:
            tx.outbox.sent(tx.outbox.add(each, "completed"))
            tx.events.add(each.id, "completed", "done")
    assert forget(store, made.id) == 4
    counts = {}
    with store.snapshot() as tx:
        for table in ("flows", "outbox", "events", "transfers", "objects"):
            counts[table] = tx.flows._connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()  # noqa: S608 - names of tables
        with pytest.raises(NotFoundError):
            tx.flows.get(made.id)
    assert counts == {"flows": 1, "outbox": 1, "events": 1, "transfers": 1, "objects": 25}
    insert(store, over())


def test_a_flow_keeps_its_last_events(store: Store) -> None:
    """However often it is suspended and resumed, its rows are bounded; another's are not touched."""
    made, other = insert(store, flow("p1")), insert(store, flow("p2"))
    with store.transaction() as tx:
        tx.events.add(other.id, "first", "")
        for number in range(MAX_EVENTS + 5):
            tx.events.add(made.id, "resumed", str(number))
        found = tx.events.list(made.id, limit=1)
        assert (found[0].reason, tx.events.list(other.id)[0].kind) == ("5", "first")
