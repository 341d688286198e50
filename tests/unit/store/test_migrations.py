"""Migrations, on each kind of database: from empty, and from the oldest revision with a row in each table."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table, func, insert, select
from tests.servers.postgresql import PostgresServer

from dataferry.domain.clock import SystemClock
from dataferry.secrets.sealing import Sealer
from dataferry.store import migrations, schema, upgrading
from dataferry.store.database import Database
from dataferry.store.store import Store

OLDEST = "0001"
# Nothing ever wrote to it before it was given its present columns.
MADE_ANEW = {"api_keys"}
TIME = "2026-11-23T12:00:00.000000Z"
FLOW_ID = "00000000-0000-4000-8000-000000000001"


@pytest.fixture(params=["sqlite", "postgresql"])
def bare_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/bare.db"
        return
    server: PostgresServer = request.getfixturevalue("postgresql")
    with server.database(migrated=False) as url:
        yield url


def test_from_nothing_to_the_schema(bare_url: str) -> None:
    """After all steps, and after all of them again, Alembic finds no difference to the tables that we use."""
    Store.upgrade(bare_url)
    Store.upgrade(bare_url)
    assert _differences(bare_url) == []
    _open(bare_url).close()


def test_from_the_oldest_revision(bare_url: str) -> None:
    """What stood in the oldest tables stands there after all steps, and the schema is that of today."""
    database = Database(bare_url)
    with database.write() as connection:
        _step(connection, OLDEST)
        filled = _fill(connection)
    with database.read() as connection:
        assert upgrading.revision(connection) == OLDEST
    database.close()
    assert {"flows", "objects", "outbox"} <= filled

    Store.upgrade(bare_url)
    assert _differences(bare_url) == []
    kept = filled & set(schema.metadata.tables) - MADE_ANEW
    database = Database(bare_url)
    with database.read() as connection:
        counts = {name: _count(connection, schema.metadata.tables[name]) for name in kept}
    database.close()
    assert {"flows", "objects", "outbox"} <= kept
    assert counts == dict.fromkeys(kept, 1)


def test_each_step_fails_whole(bare_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that breaks off leaves the database as it was."""
    database = Database(bare_url)

    def broken(_connection: Connection, _known: str | None) -> None:
        _step(_connection, OLDEST)
        raise KeyError

    monkeypatch.setattr(upgrading, "_run", broken)
    with pytest.raises(KeyError):
        upgrading.upgrade(database)
    with database.read() as connection:
        assert upgrading.revision(connection) is None
    database.close()


def _open(url: str) -> Store:
    return Store.open(url, sealer=Sealer(bytes(32)), clock=SystemClock())


def _differences(url: str) -> list[Any]:
    """What Alembic would change."""
    database = Database(url)
    try:
        with database.read() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            return list(compare_metadata(context, schema.metadata))
    finally:
        database.close()


def _step(connection: Connection, revision: str) -> None:
    """Run the steps to a revision."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    assert ScriptDirectory.from_config(config).get_base() == OLDEST
    command.upgrade(config, revision)


def _fill(connection: Connection) -> set[str]:
    """Put a row into each table that is there, whatever its columns are; return their names."""
    found = MetaData()
    found.reflect(connection)
    tables = [table for table in found.sorted_tables if table.name != "alembic_version"]
    numbers = itertools.count(1)
    for table in tables:
        row = {
            column.name: _value(table, column.name, column.type.python_type, next(numbers))
            for column in table.columns
            if not (column.autoincrement is True or column.server_default is not None)
        }
        connection.execute(insert(table).values(row))
    return {table.name for table in tables}


def _value(table: Table, name: str, kind: type, number: int) -> Any:
    """Something that fits: what it means does not matter to a migration."""
    if name == "flow_id" or (table.name, name) == ("flows", "id"):
        return FLOW_ID
    if name.endswith("_at") or name == "at":
        return TIME
    if name in {"labels", "scopes", "settings", "moment"}:
        return "{}"
    return {int: number, bool: True}.get(kind, str(number))


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())
