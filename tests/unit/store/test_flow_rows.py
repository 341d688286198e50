"""Rows of data flows: uniqueness, versions, claims and pages."""

from __future__ import annotations

import random
import string
import threading
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from tests.unit.store.sample_rows import flow

from dataferry.domain.dataflow import DataFlow, Run, State
from dataferry.domain.errors import (
    ConflictError,
    DataFerryError,
    DuplicateProcessError,
    InputError,
    NotFoundError,
    StaleVersionError,
)
from dataferry.domain.keys import MAX_CONTEXT_CHARS, MAX_KEY_BYTES, is_key
from dataferry.domain.location import ControlPlane, Dataset
from dataferry.store.store import Store
from dataferry.testing.ledger_suite import NOON, StillClock


def test_a_flow_comes_back_as_it_was(store: Store) -> None:
    """Every field of a flow survives, the sealed ones included."""
    made = flow()
    with store.transaction() as transaction:
        transaction.flows.insert(made)
    with store.snapshot() as transaction:
        assert transaction.flows.get(made.id) == made


def test_a_process_has_one_flow(store: Store) -> None:
    """A second flow of a process is refused in the same scope, and accepted in another."""
    with store.transaction() as transaction:
        transaction.flows.insert(flow())
        with pytest.raises(DuplicateProcessError):
            transaction.flows.insert(flow(data_flow_id="other"))
        with pytest.raises(ConflictError, match="data flow id"):
            transaction.flows.insert(flow("p2", data_flow_id="p1"))
        transaction.flows.insert(flow(control_plane_id="cp2"))
        transaction.flows.insert(flow(participant_context_id="second"))
        assert len(transaction.flows.list(limit=10)[0]) == 3


def test_the_longest_ids_that_are_taken_fit(store: Store) -> None:
    """On every database, in its columns and its indexes; of what does not compress, and takes four bytes."""
    seeded = random.Random(2026)
    ascii_id, other_id = ("".join(seeded.choices(string.printable[:90], k=MAX_KEY_BYTES)) for _ in range(2))
    context = "".join(chr(0x20000 + seeded.randrange(0xA000)) for _ in range(MAX_CONTEXT_CHARS))
    assert is_key(ascii_id)
    made = flow(ascii_id, control_plane_id=other_id, participant_context_id=context)
    with store.transaction() as transaction:
        transaction.flows.insert(made)
        transaction.catalogue.put_dataset(Dataset(match=other_id, source="here:x"))
        transaction.control_planes.put(ControlPlane(id=other_id))
        transaction.control_planes.registered(other_id)
    with store.snapshot() as transaction:
        assert transaction.flows.find(other_id, context, ascii_id) == made


def test_parallel_inserts_make_one_flow(store: Store) -> None:
    """Of ten threads that insert the same process, one succeeds and nine are told of the duplicate."""
    results = _in_parallel(10, lambda _: _insert(store, flow()))
    assert sorted(results) == ["DuplicateProcessError"] * 9 + ["NoneType"]


def test_a_save_names_what_it_expects(store: Store, clock: StillClock) -> None:
    """A save over the version that was read succeeds once; a second one over the same version is stale."""
    made = flow()
    with store.transaction() as transaction:
        transaction.flows.insert(made)
        clock.moment += timedelta(seconds=1)
        saved = transaction.flows.save(replace(made, state=State.SUSPENDED), expected=made)
        assert (saved.version, saved.updated_at) == (1, clock.moment)
        assert transaction.flows.get(made.id) == saved
        with pytest.raises(StaleVersionError):
            transaction.flows.save(replace(made, state=State.TERMINATED), expected=made)
        assert transaction.flows.get(made.id).state is State.SUSPENDED


def test_a_save_names_the_state_too(store: Store) -> None:
    """The right version with another state than the row's is stale."""
    made = flow()
    with store.transaction() as transaction:
        transaction.flows.insert(made)
        with pytest.raises(StaleVersionError):
            transaction.flows.save(made, expected=replace(made, state=State.PREPARED))


def test_a_save_keeps_identity_and_epoch(store: Store) -> None:
    """Who a flow belongs to and its epoch are not changed by a save."""
    made = flow()
    with store.transaction() as transaction:
        transaction.flows.insert(made)
        claimed = transaction.flows.claim(made.id)
        assert claimed is not None
        transaction.flows.save(
            replace(claimed, process_id="x", control_plane_id="y", epoch=9), expected=claimed
        )
        kept = transaction.flows.get(made.id)
        assert (kept.process_id, kept.control_plane_id, kept.epoch) == ("p1", "cp", 1)


def test_one_of_eight_threads_claims(store: Store) -> None:
    """A queued flow is claimed by exactly one of eight threads, under the next epoch."""
    made = flow()
    assert _insert(store, made) == "NoneType"
    claims: list[DataFlow] = []

    def claim(_: int) -> str:
        with store.transaction() as transaction:
            claimed = transaction.flows.claim(made.id)
        if claimed is not None:
            claims.append(claimed)
        return type(claimed).__name__

    assert sorted(_in_parallel(8, claim)) == ["DataFlow"] + ["NoneType"] * 7
    assert [(claimed.run, claimed.epoch, claimed.version) for claimed in claims] == [(Run.RUNNING, 1, 1)]


def test_only_queued_flows_are_claimed(store: Store) -> None:
    """A held flow, and one that is not there, are not claimed."""
    made = flow(run=Run.HELD)
    with store.transaction() as transaction:
        transaction.flows.insert(made)
        assert transaction.flows.claim(made.id) is None
        assert transaction.flows.claim(uuid4()) is None


def test_running_flows_are_queued_again(store: Store) -> None:
    """What a process that is gone was running is queued, oldest first, and a worker of it is stale."""
    made = [flow(f"p{index}", created_at=NOON + timedelta(seconds=-index)) for index in range(3)]
    with store.transaction() as transaction:
        for each in made:
            transaction.flows.insert(each)
        running = [transaction.flows.claim(each.id) for each in made[:2]]
        assert transaction.flows.queued(10) == [made[2].id]
        assert transaction.flows.requeue_running() == [made[1].id, made[0].id]
        assert transaction.flows.queued(10) == [made[2].id, made[1].id, made[0].id]
        assert running[0] is not None
        with pytest.raises(StaleVersionError):
            transaction.flows.save(running[0], expected=running[0])


def test_an_error_rolls_everything_back(store: Store) -> None:
    """A transaction that raises leaves no row."""
    made = flow()
    with pytest.raises(KeyError):
        _insert_and_raise(store, made)
    with store.snapshot() as transaction:
        assert transaction.outbox.list() == []
        with pytest.raises(NotFoundError):
            transaction.flows.get(made.id)


def test_a_transaction_does_not_wait_for_itself(store: Store) -> None:
    """A second transaction, or a wait for the ledger, within a transaction is refused at once."""
    with store.transaction():
        with pytest.raises(RuntimeError), store.transaction():
            pass
        with pytest.raises(RuntimeError):
            store.ledger.abandon_all("t")
    with store.transaction() as transaction:
        assert transaction.flows.queued(1) == []


def test_find_prefers_the_data_flow_id(store: Store) -> None:
    """In a scope a flow is found by either id; one's dataFlowId goes before another's processId."""
    first, second = flow("p1", data_flow_id="d1"), flow("p2", data_flow_id="p1x")
    third = flow("p1x", data_flow_id="d3")
    with store.transaction() as transaction:
        for each in (first, second, third):
            transaction.flows.insert(each)
        assert transaction.flows.find("cp", "default", "d1") == first
        assert transaction.flows.find("cp", "default", "p1") == first
        assert transaction.flows.find("cp", "default", "p1x") == second
        with pytest.raises(NotFoundError):
            transaction.flows.find("other", "default", "p1")
        assert transaction.flows.by_process("cp", "default", "p2") == second
        assert transaction.flows.by_process("cp", "default", "d1") is None
        assert transaction.flows.data_flow_id_taken("cp", "default", "p2")
        assert not transaction.flows.data_flow_id_taken("cp", "other", "p2")


def test_operators_resolve_over_scopes(store: Store) -> None:
    """An operator names a flow by any id; one that several flows go by is refused with their internal ids."""
    first, second = flow("p1"), flow("p1", control_plane_id="cp2")
    with store.transaction() as transaction:
        transaction.flows.insert(first)
        assert transaction.flows.resolve("p1") == first
        transaction.flows.insert(second)
        with pytest.raises(ConflictError, match=str(second.id)):
            transaction.flows.resolve("p1")
        assert transaction.flows.resolve(str(second.id)) == second
        with pytest.raises(NotFoundError):
            transaction.flows.resolve("p9")


def test_pages_hold_every_flow_once(store: Store) -> None:
    """Following the cursors meets every flow once, newest first, equal times included."""
    made = [flow(f"p{index}", created_at=NOON + timedelta(seconds=index // 3)) for index in range(10)]
    seen: list[UUID] = []
    with store.transaction() as transaction:
        for each in made:
            transaction.flows.insert(each)
        cursor: str | None = None
        for _ in range(4):
            page, cursor = transaction.flows.list(after=cursor, limit=3)
            seen += [each.id for each in page]
        assert cursor is None
    assert set(seen) == {each.id for each in made}
    assert len(seen) == 10
    times = {each.id: each.created_at for each in made}
    assert [times[each] for each in seen] == sorted((times[each] for each in seen), reverse=True)


def test_lists_are_filtered(store: Store) -> None:
    """State, run and control plane select flows."""
    with store.transaction() as transaction:
        transaction.flows.insert(flow("p1"))
        transaction.flows.insert(flow("p2", state=State.COMPLETED, run=Run.DONE))
        transaction.flows.insert(flow("p3", control_plane_id="cp2"))
        repository = transaction.flows
        assert [each.process_id for each in repository.list(state=State.COMPLETED)[0]] == ["p2"]
        assert [each.process_id for each in repository.list(run=Run.DONE)[0]] == ["p2"]
        assert [each.process_id for each in repository.list(control_plane_id="cp2")[0]] == ["p3"]
        assert repository.counts() == {Run.QUEUED: 2, Run.DONE: 1}


def test_a_bad_cursor_is_the_callers_fault(store: Store) -> None:
    """A cursor that is not ours is refused as input."""
    with store.snapshot() as transaction, pytest.raises(InputError):
        transaction.flows.list(after="bm9uc2Vuc2U")


def _insert_and_raise(store: Store, made: DataFlow) -> None:
    """Write, and then fail."""
    with store.transaction() as transaction:
        transaction.flows.insert(made)
        transaction.outbox.add(made, "started")
        raise KeyError


def _insert(store: Store, made: DataFlow) -> str:
    """Insert a flow, and return the name of what happened."""
    try:
        with store.transaction() as transaction:
            transaction.flows.insert(made)
    except DataFerryError as exc:
        return type(exc).__name__
    return "NoneType"


def _in_parallel(count: int, work: object) -> list[str]:
    """Run ``work(index)`` in threads that begin together."""
    assert callable(work)
    results: list[str] = []
    together = threading.Barrier(count)

    def run(index: int) -> None:
        together.wait()
        results.append(work(index))

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results
