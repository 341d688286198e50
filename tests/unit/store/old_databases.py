"""Databases as earlier versions made them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config

from dataferry.store import migrations
from dataferry.store.database import Database


def make_old(path: Path, revision: str = "0001") -> None:
    """Make the tables of a revision in a new SQLite file."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    database = Database(f"sqlite:///{path}")
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    database.close()


def put_rows(path: Path, new: Path, *tables: str) -> None:
    """Bring rows that today's code wrote into an old database: what both know of them."""
    with sqlite3.connect(path) as old:
        old.execute("ATTACH ? AS new", (str(new),))
        for table in tables:
            names = ", ".join(f'"{name}"' for _, name, *_ in old.execute(f"PRAGMA table_info({table})"))
            old.execute(f"INSERT INTO main.{table} ({names}) SELECT {names} FROM new.{table}")  # noqa: S608 - our own words
    old.close()
