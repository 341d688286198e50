"""Rows of transitions: one for each change, in the transaction of the change; and how far readers are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from tests.unit.store.sample_rows import PLANTED, flow

from dataferry.domain.asks import Asks
from dataferry.domain.dataflow import DataFlow, Run, State
from dataferry.domain.errors import StaleVersionError
from dataferry.domain.orchestration import Ask, Orchestration, Standing, Step
from dataferry.store import transitions
from dataferry.store.records import FlowTransition, OrchestrationTransition, Transition
from dataferry.store.store import Store
from dataferry.testing.ledger_suite import NOON


def all_of(store: Store, after: int = 0) -> Sequence[Transition]:
    """Every transition."""
    with store.snapshot() as tx:
        return tx.transitions.since(after, 1_000)


def states(store: Store) -> list[tuple[State, Run]]:
    """What became of flows."""
    return [(one.state, one.run) for one in all_of(store) if isinstance(one, FlowTransition)]


def test_each_change_of_state_or_run_is_a_row(store: Store) -> None:
    """A new flow, a claim, a save and a restart; what changes neither is none."""
    made = flow()
    with store.transaction() as tx:
        tx.flows.insert(made)
    with store.transaction() as tx:
        claimed = tx.flows.claim(made.id)
        assert claimed is not None
        assert tx.flows.claim(made.id) is None
    with store.transaction() as tx:
        assert tx.flows.requeue_running() == [made.id]
    with store.transaction() as tx:
        before = tx.flows.get(made.id)
        same = tx.flows.save(replace(before, source_ref="plant:b/"), expected=before)
        failed = replace(same, run=Run.FAILED, error="it broke", error_kind="stalled")
        tx.flows.save(failed, expected=same)
    assert states(store) == [
        (State.STARTED, Run.QUEUED),
        (State.STARTED, Run.RUNNING),
        (State.STARTED, Run.QUEUED),
        (State.STARTED, Run.FAILED),
    ]
    last = all_of(store)[-1]
    assert isinstance(last, FlowTransition)
    assert (last.flow_id, last.process_id, last.data_flow_id) == (made.id, "p1", "p1")
    assert (last.error, last.error_kind, last.reason) == ("it broke", "stalled", "why")
    assert PLANTED not in repr(all_of(store))


def test_what_is_rolled_back_is_no_transition(store: Store) -> None:
    """Neither a write that lost against another, nor one whose transaction broke off."""
    made = flow()
    with store.transaction() as tx:
        tx.flows.insert(made)
    with store.transaction() as tx:
        read = tx.flows.get(made.id)
        with pytest.raises(StaleVersionError):
            tx.flows.save(replace(read, run=Run.HELD), expected=replace(read, version=7))
    with pytest.raises(KeyError):
        _claim_and_break_off(store, made)
    assert states(store) == [(State.STARTED, Run.QUEUED)]


def _claim_and_break_off(store: Store, made: DataFlow) -> None:
    with store.transaction() as tx:
        tx.flows.claim(made.id)
        raise KeyError


def test_numbers_grow_and_are_never_given_again(store: Store) -> None:
    """The order is that of the commits; what a forgotten flow had is no other's."""
    long_ago = NOON - timedelta(days=100)
    old = flow("old", state=State.COMPLETED, run=Run.DONE, created_at=long_ago, updated_at=long_ago)
    with store.transaction() as tx:
        tx.flows.insert(old)
    with store.transaction() as tx:
        last = tx.transitions.last()
        while not tx.retention.forget(old.id, NOON):
            pass
    assert all_of(store) == []
    with store.transaction() as tx:
        tx.flows.insert(flow("new"))
    (new,) = all_of(store)
    assert new.sequence > last
    assert all_of(store, new.sequence) == []
    with store.snapshot() as tx:
        assert (tx.transitions.count(last), tx.transitions.count(new.sequence)) == (1, 0)


def test_a_flow_has_a_bounded_number_of_them(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go, those of others stay; a text is cut."""
    monkeypatch.setattr(transitions, "MAX_TRANSITIONS", 3)
    made, other = flow(), flow("other", reason="x" * 10_000)
    with store.transaction() as tx:
        tx.flows.insert(other)
        tx.flows.insert(made)
        for _ in range(3):
            tx.flows.claim(made.id)
            tx.flows.requeue_running()
    mine = [one for one in all_of(store) if isinstance(one, FlowTransition) and one.flow_id == made.id]
    assert [one.run for one in mine] == [Run.QUEUED, Run.RUNNING, Run.QUEUED]
    kept = next(one for one in all_of(store) if isinstance(one, FlowTransition) and one.flow_id == other.id)
    assert kept.reason == "x" * transitions.MAX_TEXT_CHARS


def test_orchestrations_have_theirs(store: Store) -> None:
    """Where it stands, each place once, with the counts and the error of the end."""
    order = Orchestration(
        id=uuid4(), connector_address="http://edc", entries=2, created_at=NOON, updated_at=NOON
    )
    asks = [
        Ask(counter_party_address="http://p", contract_id=f"c{n}", connector_id="did:web:p") for n in (0, 1)
    ]
    with store.transaction() as tx:
        tx.orchestrations.insert([(order, Asks.of(asks))])
        tx.orchestrations.expand(order.id)
    for position in (0, 1):
        for step in (Step.STARTING, Step.CLOSING, Step.FAILED):
            with store.transaction() as tx:
                before = tx.orchestrations.entry((order.id, position))
                tx.orchestrations.save(before.to(step), expected=before, standing=Standing.PROCESSING)
    told = [one for one in all_of(store) if isinstance(one, OrchestrationTransition)]
    assert [one.standing for one in told] == [Standing.QUEUED, Standing.PROCESSING, Standing.FAILED]
    assert (told[-1].entries, told[-1].saved, told[-1].failed) == (2, 0, 2)
    assert told[-1].error is not None
    assert {one.orchestration_id for one in told} == {order.id}


def test_a_reader_has_its_place(store: Store) -> None:
    """None before it ever read; then where it was moved to last, for each reader by itself."""
    with store.transaction() as tx:
        assert tx.transitions.place("one") is None
        tx.transitions.move("one", 7)
        tx.transitions.move("two", 1)
        tx.transitions.move("one", 9)
    with store.snapshot() as tx:
        assert (tx.transitions.place("one"), tx.transitions.place("two")) == (9, 1)
