"""A PostgreSQL that is there and says nothing: everybody who waits for it is told so, in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from uuid import UUID

import pytest
from sqlalchemy import text
from tests.servers.postgresql import PostgresServer
from tests.servers.proxy import Proxy
from tests.unit.store.sample_rows import flow

from dataferry.app.keeper import Keeper
from dataferry.domain.clock import SystemClock
from dataferry.domain.errors import DatabaseUnavailableError
from dataferry.domain.ledger import Attempt
from dataferry.secrets.sealing import Sealer
from dataferry.store import database as database_module
from dataferry.store import database_postgresql
from dataferry.store.database import Database
from dataferry.store.store import Store
from dataferry.store.tenure import Tenure
from dataferry.testing.ledger_suite import planned

SILENCE_S, LOCK_TIMEOUT_S = 0.6, 1.0
# Beyond the bound: the driver looks each 0.1 s, and the machine has other things to do.
LEEWAY_S = 10.0


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that nobody else uses: it will stand still."""
    with PostgresServer() as started:
        yield started


@pytest.fixture
def url(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database with tables, of which silence is noticed within a second."""
    for name in ("READ_SILENCE_S", "TENURE_SILENCE_S", "WRITE_SILENCE_S"):
        monkeypatch.setattr(database_postgresql, name, SILENCE_S)
    monkeypatch.setattr(database_module, "LOCK_TIMEOUT_S", LOCK_TIMEOUT_S)
    monkeypatch.setitem(database_postgresql._OUR_SIDE, "connect_timeout", 2)
    with server.database() as found:
        yield found


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A store with a flow in it, and connections that were used."""
    with closing(_open(url)) as made:
        yield made


def _open(url: str) -> Store:
    return Store.open(url, sealer=Sealer(bytes(32)), clock=SystemClock())


def _refused(call: Callable[[], object]) -> float:
    """Call what must be refused because the database is silent; return how long that took."""
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailableError, match="does not answer") as caught:
        call()
    assert caught.value.is_temporary
    assert caught.value.retry_after_s is not None
    return time.monotonic() - began


def _claimed(store: Store) -> Attempt:
    """A flow that is worked on."""
    made = flow()
    with store.transaction() as tx:
        tx.flows.insert(made)
        claimed = tx.flows.claim(made.id)
    assert claimed is not None
    return Attempt(transfer_id=str(made.id), epoch=claimed.epoch)


def test_who_reads_and_who_writes_is_told(store: Store, server: PostgresServer) -> None:
    """Requests, use cases and the ledger; when the server goes on, so does the store, with all it had."""
    attempt = _claimed(store)
    store.ledger.add(attempt, [planned("a")], cursor="c")

    def read() -> None:
        with store.snapshot() as tx:
            tx.flows.get(UUID(attempt.transfer_id))

    def write() -> None:
        with store.transaction() as tx:
            tx.events.add(UUID(attempt.transfer_id), "lost", "")

    with server.frozen():
        calls = (read, write, store.ping, lambda: store.ledger.totals(attempt.transfer_id))
        for call in calls:
            assert _refused(call) < SILENCE_S + LEEWAY_S
    _until(_answers(store))
    with store.snapshot() as tx:
        assert tx.events.list(UUID(attempt.transfer_id)) == []
    assert store.ledger.totals(attempt.transfer_id).objects_total == 1
    write()


def test_a_commit_that_nobody_answers_is_not_waited_for(store: Store, server: PostgresServer) -> None:
    """It may or may not be done, as where a connection is lost."""
    attempt = _claimed(store)
    with ExitStack() as standing_still:

        def commit() -> None:
            with store.transaction() as tx:
                tx.events.add(UUID(attempt.transfer_id), "unknown", "")
                standing_still.enter_context(server.frozen())

        assert _refused(commit) < LOCK_TIMEOUT_S + SILENCE_S + LEEWAY_S
    _until(_answers(store))


def test_what_only_takes_long_is_not_silence(url: str) -> None:
    """Rows that come all the time are waited for; so is what an upgrade does to tables."""
    trickle = "SELECT pg_sleep(0.2), repeat('x', 20000) FROM generate_series(1, 8)"
    with closing(Database(url)) as database, database.read() as connection:
        assert len(connection.execute(text(trickle)).all()) == 8
    with closing(Database(url, is_patient=True)) as patient, patient.write() as connection:
        connection.execute(text(f"SELECT pg_sleep({LOCK_TIMEOUT_S + 3 * SILENCE_S})"))
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "0"


def test_the_server_ends_what_nobody_waits_for_any_more(url: str) -> None:
    """Each statement has a bound there too, a little sooner than ours."""
    with closing(Database(url)) as database, database.read() as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "11s"


def test_the_keeper_notices_a_silent_way_and_takes_its_lock_back(server: PostgresServer, url: str) -> None:
    """Nothing is written meanwhile; the session that the server still has for us is not taken for a rival."""
    with Proxy(server.port) as proxy:
        through = url.replace(f":{server.port}/", f":{proxy.port}/")
        replaced: list[str] = []
        with closing(_open(through)) as store, Tenure(through) as tenure:
            attempt = _claimed(store)
            keeper = Keeper(tenure, store, replaced.append)
            keeper.tick()
            proxy.faults.blackhole = True
            began = time.monotonic()
            keeper.tick()
            assert time.monotonic() - began < SILENCE_S + 2 + LEEWAY_S
            assert not tenure.is_held()
            with pytest.raises(DatabaseUnavailableError, match="only one was lost"), store.transaction():
                pass
            # The server has not heard that we gave the connection up, and never will.
            proxy.faults.blackhole = False

            def held_again() -> bool:
                keeper.tick()
                return tenure.is_held()

            _until(held_again)
            with store.transaction() as tx:
                tx.events.add(UUID(attempt.transfer_id), "again", "")
    assert replaced == []


def test_while_nothing_is_written_nobody_waits_for_a_writer(store: Store) -> None:
    """Who comes is told at once, though a transaction that began before has not ended."""
    within, ended = threading.Event(), threading.Event()

    def write() -> None:
        with suppress(DatabaseUnavailableError), store.transaction():
            within.set()
            ended.wait(30)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        within.wait(30)
        store.suspend("the lock is lost")
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailableError, match="the lock is lost"), store.transaction():
            pass
        assert time.monotonic() - began < LOCK_TIMEOUT_S
    finally:
        ended.set()
        writer.join(30)


def _answers(store: Store) -> Callable[[], bool]:
    """Return what asks whether the database answers."""

    def ask() -> bool:
        store.ping()
        return True

    return ask


def _until(condition: Callable[[], bool]) -> None:
    """Try until something is so; a database that does not answer yet is tried again."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except DatabaseUnavailableError:
            pass
        threading.Event().wait(0.05)
    raise AssertionError("it does not come back")
