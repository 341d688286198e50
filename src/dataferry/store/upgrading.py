"""Brings a database's schema up to date, all of it or nothing."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from dataferry.domain.errors import ConfigError
from dataferry.store import migrations
from dataferry.store.database import Database

_VERSION_TABLE = "alembic_version"


def revision(connection: Connection) -> str | None:
    """Return the schema's revision; None in an empty database.

    Raises:
        ConfigError: It has tables, but not ours.
    """
    tables = set(inspect(connection).get_table_names())
    if _VERSION_TABLE in tables:
        found = connection.execute(text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar_one_or_none()  # noqa: S608 - our own words only
        return None if found is None else str(found)
    if tables:
        raise ConfigError("[store] url names another program's database: its tables are not ours")
    return None


def is_new(database: Database) -> bool:
    """Return whether a database is empty.

    Raises:
        ConfigError: It is another program's.
    """
    with database.read() as connection:
        return revision(connection) is None


def upgrade(database: Database) -> None:
    """Run the steps that are missing, in one transaction.

    Raises:
        ConfigError: The schema was made by a newer version of DataFerry, or by another program.
    """
    with database.write() as connection:
        known = revision(connection)
        if known != migrations.HEAD:
            _run(connection, known)


def require_head(database: Database) -> None:
    """Refuse a schema that is not this version's, with advice; for databases that several processes share.

    Raises:
        ConfigError: It is not.
    """
    with database.read() as connection:
        known = revision(connection)
    if known != migrations.HEAD:
        raise ConfigError(
            f"the database's schema is {known or 'empty'}, this version needs {migrations.HEAD}: "
            "stop all processes, then run: dataferry db upgrade"
        )


def _run(connection: Connection, known: str | None) -> None:
    """Run Alembic; imported here because a database that is up to date does not need it."""
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    steps = {step.revision for step in ScriptDirectory.from_config(config).walk_revisions()}
    if known is not None and known not in steps:
        raise ConfigError(
            f"the database's schema is {known}, which this version does not know: a newer dataferry made it"
        )
    command.upgrade(config, migrations.HEAD)
