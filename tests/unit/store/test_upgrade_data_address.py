"""A database of before landing modes: its flows and zones are what they were."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.unit.store.old_databases import make_old, put_rows
from tests.unit.store.sample_rows import flow

from dataferry.domain.location import Landing, LandingZone
from dataferry.secrets.sealing import Sealer
from dataferry.store.store import Store
from dataferry.testing.ledger_suite import StillClock


def _opened(path: Path) -> Store:
    return Store.open(f"sqlite:///{path}", sealer=Sealer(bytes(32)), clock=StillClock())


def test_what_was_there_is_copied_as_before(tmp_path: Path) -> None:
    """Rows of the old tables, put there as the old code did, are read by the new code."""
    made = flow()
    new = _opened(tmp_path / "new.db")
    with new.transaction() as tx:
        tx.flows.insert(made)
        tx.catalogue.put_landing_zone(LandingZone(name="zone", sink="here:x"))
    new.close()
    make_old(tmp_path / "old.db")
    put_rows(tmp_path / "old.db", tmp_path / "new.db", "flows", "landing_zones")
    with sqlite3.connect(tmp_path / "old.db") as old:
        old.execute("UPDATE main.landing_zones SET settings = json_remove(settings, '$.mode')")
    old.close()

    upgraded = _opened(tmp_path / "old.db")
    with upgraded.snapshot() as tx:
        assert tx.flows.get(made.id) == made
        assert tx.flows.get(made.id).landing is Landing.COPY
        assert tx.catalogue.landing_zones() == [LandingZone(name="zone", sink="here:x")]
    upgraded.close()
