"""The service's database, opened: by one process alone where it runs the transfers."""

from __future__ import annotations

from contextlib import ExitStack

from dataferry.app.locks import FileLock
from dataferry.app.settings import Settings
from dataferry.app.wiring import database_file, key_file
from dataferry.domain.clock import Clock
from dataferry.secrets.redaction import SecretValues
from dataferry.secrets.sealing import Sealer, load_or_create_key
from dataferry.store.store import Store
from dataferry.store.tenure import Tenure


def open_database(
    settings: Settings, opened: ExitStack, *, clock: Clock, secrets: SecretValues, is_alone: bool
) -> tuple[Store, Tenure | None]:
    """Open the store.

    Args:
        settings: As read.
        opened: Closes it, and then lets others at the database.
        clock: Where time comes from.
        secrets: What logs must not show.
        is_alone: No other process may serve the same database; this one may change its tables, which who
            only moves data never does under those who work with them.

    Returns:
        The store, and the lock on a PostgreSQL database, which has to be looked after.

    Raises:
        ConfigError: The key or the URL can't be used.
        ConflictError: Another process serves the database.
        DatabaseUnavailableError: It can't be reached.
    """
    key = load_or_create_key(key_file(settings))
    tenure = _locked(settings, opened) if is_alone else None
    store = Store.open(
        settings.store.url, sealer=Sealer(key), clock=clock, secrets=secrets, upgrades=is_alone
    )
    opened.callback(store.close)
    return store, tenure


def _locked(settings: Settings, opened: ExitStack) -> Tenure | None:
    """Let nobody else serve the same database: there would be two of everything."""
    database = database_file(settings)
    if database is None:
        return opened.enter_context(Tenure(settings.store.url))
    path = database.with_name(f"{database.name}.lock")
    refusal = (
        f"another `dataferry serve` works on {database}: two would run every flow twice."
        " Stop it, or give this one another store.url"
    )
    opened.enter_context(FileLock(path, refusal=refusal))
    return None
