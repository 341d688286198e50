"""Opening a database: schema, migrations, permissions, and what is refused with advice."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from tests.unit.store.old_databases import make_old, put_rows
from tests.unit.store.sample_rows import PLANTED, flow

from dataferry.domain.errors import ConfigError
from dataferry.domain.location import ControlPlane, Location
from dataferry.domain.progress import Progress
from dataferry.secrets.sealing import Sealer
from dataferry.store import migrations, schema
from dataferry.store.local import open_local_ledger
from dataferry.store.store import Store
from dataferry.testing.ledger_suite import NOON, StillClock


def _open(path: Path) -> Store:
    return Store.open(f"sqlite:///{path}", sealer=Sealer(bytes(32)), clock=StillClock())


def test_migrations_and_schema_agree(store: Store) -> None:
    """After all migrations Alembic finds no difference to the tables that the code uses."""
    with store._database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


def test_migrated_tables_are_those_of_the_schema(sqlite_store: Store, tmp_path: Path) -> None:
    """What Alembic does not compare agrees too: every table and index has the same words as the schema's."""
    with sqlite3.connect(tmp_path / "schema.db") as plain:
        for statement in _schema_sql():
            plain.execute(statement)
    expected = _tables(tmp_path / "schema.db")
    actual = {name: sql for name, sql in _tables(tmp_path / "store.db").items() if name != "alembic_version"}
    plain.close()
    # Alembic and SQLAlchemy write constraints in another order.
    assert {name: sorted(sql.replace(",", " ").split()) for name, sql in actual.items()} == {
        name: sorted(sql.replace(",", " ").split()) for name, sql in expected.items()
    }


def test_the_head_is_the_last_step() -> None:
    """The revision that the code expects is the newest of the migrations."""
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert script.get_current_head() == migrations.HEAD


def test_data_survives_opening_again(tmp_path: Path) -> None:
    """Flows are there after the store was closed, opened and upgraded again."""
    made = flow()
    first = _open(tmp_path / "s.db")
    with first.transaction() as transaction:
        transaction.flows.insert(made)
    first.close()
    Store.upgrade(f"sqlite:///{tmp_path / 's.db'}")
    second = _open(tmp_path / "s.db")
    with second.snapshot() as transaction:
        assert transaction.flows.get(made.id) == made
    second.close()


def test_an_old_database_is_upgraded(tmp_path: Path) -> None:
    """One that an earlier version made gets what it lacks, and keeps what it has."""
    made = flow()
    first = _open(tmp_path / "new.db")
    with first.transaction() as transaction:
        transaction.flows.insert(made)
        transaction.progress.put(made.id, Progress(bytes_transferred=7))
    first.close()
    make_old(tmp_path / "s.db")
    put_rows(tmp_path / "s.db", tmp_path / "new.db", "flows", "progress")
    second = _open(tmp_path / "s.db")
    with second.snapshot() as transaction:
        assert transaction.flows.get(made.id) == made
        assert transaction.progress.changed_since(NOON - timedelta(seconds=1), 10) == [made.id]
    second.close()

    assert "ix_progress_at" in _tables(tmp_path / "s.db")


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A database of a newer version is left as it is."""
    _open(tmp_path / "s.db").close()
    with sqlite3.connect(tmp_path / "s.db") as plain:
        plain.execute("UPDATE alembic_version SET version_num = '9999'")
    plain.close()
    with pytest.raises(ConfigError, match="newer"):
        _open(tmp_path / "s.db")


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    """A database with other tables is not touched."""
    with sqlite3.connect(tmp_path / "s.db") as plain:
        plain.execute("CREATE TABLE recipes (id INTEGER)")
    plain.close()
    with pytest.raises(ConfigError, match="another program"):
        _open(tmp_path / "s.db")
    assert list(_tables(tmp_path / "s.db")) == ["recipes"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("nonsense", "not a database URL"),
        ("quantum://host/db", "no driver"),
    ],
)
def test_a_wrong_url_is_refused_with_advice(url: str, words: str) -> None:
    """A URL that can't be used is the operator's fault, and says what is wrong."""
    with pytest.raises(ConfigError, match=words):
        Store.open(url, sealer=Sealer(bytes(32)), clock=StillClock())


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Some other file is not overwritten."""
    (tmp_path / "s.db").write_bytes(b"precious notes" * 100)
    with pytest.raises(ConfigError, match="not a database"):
        _open(tmp_path / "s.db")
    assert (tmp_path / "s.db").read_bytes() == b"precious notes" * 100


def test_database_files_are_private(tmp_path: Path) -> None:
    """Nobody else can read the database, its log, or the local ledger, even where it was there before."""
    (tmp_path / "s.db").touch(0o644)
    opened = _open(tmp_path / "s.db")
    with opened.transaction() as transaction:
        transaction.flows.insert(flow())
    ledger = open_local_ledger(tmp_path / "l.db")
    ledger.begin("t")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    opened.close()
    ledger.close()
    assert {"s.db", "s.db-wal", "l.db", "l.db-wal"} <= set(modes)
    assert set(modes.values()) == {0o600}


def test_connections_are_set_up(sqlite_store: Store) -> None:
    """Every connection writes ahead, syncs fully, and holds foreign keys."""
    with sqlite_store._database.read() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}


def test_no_secret_is_in_the_files(sqlite_store: Store, tmp_path: Path) -> None:
    """Addresses, metadata, location settings and tokens stand in no file of the database in plain."""
    made = flow()
    with sqlite_store.transaction() as transaction:
        transaction.flows.insert(made)
        transaction.flows.save(made, expected=made)
        transaction.outbox.add(made, "started", with_address=True)
        transaction.catalogue.put_location(
            Location(name="a", mechanism="s3", settings={"secret_access_key": PLANTED, "region": "here"})
        )
        transaction.control_planes.put(
            ControlPlane(id="cp", token=PLANTED, callback_token=PLANTED, management_key=PLANTED)
        )
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert b"p1" in files["store.db-wal"]
    assert [name for name, content in files.items() if PLANTED.encode() in content] == []


def test_the_local_ledger_has_the_schemas_tables(tmp_path: Path) -> None:
    """The tables that are written out for ``copy`` are those of the schema, to the letter."""
    open_local_ledger(tmp_path / "l.db").close()
    wanted = {"transfers", "objects", "parts", "cleanups"}
    expected = sqlite3.connect(tmp_path / "schema.db")
    for statement in _schema_sql():
        expected.execute(statement)
    expected.commit()
    expected.close()
    tables = _tables(tmp_path / "schema.db", of=wanted)
    assert _tables(tmp_path / "l.db") == tables


def test_the_local_ledger_opens_without_sqlalchemy(tmp_path: Path) -> None:
    """``copy`` does not pay for SQLAlchemy."""
    code = (
        "import sys; from dataferry.store.local import open_local_ledger; "
        "open_local_ledger(sys.argv[1]).close(); "
        "sys.exit(any(name.split('.')[0] in {'sqlalchemy', 'alembic'} for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "l.db")], check=False).returncode == 0


def test_the_local_ledger_opens_quickly(tmp_path: Path) -> None:
    """The best of five openings takes less than 20 ms of the processor: how busy the disk is says nothing."""
    times = []
    for index in range(5):
        began = time.process_time()
        ledger = open_local_ledger(tmp_path / f"{index}.db")
        times.append(time.process_time() - began)
        ledger.close()
    assert min(times) < 0.02


def test_another_forms_local_ledger_is_refused(tmp_path: Path) -> None:
    """A ledger of another version is left alone, with advice."""
    with sqlite3.connect(tmp_path / "l.db") as plain:
        plain.execute("PRAGMA user_version = 99")
    plain.close()
    with pytest.raises(ConfigError, match="another version"):
        open_local_ledger(tmp_path / "l.db")


def test_a_ledger_where_nothing_can_be_written_is_refused(tmp_path: Path) -> None:
    """A path below a file is the caller's fault, and named."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be used"):
        open_local_ledger(tmp_path / "file" / "l.db")


def _schema_sql() -> list[str]:
    """The schema's statements for SQLite."""
    from sqlalchemy.dialects import sqlite
    from sqlalchemy.schema import CreateIndex, CreateTable

    statements = []
    for table in schema.metadata.sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=sqlite.dialect())))
        statements += [str(CreateIndex(index).compile(dialect=sqlite.dialect())) for index in table.indexes]
    return statements


def _tables(path: Path, of: set[str] | None = None) -> dict[str, str]:
    """The SQL of each table and index in a file, with single spaces."""
    connection = sqlite3.connect(path)
    rows = connection.execute(
        "SELECT name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    connection.close()
    return {name: " ".join(sql.split()) for name, table, sql in rows if of is None or table in of}
