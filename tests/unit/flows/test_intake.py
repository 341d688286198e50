"""How requests get into the store: together, each told once it is there."""

from __future__ import annotations

import sqlite3
from concurrent.futures import wait
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import event

from dataferry.domain.asks import Asks
from dataferry.domain.clock import SystemClock
from dataferry.domain.errors import ConflictError, DatabaseUnavailableError
from dataferry.domain.orchestration import Ask, Orchestration
from dataferry.flows.orchestration.intake import Intake
from dataferry.secrets.sealing import Sealer
from dataferry.store.store import Store

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ASKS = Asks.of([Ask(counter_party_address="http://p", contract_id="c", connector_id="did:web:p")])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """On SQLite."""
    return Store.open(f"sqlite:///{tmp_path / 'x.db'}", sealer=Sealer(bytes(32)), clock=SystemClock())


def _made(key: str | None = None, digest: str = "") -> Orchestration:
    return Orchestration(
        id=uuid4(),
        connector_address="http://edc",
        idempotency_key=key,
        digest=digest,
        entries=1,
        created_at=NOON,
        updated_at=NOON,
    )


def test_a_crowd_is_written_together(store: Store) -> None:
    """Each is there when its future says so; the disk was waited for a few times only."""
    commits: list[object] = []
    event.listen(store._database.engine, "commit", commits.append)
    intake = Intake(store)
    wanted = [_made() for _ in range(200)]
    futures = [intake.submit(made, ASKS) for made in wanted]
    for made, future in zip(wanted, futures, strict=True):
        assert future.result(30) is made
        with store.snapshot() as tx:
            assert tx.orchestrations.get(made.id) == made
    intake.close()
    assert len(commits) < 20


def test_a_key_stands_for_the_first_request_in_a_crowd_too(store: Store) -> None:
    """Who repeats it gets the first one; another request under it is refused, and its neighbours are not."""
    intake = Intake(store)
    first, again, other, plain = _made("k", "d"), _made("k", "d"), _made("k", "e"), _made()
    futures = [intake.submit(made, ASKS) for made in (first, again, other, plain)]
    wait(futures, 30)
    assert [futures[number].result().id for number in (0, 1, 3)] == [first.id, first.id, plain.id]
    with pytest.raises(ConflictError):
        futures[2].result()
    assert intake.submit(_made("k", "d"), ASKS).result(30).id == first.id
    intake.close()


def test_each_is_told_why_nothing_was_written(store: Store) -> None:
    """And the next ones are written once that is over."""
    intake = Intake(store)
    store.suspend("no database")
    futures = [intake.submit(_made(), ASKS) for _ in range(3)]
    for future in futures:
        with pytest.raises(DatabaseUnavailableError):
            future.result(30)
    store.resume()
    assert intake.submit(_made(), ASKS).result(30)
    intake.close()


def test_a_request_that_can_not_be_kept_fails_alone(store: Store) -> None:
    """Those that came with it are written all the same."""
    intake = Intake(store)
    wanted = [_made() for _ in range(5)]
    wanted[2] = replace(wanted[2], connector_address="http://\ud800")
    futures = [intake.submit(made, ASKS) for made in wanted]
    wait(futures, 30)
    assert [future.exception() is None for future in futures] == [True, True, False, True, True]
    with store.snapshot() as tx:
        assert [tx.orchestrations.get(one.id) for one in (wanted[0], wanted[4])] == [wanted[0], wanted[4]]
    intake.close()


def test_what_waits_is_written_before_it_ends(store: Store) -> None:
    """Whoever closes it waits for that."""
    intake = Intake(store)
    futures = [intake.submit(_made(), ASKS) for _ in range(100)]
    intake.close()
    assert all(future.done() and not future.exception() for future in futures)


def test_a_database_that_another_process_holds_is_no_conflict_of_a_key(store: Store, tmp_path: Path) -> None:
    """Each caller may repeat the request, and has an error of its own to raise."""
    intake = Intake(store)
    event.listen(store._database.engine, "connect", lambda made, _: made.execute("PRAGMA busy_timeout = 10"))
    store._database.engine.dispose()
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        futures = [intake.submit(_made(f"k{number}"), ASKS) for number in range(3)]
        errors = [future.exception(30) for future in futures]
    assert {type(error) for error in errors} == {DatabaseUnavailableError}
    assert len(set(map(id, errors))) == 3
    assert intake.submit(_made("k0"), ASKS).result(30)
    intake.close()
