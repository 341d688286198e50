"""A store in a directory of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dataferry.secrets.sealing import Sealer
from dataferry.store.store import Store
from dataferry.testing.ledger_suite import StillClock


@pytest.fixture
def clock() -> StillClock:
    """Time that stands still."""
    return StillClock()


@pytest.fixture
def store(database_url: str, clock: StillClock) -> Iterator[Store]:
    """An open store, on each kind of database."""
    opened = Store.open(database_url, sealer=Sealer(bytes(32)), clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_store(tmp_path: Path, clock: StillClock) -> Iterator[Store]:
    """An open store on SQLite, in ``store.db``."""
    opened = Store.open(f"sqlite:///{tmp_path}/store.db", sealer=Sealer(bytes(32)), clock=clock)
    yield opened
    opened.close()
