"""Keys in the database: looked up each time, noted now and then."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.api.test_authorization import connection

from dataferry.api.api_keys import ApiKey, ApiKeys, StoredKeys
from dataferry.domain.errors import ConflictError, ForbiddenError, UnauthorizedError
from dataferry.domain.purview import EVERYTHING, Purview, Scope
from dataferry.secrets.sealing import Sealer
from dataferry.store import records
from dataferry.store.store import Store
from dataferry.testing.ledger_suite import NOON, StillClock

KEY = "dfk_a-key-in-the-database-0123456789"
ROW = records.ApiKey(
    id="k1",
    name="ops",
    digest=hashlib.sha256(KEY.encode()).hexdigest(),
    scopes=frozenset({Scope.READ}),
    created_at=NOON,
)
FROM_ELSEWHERE = connection("10.0.0.5", x_api_key=KEY)


@pytest.fixture
def clock() -> StillClock:
    """Time that stands still."""
    return StillClock()


@pytest.fixture
def store(tmp_path: Path, clock: StillClock) -> Iterator[Store]:
    """A database."""
    opened = Store.open(f"sqlite:///{tmp_path}/s.db", sealer=Sealer(bytes(32)), clock=clock)
    yield opened
    opened.close()


def put(store: Store, row: records.ApiKey) -> None:
    """Add a key."""
    with store.transaction() as tx:
        tx.api_keys.insert(row)


def used_at(store: Store) -> Any:
    """When the key was used, as the row says."""
    with store.snapshot() as tx:
        return tx.api_keys.list()[0].last_used_at


@pytest.mark.parametrize("purview", [EVERYTHING, Purview.of(["p"]), Purview.of(["p"], ["cp"])])
def test_it_opens_what_it_is_for(store: Store, clock: StillClock, purview: Purview) -> None:
    """As it was made: name, scopes, purview; from the moment on at which it was made."""
    keys = ApiKeys(stored=StoredKeys(store, clock))
    with pytest.raises(UnauthorizedError, match="no API keys"):
        keys.identify(FROM_ELSEWHERE)
    put(store, replace(ROW, purview=purview))
    operator = keys.require(FROM_ELSEWHERE, Scope.READ)
    assert (operator.name, operator.purview) == ("ops", purview)
    with pytest.raises(ForbiddenError):
        keys.require(FROM_ELSEWHERE, Scope.OPERATE)


@pytest.mark.parametrize("over", ["revoked", "expired"])
def test_one_that_is_over_is_unknown(store: Store, clock: StillClock, over: str) -> None:
    """The answer is that for a key which never was; and this machine is not let in instead."""
    keys = ApiKeys(stored=StoredKeys(store, clock))
    put(store, replace(ROW, expires_at=NOON + timedelta(days=1)))
    assert keys.identify(FROM_ELSEWHERE).name == "ops"
    if over == "revoked":
        with store.transaction() as tx:
            tx.api_keys.revoke("ops", NOON)
    else:
        clock.moment += timedelta(days=1)
    said = set()
    for request in (FROM_ELSEWHERE, connection(x_api_key=KEY), connection(x_api_key="another"), connection()):
        with pytest.raises(UnauthorizedError) as refused:
            keys.identify(request)
        said.add(str(refused.value))
    assert said == {"send an API key in X-Api-Key"}


def test_a_key_of_the_configuration_needs_no_database(store: Store, clock: StillClock) -> None:
    """It lets in whatever the database says: an operator can look why it does not answer."""
    keys = ApiKeys([ApiKey.of("boss", "key-of-the-boss")], StoredKeys(store, clock))
    put(store, ROW)
    store.close()
    assert keys.identify(connection(x_api_key="key-of-the-boss")).name == "boss"


def test_use_is_written_once_a_minute(store: Store, clock: StillClock) -> None:
    """The first use, and the first one after a minute; never in between."""
    keys = ApiKeys(stored=StoredKeys(store, clock))
    put(store, ROW)
    for second, noted in ((0, 0), (1, 0), (59, 0), (60, 60), (61, 60), (3600, 3600)):
        clock.moment = NOON + timedelta(seconds=second)
        keys.identify(FROM_ELSEWHERE)
        assert used_at(store) == NOON + timedelta(seconds=noted), second


def test_use_that_another_process_has_written_is_not_written_again(store: Store, clock: StillClock) -> None:
    """Processes on one database read it in the row."""
    put(store, ROW)
    for second in (0, 30):
        clock.moment = NOON + timedelta(seconds=second)
        ApiKeys(stored=StoredKeys(store, clock)).identify(FROM_ELSEWHERE)
        assert used_at(store) == NOON


def test_a_disk_that_takes_nothing_keeps_nobody_out(
    store: Store, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is good though its use can't be written, and that is tried once a minute, not each time."""
    keys = ApiKeys(stored=StoredKeys(store, clock))
    put(store, ROW)
    tried: list[None] = []

    def full() -> Any:
        tried.append(None)
        raise ConflictError("the disk is full")

    monkeypatch.setattr(store, "transaction", full)
    for _ in range(5):
        assert keys.identify(FROM_ELSEWHERE).name == "ops"
    assert len(tried) == 1
