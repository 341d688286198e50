"""A database of before landing modes: its flows and zones are what they were."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from tests.unit.store.sample_rows import flow

from dataferry.domain.location import Landing, LandingZone
from dataferry.secrets.sealing import Sealer
from dataferry.store import migrations
from dataferry.store.database import Database
from dataferry.store.store import Store
from dataferry.testing.ledger_suite import StillClock

BEFORE = "0001"


def _opened(path: Path) -> Store:
    return Store.open(f"sqlite:///{path}", sealer=Sealer(bytes(32)), clock=StillClock())


def _old_database(path: Path) -> None:
    """Make the tables as they were then."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    database = Database(f"sqlite:///{path}")
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, BEFORE)
    database.close()


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]


def test_what_was_there_is_copied_as_before(tmp_path: Path) -> None:
    """Rows of the old tables, put there as the old code did, are read by the new code."""
    made = flow()
    new = _opened(tmp_path / "new.db")
    with new.transaction() as tx:
        tx.flows.insert(made)
        tx.catalogue.put_landing_zone(LandingZone(name="zone", sink="here:x"))
    new.close()
    _old_database(tmp_path / "old.db")
    with sqlite3.connect(tmp_path / "old.db") as old:
        old.execute("ATTACH ? AS new", (str(tmp_path / "new.db"),))
        names = ", ".join(f'"{name}"' for name in _columns(old, "flows"))
        old.execute(f"INSERT INTO main.flows ({names}) SELECT {names} FROM new.flows")  # noqa: S608
        old.execute("INSERT INTO main.landing_zones SELECT * FROM new.landing_zones")
        old.execute("UPDATE main.landing_zones SET settings = json_remove(settings, '$.mode')")
    old.close()

    upgraded = _opened(tmp_path / "old.db")
    with upgraded.snapshot() as tx:
        assert tx.flows.get(made.id) == made
        assert tx.flows.get(made.id).landing is Landing.COPY
        assert tx.catalogue.landing_zones() == [LandingZone(name="zone", sink="here:x")]
    upgraded.close()
