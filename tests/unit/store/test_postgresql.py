"""What is PostgreSQL's own: turns of writers, snapshots, what is refused and how, a server that goes away."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.servers.postgresql import PostgresServer
from tests.unit.store.sample_rows import PLANTED, flow

from dataferry.domain.dataflow import State
from dataferry.domain.errors import (
    ConfigError,
    DatabaseUnavailableError,
    DataFerryError,
    InputError,
    NotFoundError,
    StaleVersionError,
    StorageError,
)
from dataferry.domain.ledger import Attempt
from dataferry.flows.writing import by_id, change
from dataferry.secrets.sealing import Sealer
from dataferry.store import database as database_module
from dataferry.store.database import Database
from dataferry.store.store import Store
from dataferry.testing.ledger_suite import StillClock, planned


@pytest.fixture
def url(postgresql: PostgresServer) -> Iterator[str]:
    """An empty database with the tables of this version."""
    with postgresql.clean_database() as found:
        yield found


@pytest.fixture
def pair(url: str) -> Iterator[tuple[Store, Store]]:
    """Two stores on one database, as two processes have them."""
    made = (_open(url), _open(url))
    yield made
    for store in made:
        store.close()


def test_writers_of_two_processes_take_turns(pair: tuple[Store, Store]) -> None:
    """What a transaction has read is still so when it writes: nobody else wrote in between."""
    first, second = pair
    made = flow()
    with first.transaction() as tx:
        tx.flows.insert(made)
    order: list[str] = []

    def other() -> None:
        change(second, by_id(made.id), lambda _, row: replace(row, reason="second"))
        order.append("second")

    with first.transaction() as tx:
        row = tx.flows.get(made.id)
        thread = threading.Thread(target=other)
        thread.start()
        _wait_until_somebody_waits(first)
        tx.flows.save(replace(row, state=State.SUSPENDED), expected=row)
        order.append("first")
    thread.join(30)
    with first.snapshot() as tx:
        row = tx.flows.get(made.id)
    assert order == ["first", "second"]
    assert (row.state, row.reason, row.version) == (State.SUSPENDED, "second", made.version + 2)


def test_events_become_visible_in_the_order_of_their_numbers(pair: tuple[Store, Store]) -> None:
    """A reader that asks for what is newer than the last one never misses one that was written meanwhile."""
    made = flow()
    with pair[0].transaction() as tx:
        tx.flows.insert(made)
    seen: list[int] = []
    ended = threading.Event()

    def read() -> None:
        while True:
            last = ended.is_set()
            with pair[0].snapshot() as tx:
                seen.extend(event.id for event in tx.events.since(seen[-1] if seen else 0))
            if last:
                return

    def write(store: Store) -> None:
        for number in range(40):
            with store.transaction() as tx:
                tx.events.add(made.id, "tick", str(number))

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(pair[number % 2],)) for number in range(4)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join(60)
    ended.set()
    reader.join(60)
    assert seen == list(range(1, 161))


def test_a_snapshot_is_of_one_moment_and_writes_nothing(pair: tuple[Store, Store]) -> None:
    """What is committed while one reads is not seen, and a write by mistake is refused."""
    made = flow()
    with pair[0].snapshot() as tx:
        assert tx.flows.counts() == {}
        with pair[1].transaction() as other:
            other.flows.insert(made)
        with pytest.raises(NotFoundError):
            tx.flows.get(made.id)
    with pair[0].snapshot() as tx, pytest.raises(DBAPIError, match="read-only transaction"):
        tx.flows.requeue_running()
    with pair[0].snapshot() as tx:
        assert tx.flows.get(made.id) == made


def test_a_ledger_is_fenced_by_the_other_process(pair: tuple[Store, Store]) -> None:
    """A claim in one process ends what an attempt of the other may write."""
    made = flow()
    with pair[0].transaction() as tx:
        tx.flows.insert(made)
        claimed = tx.flows.claim(made.id)
    assert claimed is not None
    attempt = Attempt(transfer_id=str(made.id), epoch=claimed.epoch)
    pair[0].ledger.add(attempt, [planned("a")], cursor="c")
    with pair[1].transaction() as tx:
        assert tx.flows.requeue_running() == [made.id]
        assert tx.flows.claim(made.id) is not None
    with pytest.raises(DataFerryError, match="replaced by attempt 2"):
        pair[0].ledger.add(attempt, [planned("b")], cursor="d")


@pytest.mark.parametrize(
    "value", ["nul\0", "half a pair \ud800", "x" * 301], ids=["nul", "surrogate", "too-long"]
)
def test_text_that_does_not_fit_is_the_callers_fault(url: str, value: str) -> None:
    """It is refused as input, nothing is written, and the value is not repeated."""
    store = _open(url)
    try:
        with pytest.raises(InputError) as caught:
            _insert(store, value)
        assert value not in str(caught.value)
        if len(value) < 100:
            with pytest.raises(InputError), store.snapshot() as tx:
                tx.flows.find("cp", "default", value)
        made = flow()
        with store.transaction() as tx:
            tx.flows.insert(made)
            claimed = tx.flows.claim(made.id)
        assert claimed is not None
        attempt = Attempt(transfer_id=str(made.id), epoch=claimed.epoch)
        if len(value) < 100:
            with pytest.raises(InputError):
                store.ledger.add(attempt, [planned(value)], cursor=None)
        store.ledger.add(attempt, [planned("good")], cursor=None)
        assert store.ledger.totals(str(made.id)).objects_total == 1
    finally:
        store.close()


def test_nothing_in_plain_is_in_the_tables(url: str, postgresql: PostgresServer) -> None:
    """Credentials of addresses, metadata and claims stand in no row of any table as they are."""
    store = _open(url)
    with store.transaction() as tx:
        tx.flows.insert(flow())
    store.close()
    name = url.rpartition("/")[2]
    tables = postgresql.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", database=name)
    dump = "".join(str(postgresql.execute(f'TABLE "{table}"', database=name)) for (table,) in tables)
    assert "p1" in dump
    assert PLANTED not in dump


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("40001", StaleVersionError),
        ("40P01", StaleVersionError),
        ("55P03", DatabaseUnavailableError),
        ("53300", DatabaseUnavailableError),
        ("57P01", DatabaseUnavailableError),
        ("25006", DatabaseUnavailableError),
        ("53100", DataFerryError),
        ("42501", ConfigError),
        ("22P02", InputError),
        ("54000", InputError),
        ("P0001", StorageError),
    ],
)
def test_errors_are_translated(url: str, state: str, kind: type[DataFerryError]) -> None:
    """What the server really raises becomes an error of ours, of a kind that says whether to try again."""
    database = Database(url)
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'a s3cret value' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(kind) as caught, database.write() as connection:
        connection.execute(text(raising))
    database.close()
    assert "s3cret" not in str(caught.value)
    assert (caught.value.retry_after_s is not None) == isinstance(caught.value, DatabaseUnavailableError)


def test_a_deadlock_is_tried_again(url: str) -> None:
    """Where somebody's own SQL makes PostgreSQL break our transaction off, the use case is done once more."""
    store = _open(url)
    made = flow()
    with store.transaction() as tx:
        tx.flows.insert(made)
    tries = []

    def decide(tx: Any, row: Any) -> Any:
        tries.append(row.version)
        if len(tries) == 1:
            raising = "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40P01'; END $$"
            tx.flows._connection.execute(text(raising))
        return replace(row, reason="done")

    assert change(store, by_id(made.id), decide).after.reason == "done"
    store.close()
    assert len(tries) == 2


def test_another_writer_that_does_not_end_is_an_outage(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits too long for somebody else's transaction is told so."""
    holder, waiter = Database(url), None
    monkeypatch.setattr(database_module, "LOCK_TIMEOUT_S", 1.0)
    waiter = Database(url)
    with holder.write(), pytest.raises(DatabaseUnavailableError, match="another process"), waiter.write():
        pass
    with waiter.write():
        pass
    holder.close()
    waiter.close()


def test_a_transaction_within_a_transaction_is_refused(url: str) -> None:
    """It would wait for itself."""
    store = _open(url)
    with store.transaction(), pytest.raises(RuntimeError, match="end it first"), store.transaction():
        pass
    store.close()


@pytest.mark.parametrize(
    ("change_url", "words"),
    [
        (lambda url: re.sub(":[^:@]*@", ":wrong-s3cret@", url), "refuses its user or password"),
        (lambda url: url.replace("//dataferry:", "//nobody-s3cret:"), "refuses its user or password"),
        (lambda url: url.rpartition("/")[0] + "/s3cret_absent", "is not there"),
        (lambda url: url + "?s3cret=1", "parameter"),
        (lambda url: url + "?sslmode=require", "TLS"),
        (lambda url: url.replace("postgresql:", "postgresql+asyncpg:"), "psycopg"),
        (lambda url: url.replace("postgresql:", "mysql:"), "no driver for mysql"),
    ],
)
def test_a_wrong_url_is_the_operators_fault(url: str, change_url: Callable[[str], str], words: str) -> None:
    """What is wrong with it is said, and nothing of it is shown."""
    with pytest.raises(ConfigError, match=words) as caught:
        _open(change_url(url))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_urls_as_others_write_them(url: str, scheme: str) -> None:
    """All usual ways to write a URL mean the same driver."""
    _open(url.replace("postgresql", scheme, 1)).close()


def test_a_missing_driver_is_told_with_the_way_out() -> None:
    """Without the extra, the URL is refused with the command that installs it."""
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from dataferry.store.store import Store\n"
        "Store.upgrade('postgresql://somebody:s3cret@127.0.0.1/x')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ConfigError: [store] url: the driver for PostgreSQL is not installed" in done.stderr
    assert "pip install 'dataferry[postgresql]'" in done.stderr
    assert "s3cret" not in done.stderr


def test_another_encoding_is_refused(postgresql: PostgresServer) -> None:
    """Names of objects are Unicode; a database that can't hold them is not begun with."""
    options = "ENCODING 'LATIN1' TEMPLATE template0"
    with (
        postgresql.database(migrated=False, options=options) as url,
        pytest.raises(ConfigError, match="encoding is LATIN1"),
    ):
        Store.upgrade(url)


def test_another_programs_database_is_left_alone(postgresql: PostgresServer) -> None:
    """Its tables are not touched."""
    with postgresql.database(migrated=False) as url:
        name = url.rpartition("/")[2]
        postgresql.execute("CREATE TABLE recipes (id integer)", database=name)
        with pytest.raises(ConfigError, match="another program"):
            Store.upgrade(url)


def test_an_old_or_empty_schema_is_refused_with_advice(postgresql: PostgresServer) -> None:
    """``serve`` does not migrate a database that others may use; it says what does."""
    with postgresql.database(migrated=False) as url, pytest.raises(ConfigError, match="dataferry db upgrade"):
        _open(url)


def test_a_server_that_goes_away_and_comes_back() -> None:
    """While it is away each call says so at once; then the same store goes on, with what was committed."""
    made = flow()
    with PostgresServer() as server, server.database() as url:
        store = _open(url)
        with store.transaction() as tx:
            tx.flows.insert(made)
            claimed = tx.flows.claim(made.id)
        assert claimed is not None
        attempt = Attempt(transfer_id=str(made.id), epoch=claimed.epoch)
        store.ledger.add(attempt, [planned("a")], cursor="c")
        for call in (
            lambda: _stop_within(store, server, made.id),
            store.ping,
            lambda: store.ledger.add(attempt, [planned("b")], cursor="d"),
            lambda: store.ledger.totals(str(made.id)),
            lambda: _insert(store),
        ):
            with pytest.raises(DatabaseUnavailableError, match="does not answer") as caught:
                call()
            assert caught.value.is_temporary
            assert caught.value.retry_after_s is not None
        server.start()
        _wait_for(store)
        store.ledger.add(attempt, [planned("b")], cursor="d")
        with store.snapshot() as tx:
            assert tx.events.list(made.id) == []
        assert store.ledger.totals(str(made.id)).objects_total == 2
        store.close()


def test_a_batch_is_not_repeated_when_the_connection_is_lost(url: str, postgresql: PostgresServer) -> None:
    """Nobody knows whether the commit was done: each caller is told, and nothing is written a second time."""
    store = _open(url)
    made = flow()
    with store.transaction() as tx:
        tx.flows.insert(made)
        claimed = tx.flows.claim(made.id)
    assert claimed is not None
    attempt = Attempt(transfer_id=str(made.id), epoch=claimed.epoch)
    runs: list[int] = []

    def operation(session: Any) -> None:
        session.fence(attempt)
        runs.append(1)
        if len(runs) == 3:
            postgresql.disconnect(f"datname = '{url.rpartition('/')[2]}'")

    store.ledger.totals(str(made.id))
    batch = _batch(store, operation, 3)
    store.close()
    assert [type(error) for error in batch] == [DatabaseUnavailableError] * 3
    assert len(runs) == 3


def _batch(store: Store, operation: Callable[[Any], None], count: int) -> list[BaseException | None]:
    """Run an operation several times in one transaction of the ledger's writer; return how each went."""
    writer = store.ledger._writer  # type: ignore[attr-defined]  # to have one batch for certain
    errors: list[BaseException | None] = []
    hold, held = threading.Event(), threading.Event()

    def block(_session: Any) -> None:
        held.set()
        hold.wait(30)

    def call(work: Callable[[Any], None], *, noted: bool) -> None:
        try:
            writer.run(work)
        except DataFerryError as error:
            errors.append(error)
        else:
            if noted:
                errors.append(None)

    threads = [threading.Thread(target=call, args=(block,), kwargs={"noted": False})]
    threads[0].start()
    held.wait(30)
    for _ in range(count):
        threads.append(threading.Thread(target=call, args=(operation,), kwargs={"noted": True}))
        threads[-1].start()
    while len(writer._waiting) < count:
        pass
    hold.set()
    for thread in threads:
        thread.join(30)
    return errors


def _open(url: str) -> Store:
    return Store.open(url, sealer=Sealer(bytes(32)), clock=StillClock())


def _stop_within(store: Store, server: PostgresServer, flow_id: UUID) -> None:
    """End the server before a transaction is committed."""
    with store.transaction() as tx:
        tx.events.add(flow_id, "lost", "")
        server.stop()


def _insert(store: Store, process_id: str = "p2") -> None:
    with store.transaction() as tx:
        tx.flows.insert(flow(process_id))


def _wait_for(store: Store) -> None:
    """Ask until the store answers."""
    for _ in range(1000):
        with suppress(DatabaseUnavailableError):
            store.ping()
            return
        threading.Event().wait(0.02)
    raise AssertionError("it does not come back")


def _wait_until_somebody_waits(store: Store) -> None:
    """Ask PostgreSQL until somebody waits for an advisory lock."""
    url = store._database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(1000):
            query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            row = connection.execute(query).fetchone()
            if row is not None and row[0]:
                return
            threading.Event().wait(0.02)
    raise AssertionError("nobody waits")
