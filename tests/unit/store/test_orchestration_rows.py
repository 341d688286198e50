"""Rows of orchestrations: accepted as one, expanded later, counted to their end, forgotten."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import update
from tests.unit.store.sample_rows import flow

from dataferry.domain.asks import Asks
from dataferry.domain.dataflow import OWN_FLOWS
from dataferry.domain.errors import ConflictError, NotFoundError, StaleVersionError, TransitionError
from dataferry.domain.orchestration import (
    STEPS,
    Ask,
    Entry,
    Fault,
    Notice,
    NoticeState,
    Orchestration,
    Standing,
    Step,
)
from dataferry.domain.usage_policy import Offer, UsagePolicy
from dataferry.secrets.sealing import Sealer
from dataferry.store import migrations
from dataferry.store.database import Database
from dataferry.store.schema import orchestrations
from dataferry.store.store import Store
from dataferry.testing.ledger_suite import NOON, StillClock


def _order(entries: int = 2, **changes: object) -> Orchestration:
    made = Orchestration(
        id=uuid4(), connector_address="http://edc", entries=entries, created_at=NOON, updated_at=NOON
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def _asks(count: int = 2) -> list[Ask]:
    return [
        Ask(counter_party_address="http://p", contract_id=f"c{number}", connector_id="did:web:p")
        for number in range(count)
    ]


def _insert(store: Store, order: Orchestration, *, expand: bool = True) -> Orchestration:
    with store.transaction() as tx:
        tx.orchestrations.insert([(order, Asks.of(_asks(order.entries)))])
        if expand:
            tx.orchestrations.expand(order.id)
    return order


def _end(store: Store, id_: UUID, position: int, outcome: Step, fault: Fault | None = None) -> None:
    """Bring an entry to its end, step by step."""
    for step in (Step.STARTING, Step.CLOSING, outcome):
        with store.transaction() as tx:
            before = tx.orchestrations.entry((id_, position))
            changes = {"outcome": outcome, "fault": fault} if step is Step.CLOSING else {}
            tx.orchestrations.save(before.to(step, **changes), expected=before, standing=Standing.PROCESSING)


def test_what_is_negotiated_about_is_kept(store: Store) -> None:
    """Offer and negotiation, and the contract that comes of them; entries with a contract have none."""
    order = _order(1)
    policy = UsagePolicy.read({"permission": [{"action": "use"}], "obligation": [{"action": "a\u2028"}]})
    asked = Ask(counter_party_address="http://p", contract_id=None, connector_id="p", asset_id="a/b c")
    with store.transaction() as tx:
        tx.orchestrations.insert([(order, Asks.of([asked]))])
        tx.orchestrations.expand(order.id)
        entry = tx.orchestrations.entry((order.id, 0))
        assert (entry.ask, entry.offer, entry.negotiation_id) == (asked, None, None)
        steps: list[tuple[Step, dict[str, Any]]] = [
            (Step.CHOOSING, {}),
            (Step.REQUESTING, {"offer": Offer(id="1:2:3", policy=policy)}),
            (Step.NEGOTIATING, {"negotiation_id": "n"}),
            (Step.STARTING, {"ask": asked._replace(contract_id="c")}),
        ]
        for step, changes in steps:
            entry = tx.orchestrations.save(entry.to(step, **changes), expected=entry)
    with store.snapshot() as tx:
        found = tx.orchestrations.entry((order.id, 0))
    assert found == entry
    assert found.offer is not None
    assert (found.offer.policy.rules, found.ask.contract_id, found.negotiation_id) == (policy.rules, "c", "n")


def test_a_request_is_one_row_until_it_is_expanded(store: Store) -> None:
    """Its entries are seen at once, and have rows of their own later; expanding twice makes them once."""
    order = _insert(store, _order(3), expand=False)
    with store.snapshot() as tx:
        assert tx.orchestrations.get(order.id) == order
        before = [(entry.position, entry.ask) for entry in tx.orchestrations.entries_of(order.id)]
        assert tx.orchestrations.unexpanded(10) == [order.id]
    with store.transaction() as tx:
        assert (tx.orchestrations.expand(order.id), tx.orchestrations.expand(order.id)) == (3, 0)
    with store.snapshot() as tx:
        after = [(entry.position, entry.ask) for entry in tx.orchestrations.entries_of(order.id)]
        assert tx.orchestrations.unexpanded(10) == []
    assert before == after == list(enumerate(_asks(3)))


def test_a_request_that_an_older_version_took_in_is_expanded(store: Store) -> None:
    """It wrote an object for each entry, without what was None."""
    order = _insert(store, _order(2), expand=False)
    asked = [{key: value for key, value in ask._asdict().items() if value is not None} for ask in _asks()]
    with store.transaction() as tx:
        connection = tx.orchestrations._connection
        connection.execute(update(orchestrations).values(pending=asked))
        assert [entry.ask for entry in tx.orchestrations.entries_of(order.id)] == _asks()
        assert tx.orchestrations.expand(order.id) == 2


@pytest.mark.parametrize(
    ("outcomes", "standing"),
    [
        ([Step.SAVED, Step.SAVED], Standing.COMPLETED),
        ([Step.FAILED, Step.SAVED], Standing.PARTIALLY_COMPLETED),
        ([Step.FAILED, Step.FAILED], Standing.FAILED),
    ],
)
def test_the_last_entry_ends_the_orchestration(
    store: Store, outcomes: list[Step], standing: Standing
) -> None:
    """What it is then follows from the counts; why not all are there is said with the first fault."""
    order = _insert(store, _order())
    for position, outcome in enumerate(outcomes):
        with store.snapshot() as tx:
            assert not tx.orchestrations.get(order.id).standing.is_final
        fault = Fault(code=502, kind="protocol", message="why") if outcome is Step.FAILED else None
        _end(store, order.id, position, outcome, fault)
    with store.snapshot() as tx:
        over = tx.orchestrations.get(order.id)
    assert (over.standing, over.ended_at is None) == (standing, False)
    failed = outcomes.count(Step.FAILED)
    assert over.error == (f"{failed} of 2 entries failed; the first: why" if failed else None)


def test_a_stale_write_changes_nothing(store: Store) -> None:
    """Two that read the same row: the second is told, and counts nothing."""
    order = _insert(store, _order(1))
    with store.snapshot() as tx:
        seen = tx.orchestrations.entry((order.id, 0))
    with store.transaction() as tx:
        tx.orchestrations.save(seen.to(Step.STARTING), expected=seen)
    with pytest.raises(StaleVersionError), store.transaction() as tx:
        tx.orchestrations.save(seen.to(Step.CANCELLED), expected=seen)
    with store.snapshot() as tx:
        assert tx.orchestrations.get(order.id).cancelled == 0
        assert tx.orchestrations.entry((order.id, 0)).step is Step.STARTING


def test_standing_never_goes_back(store: Store) -> None:
    """An entry that is behind does not bring back what another one has reached."""
    order = _insert(store, _order())
    for position, standing in ((0, Standing.DATA_ADDRESS_RETRIEVED), (1, Standing.PROCESSING)):
        with store.transaction() as tx:
            before = tx.orchestrations.entry((order.id, position))
            tx.orchestrations.save(before.to(Step.STARTING), expected=before, standing=standing)
    with store.snapshot() as tx:
        assert tx.orchestrations.get(order.id).standing is Standing.DATA_ADDRESS_RETRIEVED


def test_cancelling_takes_what_waits(store: Store) -> None:
    """Also of one that is not expanded; what was begun stays for its own step. Twice is once."""
    order = _insert(store, _order(3))
    with store.transaction() as tx:
        before = tx.orchestrations.entry((order.id, 0))
        tx.orchestrations.save(before.to(Step.STARTING), expected=before)
    with store.transaction() as tx:
        cancelled = tx.orchestrations.cancel(order.id)
    assert (cancelled.is_cancelled, cancelled.cancelled, cancelled.ended_at) == (True, 2, None)
    _insert(store, whole := _order(2), expand=False)
    with store.transaction() as tx:
        over = tx.orchestrations.cancel(whole.id)
        assert tx.orchestrations.cancel(whole.id) == over
    assert (over.standing, over.cancelled) == (Standing.CANCELLED, 2)


def test_the_oldest_go_first_each_with_some(store: Store) -> None:
    """``waiting`` names entries of several orchestrations, but none of those that have enough at work."""
    orders = [_insert(store, _order(5, created_at=NOON + timedelta(seconds=number))) for number in range(3)]
    with store.snapshot() as tx:
        found = tx.orchestrations.waiting(4, of_one=2)
        assert found == [(order.id, position) for order in orders[:2] for position in (0, 1)]
        assert {owner for owner, _ in tx.orchestrations.waiting(99, of_one=9, without=[orders[0].id])} == {
            orders[1].id,
            orders[2].id,
        }


def test_what_was_begun_is_found_after_a_restart(store: Store) -> None:
    """Neither what waits nor what has ended."""
    order = _insert(store, _order(3))
    _end(store, order.id, 0, Step.SAVED)
    with store.transaction() as tx:
        before = tx.orchestrations.entry((order.id, 1))
        tx.orchestrations.save(before.to(Step.STARTING), expected=before)
    with store.snapshot() as tx:
        assert tx.orchestrations.begun() == [(order.id, 1)]


def test_an_idempotency_key_is_taken_once(store: Store) -> None:
    """The second insert is refused and leaves nothing."""
    first = _insert(store, _order(1, idempotency_key="k", digest="d"))
    with store.transaction() as tx, pytest.raises(ConflictError):
        tx.orchestrations.insert([(_order(1, idempotency_key="k"), Asks.of(_asks(1)))])
    with store.snapshot() as tx:
        found = tx.orchestrations.by_idempotency_key("k")
        assert found is not None
        assert found.id == first.id
        assert len(tx.orchestrations.list()[0]) == 1


def test_pages_hold_all_once(store: Store) -> None:
    """Newest first, also where times are equal."""
    ids = {_insert(store, _order(1)).id for _ in range(7)}
    seen: list[UUID] = []
    cursor = None
    while True:
        with store.snapshot() as tx:
            page, cursor = tx.orchestrations.list(after=cursor, limit=3)
        seen += [order.id for order in page]
        if cursor is None:
            break
    assert (len(seen), set(seen)) == (7, ids)


def test_only_what_ended_is_forgotten(store: Store) -> None:
    """With its entries, a bounded number at a time."""
    running, over = _insert(store, _order(1)), _insert(store, _order(1))
    _end(store, over.id, 0, Step.FAILED)
    with store.snapshot() as tx:
        assert tx.orchestrations.expired(NOON + timedelta(days=1), 10) == [over.id]
        assert tx.orchestrations.expired(NOON - timedelta(days=1), 10) == []
    with store.transaction() as tx:
        assert tx.orchestrations.forget(running.id)
        assert tx.orchestrations.forget(over.id)
    with store.snapshot() as tx:
        assert tx.orchestrations.get(running.id).id == running.id
        with pytest.raises(NotFoundError):
            tx.orchestrations.get(over.id)
        assert tx.orchestrations.entries_of(over.id) == []


def test_entries_are_kept_as_they_are(store: Store) -> None:
    """Every field comes back."""
    order = _insert(store, _order(1))
    with store.transaction() as tx:
        before = tx.orchestrations.entry((order.id, 0))
        full = replace(
            before,
            step=Step.STARTING,
            ask=before.ask._replace(transfer_type="t", counter_party_id="i", destination="d:x"),
            outcome=Step.SAVED,
            transfer_id="tp",
            flow_id=uuid4(),
            sink_ref="d:x",
            storage_path="./data/x",
            size_bytes=2**40,
            crc64nvme=2**64 - 1,
            verification="transport",
            renewals=3,
            renewed_at_bytes=7,
            fault=Fault(code=504, kind="late", message="m"),
            note="n",
            started_at=NOON,
        )
        saved = tx.orchestrations.save(full, expected=before)
    with store.snapshot() as tx:
        assert tx.orchestrations.entry((order.id, 0)) == saved
        assert saved.flow_id is not None
        assert tx.orchestrations.of_flow(saved.flow_id) == saved
    assert saved == replace(full, version=1, updated_at=saved.updated_at)


@pytest.mark.parametrize("before", list(Step))
@pytest.mark.parametrize("after", list(Step))
def test_every_pair_of_steps_is_allowed_or_refused(before: Step, after: Step) -> None:
    """As the table says; nothing follows an end."""
    entry = Entry(orchestration_id=uuid4(), position=0, ask=_asks(1)[0], step=before, updated_at=NOON)
    if after in STEPS[before]:
        assert entry.to(after).step is after
        assert not before.is_final
    else:
        with pytest.raises(TransitionError):
            entry.to(after)


def test_nobody_is_told_of_flows_of_our_own(store: Store) -> None:
    """They have no control plane: nothing is put into the outbox."""
    ours, theirs = flow("ours", control_plane_id=OWN_FLOWS), flow("theirs")
    with store.transaction() as tx:
        for one in (ours, theirs):
            tx.flows.insert(one)
            tx.outbox.add(one, "completed")
    with store.snapshot() as tx:
        assert [message.flow_id for message in tx.outbox.list()] == [theirs.id]


def test_a_database_of_the_version_before_is_upgraded(tmp_path: Path) -> None:
    """What it holds stays, and orchestrations can be kept in it."""
    path = tmp_path / "old.db"
    kept = flow()
    database = Database(f"sqlite:///{path}")
    with database.write() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    database.close()
    with sqlite3.connect(path) as plain:
        tables = {name for (name,) in plain.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    plain.close()
    assert "orchestrations" not in tables
    assert "flows" in tables
    opened = Store.open(f"sqlite:///{path}", sealer=Sealer(bytes(32)), clock=StillClock())
    with opened.transaction() as tx:
        tx.flows.insert(kept)
    order = _insert(opened, _order(2))
    with opened.snapshot() as tx:
        assert len(tx.orchestrations.entries_of(order.id)) == 2
        assert tx.flows.get(kept.id) == kept
    opened.close()


def test_a_notice_is_due_with_the_end(store: Store, clock: StillClock) -> None:
    """Not before, not without one, and not once it is settled; one that was not taken waits for its time."""
    quiet, told = _order(1), _order(1, notice=Notice())
    for order in (quiet, told):
        _insert(store, order)
        with store.snapshot() as tx:
            assert tx.orchestrations.notices(10) == []
    for order in (quiet, told):
        _end(store, order.id, 0, Step.SAVED)
    with store.snapshot() as tx:
        assert tx.orchestrations.notices(10) == [told.id]
        assert tx.orchestrations.get(quiet.id).notice is None
    later = Notice(attempts=1, error="x" * 10_000, next_at=NOON + timedelta(seconds=5))
    with store.transaction() as tx:
        assert tx.orchestrations.noted(told.id, later)
        assert tx.orchestrations.notices(10) == []
    clock.moment = NOON + timedelta(seconds=6)
    with store.snapshot() as tx:
        assert tx.orchestrations.notices(10) == [told.id]
        kept = tx.orchestrations.get(told.id).notice
    assert kept is not None
    assert (kept.attempts, kept.next_at, len(kept.error or "")) == (1, later.next_at, 4_000)
    done = Notice(state=NoticeState.DELIVERED, attempts=1, settled_at=NOON)
    with store.transaction() as tx:
        assert tx.orchestrations.noted(told.id, done)
        assert not tx.orchestrations.noted(told.id, Notice())
        assert tx.orchestrations.notices(10) == []
        assert tx.orchestrations.get(told.id).notice == done


def test_only_an_entry_that_waits_is_awaited(store: Store) -> None:
    """By the whole of its reference, from its start until its data is on the way."""
    order = _insert(store, _order(1))
    reference = f"{order.id}/0"
    with store.transaction() as tx:
        assert tx.orchestrations.awaited(reference) is None
        before = tx.orchestrations.entry((order.id, 0))
        begun = tx.orchestrations.save(before.to(Step.STARTING), expected=before)
        assert tx.orchestrations.awaited(reference) == begun
        for wrong in (
            "",
            "/0",
            reference.upper(),
            f"{order.id}/+0",
            f"{order.id}/00",
            f"{order.id}/1",
            "x/y",
        ):
            assert tx.orchestrations.awaited(wrong) is None
        tx.orchestrations.save(begun.to(Step.CLOSING), expected=begun)
        assert tx.orchestrations.awaited(reference) is None
