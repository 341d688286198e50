"""The right to be the only process at work on a PostgreSQL database."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from tests.servers.postgresql import PostgresServer

from dataferry.app.keeper import Keeper
from dataferry.domain.clock import SystemClock
from dataferry.domain.errors import ConflictError, DatabaseUnavailableError
from dataferry.secrets.sealing import Sealer
from dataferry.store.store import Store
from dataferry.store.tenure import Tenure
from dataferry.testing.ledger_suite import NOON

HOLDER = """
import sys, time
from dataferry.store.tenure import Tenure
tenure = Tenure(sys.argv[1])
tenure.take()
print("held", flush=True)
time.sleep(60)
"""
MINE = "application_name = 'dataferry'"


@pytest.fixture
def url(postgresql: PostgresServer) -> Iterator[str]:
    """An empty database with the tables of this version."""
    with postgresql.clean_database() as found:
        yield found


def test_one_has_it_at_a_time(url: str) -> None:
    """A second one is refused until the first gives it back."""
    with Tenure(url) as first:
        assert first.is_held()
        with pytest.raises(ConflictError, match="two would run every flow twice"):
            Tenure(url).take(patience_s=0)
    assert not first.is_held()
    with Tenure(url) as second:
        assert second.is_held()


def test_it_is_free_when_its_process_is_killed(url: str) -> None:
    """After kill -9 the next process has it at once."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ConflictError):
            Tenure(url).take(patience_s=0)
        process.kill()
    with Tenure(url) as tenure:
        assert tenure.is_held()


def test_databases_have_one_each(postgresql: PostgresServer) -> None:
    """Two planes on two databases of one server do not disturb each other."""
    with postgresql.database() as one, postgresql.database() as two, Tenure(one), Tenure(two) as second:
        assert second.is_held()


def test_an_upgrade_waits_for_nobody(url: str) -> None:
    """Tables are not changed under a process that works with them."""
    with Tenure(url), pytest.raises(ConflictError, match="another dataferry works on this database"):
        Store.upgrade(url)


def test_what_was_lost_is_taken_again(url: str, postgresql: PostgresServer) -> None:
    """A cut connection that nobody took advantage of costs nothing but a moment."""
    store = Store.open(url, sealer=Sealer(bytes(32)), clock=SystemClock())
    replaced: list[str] = []
    with Tenure(url) as tenure:
        keeper = Keeper(tenure, store, replaced.append)
        keeper.tick()
        postgresql.disconnect(MINE)
        keeper.tick()
        assert tenure.is_held()
        _write(store)
    store.close()
    assert replaced == []


def test_what_another_has_ends_the_service(url: str, postgresql: PostgresServer) -> None:
    """Nothing is written from the moment the loss is seen; what was in a transaction then is rolled back."""
    store = Store.open(url, sealer=Sealer(bytes(32)), clock=SystemClock())
    replaced: list[str] = []
    tenure, rival = Tenure(url), Tenure(url)
    tenure.take()
    keeper = Keeper(tenure, store, replaced.append)
    postgresql.disconnect(MINE)
    rival.take()
    for meanwhile in (keeper.tick, lambda: None):
        with pytest.raises(DatabaseUnavailableError, match="only one was lost"):
            _write(store, meanwhile)
    with pytest.raises(DatabaseUnavailableError):
        store.ping()
    assert len(replaced) == 1
    rival.release()
    keeper.tick()
    assert not tenure.is_held()
    store.resume()
    _write(store)
    store.close()


def _write(store: Store, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Write what can be written once only."""
    with store.transaction() as tx:
        assert tx.client_tokens.is_new("c", "j", expires_at=NOON + timedelta(days=1), now=NOON)
        meanwhile()
