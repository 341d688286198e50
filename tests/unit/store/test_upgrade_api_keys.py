"""From the first tables to keys with a purview: what was there stays."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from dataferry.domain.errors import ConfigError
from dataferry.secrets.sealing import Sealer
from dataferry.store import migrations
from dataferry.store.database import Database
from dataferry.store.store import Store
from dataferry.testing.ledger_suite import NOON, StillClock

FLOW_ID = "6f4f7b7e-0d5e-4a3c-9f55-3d1f4a2b1c00"


def first_tables(path: Path) -> None:
    """Make a database as the first version did, with a flow in it."""
    database = Database(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    database.close()
    with sqlite3.connect(path) as plain:
        columns = [row[1:4] for row in plain.execute("PRAGMA table_info(flows)")]
        named = {
            "id": FLOW_ID,
            "process_id": "tp-1",
            "data_flow_id": "tp-1",
            "role": "provider",
            "direction": "push",
            "dialect": "head",
            "state": "STARTED",
            "run": "idle",
            "labels": "[]",
            "created_at": "2026-11-01T12:00:00.000000Z",
            "updated_at": "2026-11-01T12:00:00.000000Z",
        }
        row = {
            name: named.get(name, 0 if "INT" in kind else "x") for name, kind, required in columns if required
        }
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        plain.execute(f"INSERT INTO flows ({names}) VALUES ({marks})", tuple(row.values()))  # noqa: S608 - our own words
    plain.close()


def test_flows_are_there_after_the_upgrade(tmp_path: Path) -> None:
    """The flow is what it was, and keys can be made."""
    first_tables(tmp_path / "s.db")
    store = Store.open(f"sqlite:///{tmp_path / 's.db'}", sealer=Sealer(bytes(32)), clock=StillClock())
    with store.transaction() as transaction:
        assert transaction.flows.resolve("tp-1").process_id == "tp-1"
        assert not transaction.api_keys.exist()
        assert not transaction.api_keys.revoke("ops", NOON)
    store.close()


def test_a_database_that_somebody_may_serve_is_not_upgraded_from_beside(tmp_path: Path) -> None:
    """Who joins it is told what to do; a new one is made."""
    first_tables(tmp_path / "old.db")
    sealer, clock = Sealer(bytes(32)), StillClock()
    with pytest.raises(ConfigError, match="dataferry db upgrade"):
        Store.join(f"sqlite:///{tmp_path / 'old.db'}", sealer=sealer, clock=clock)
    with sqlite3.connect(tmp_path / "old.db") as plain:
        assert plain.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
    plain.close()
    Store.join(f"sqlite:///{tmp_path / 'new.db'}", sealer=sealer, clock=clock).close()
