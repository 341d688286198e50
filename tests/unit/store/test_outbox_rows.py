"""The outbox: order per flow, dead letters, and what a terminate takes back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.store.sample_rows import flow

from dataferry.domain.dataflow import DataFlow, State
from dataferry.domain.errors import ConflictError, NotFoundError
from dataferry.store.records import OutboxState
from dataferry.store.store import Store
from dataferry.testing.ledger_suite import StillClock


@pytest.fixture
def flows(store: Store) -> tuple[DataFlow, DataFlow]:
    """Two stored flows."""
    made = flow("p1"), flow("p2")
    with store.transaction() as transaction:
        for each in made:
            transaction.flows.insert(each)
    return made


def _due(store: Store) -> list[str]:
    with store.snapshot() as transaction:
        return [message.message_id for message in transaction.outbox.due(10)]


def test_only_the_oldest_of_a_flow_is_due(store: Store, flows: tuple[DataFlow, DataFlow]) -> None:
    """Messages of one flow go out one after the other; another flow's do not wait for them."""
    with store.transaction() as transaction:
        first = transaction.outbox.add(flows[0], "started", with_address=True)
        second = transaction.outbox.add(flows[0], "completed")
        other = transaction.outbox.add(flows[1], "errored", error="it broke")
    assert _due(store) == [first, other]
    with store.transaction() as transaction:
        assert transaction.outbox.sent(first)
    assert _due(store) == [second, other] or _due(store) == [other, second]


def test_a_message_tells_the_state_of_its_time(store: Store, flows: tuple[DataFlow, DataFlow]) -> None:
    """The state is that of the flow when the message was written, whatever came later."""
    with store.transaction() as transaction:
        message_id = transaction.outbox.add(flows[0], "errored", error="it broke", with_address=True)
        message = transaction.outbox.get(message_id)
    assert (message.flow_state, message.error, message.with_address) == (State.STARTED, "it broke", True)
    assert (message.flow_id, message.kind, message.attempts) == (flows[0].id, "errored", 0)


def test_a_failed_attempt_waits_and_blocks_its_flow(
    store: Store, flows: tuple[DataFlow, DataFlow], clock: StillClock
) -> None:
    """A message to be retried is due at its time, and the later ones of its flow wait for it."""
    with store.transaction() as transaction:
        first = transaction.outbox.add(flows[0], "started")
        transaction.outbox.add(flows[0], "completed")
        transaction.outbox.later(first, error="refused", retry_at=clock.moment + timedelta(seconds=5))
    assert _due(store) == []
    clock.moment += timedelta(seconds=5)
    assert _due(store) == [first]
    with store.snapshot() as transaction:
        message = transaction.outbox.get(first)
    assert (message.attempts, message.last_error) == (1, "refused")


def test_a_dead_message_blocks_nobody(store: Store, flows: tuple[DataFlow, DataFlow]) -> None:
    """After one was given up the next of its flow is due; retried, it goes first again."""
    with store.transaction() as transaction:
        first = transaction.outbox.add(flows[0], "started")
        second = transaction.outbox.add(flows[0], "errored")
        transaction.outbox.dead(first, error="410")
    assert _due(store) == [second]
    with store.transaction() as transaction:
        dead = transaction.outbox.list(state=OutboxState.DEAD)
        assert [(message.message_id, message.last_error) for message in dead] == [(first, "410")]
        assert transaction.outbox.retry(first).state is OutboxState.PENDING
    assert _due(store) == [first]


def test_only_dead_messages_are_retried(store: Store, flows: tuple[DataFlow, DataFlow]) -> None:
    """A message that is pending, or not there, can't be retried."""
    with store.transaction() as transaction:
        first = transaction.outbox.add(flows[0], "started")
        with pytest.raises(ConflictError):
            transaction.outbox.retry(first)
        with pytest.raises(NotFoundError):
            transaction.outbox.retry("x")


def test_void_takes_back_what_is_pending(store: Store, flows: tuple[DataFlow, DataFlow]) -> None:
    """A flow's pending messages are voided and stay so, even if one is just being sent; others' are not."""
    with store.transaction() as transaction:
        sent = transaction.outbox.add(flows[0], "started")
        transaction.outbox.sent(sent)
        pending = [transaction.outbox.add(flows[0], kind) for kind in ("completed", "errored")]
        other = transaction.outbox.add(flows[1], "started")
        assert transaction.outbox.void(flows[0].id) == 2
        assert not transaction.outbox.sent(pending[0])
        assert not transaction.outbox.dead(pending[1], error="x")
        states = {each.message_id: each.state for each in transaction.outbox.list(flows[0].id)}
    assert states == {sent: OutboxState.SENT, **dict.fromkeys(pending, OutboxState.VOID)}
    assert _due(store) == [other]
