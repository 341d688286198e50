"""The store: transactions over the repositories, and the ledger on the same database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from sqlalchemy import Connection, text

from dataferry.domain.clock import Clock
from dataferry.domain.ledger import ReceivingLedger
from dataferry.secrets.redaction import SecretValues
from dataferry.secrets.sealing import Sealer
from dataferry.store import upgrading
from dataferry.store.agreements import AgreementRepository
from dataferry.store.api_keys import ApiKeyRepository
from dataferry.store.catalogue import CatalogueRepository
from dataferry.store.control_planes import ControlPlaneRepository
from dataferry.store.database import Database
from dataferry.store.events import EventRepository
from dataferry.store.flows import FlowRepository
from dataferry.store.orchestrations import OrchestrationRepository
from dataferry.store.outbox import OutboxRepository
from dataferry.store.progress import ProgressRepository
from dataferry.store.retention import RetentionRepository
from dataferry.store.service_ledger import service_ledger
from dataferry.store.tenure import Tenure
from dataferry.store.tokens import ClientTokenRepository, GatewayTokenRepository, RenewedTokenRepository
from dataferry.store.transfers import TransferRepository


class Transaction:
    """The repositories within one transaction; made by ``Store.transaction``."""

    def __init__(self, connection: Connection, sealer: Sealer, clock: Clock, secrets: SecretValues) -> None:
        self.flows = FlowRepository(connection, sealer, clock, secrets)
        self.agreements = AgreementRepository(connection)
        self.outbox = OutboxRepository(connection, clock)
        self.events = EventRepository(connection, clock)
        self.progress = ProgressRepository(connection, clock)
        self.catalogue = CatalogueRepository(connection, sealer, clock)
        self.control_planes = ControlPlaneRepository(connection, sealer, clock, secrets)
        self.api_keys = ApiKeyRepository(connection)
        self.retention = RetentionRepository(connection)
        self.gateway_tokens = GatewayTokenRepository(connection)
        self.client_tokens = ClientTokenRepository(connection)
        self.transfers = TransferRepository(connection)
        self.renewed_tokens = RenewedTokenRepository(connection, sealer, secrets)
        self.orchestrations = OrchestrationRepository(connection, clock)


class Store:
    """The service's database. Thread-safe; each transaction belongs to the thread that opened it."""

    def __init__(
        self, database: Database, *, sealer: Sealer, clock: Clock, secrets: SecretValues | None = None
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._clock = clock
        self._secrets = secrets or SecretValues()
        self._ledger: ReceivingLedger | None = None  # made when asked for: it has a thread
        self._ledger_made = threading.Lock()

    @classmethod
    def open(
        cls,
        url: str,
        *,
        sealer: Sealer,
        clock: Clock,
        secrets: SecretValues | None = None,
        upgrades: bool = True,
    ) -> Store:
        """Open a database; on SQLite its schema is brought up to date first.

        Args:
            url: E.g. ``sqlite:///dataferry.db`` or ``postgresql://user:password@host/name``.
            sealer: With the key that the database's secrets are sealed with.
            clock: Where its times come from.
            secrets: Told of the credentials that are read and written, for the logs to leave out.
            upgrades: Whether this process may bring a SQLite schema up to date; else it must be so already.

        Raises:
            ConfigError: It can't be opened, or is another database, or its schema is behind (advice
                included).
        """
        database = Database(url)
        try:
            if database.is_sqlite and upgrades:
                upgrading.upgrade(database)
            else:
                upgrading.require_head(database)
        except BaseException:
            database.close()
            raise
        return cls(database, sealer=sealer, clock=clock, secrets=secrets)

    @classmethod
    def join(cls, url: str, *, sealer: Sealer, clock: Clock) -> Store:
        """Open a database that another process may be serving: made if it is not there, never upgraded.

        Raises:
            ConfigError: As ``open`` does; also on SQLite if its schema is behind.
        """
        database = Database(url)
        try:
            if not (database.is_sqlite and upgrading.is_new(database)):
                upgrading.require_head(database)
        finally:
            database.close()
        return cls.open(url, sealer=sealer, clock=clock)

    @classmethod
    def upgrade(cls, url: str) -> None:
        """Bring the schema of a database up to date; ``open`` would refuse an old one.

        Raises:
            ConfigError: It can't be opened, is another database, or a newer version made its schema.
            ConflictError: A process works on the PostgreSQL database.
        """
        database = Database(url, is_patient=True)
        try:
            with nullcontext() if database.is_sqlite else Tenure(url):
                upgrading.upgrade(database)
        finally:
            database.close()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a transaction that may write: committed at the end, rolled back on an error.

        Keep it short: no network, no ``ledger`` call (which commits by itself) inside.

        Raises:
            RuntimeError: One is open in this thread already.
        """
        with self._database.write() as connection:
            yield Transaction(connection, self._sealer, self._clock, self._secrets)

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """Open a transaction that only reads: it sees one moment and never waits for writers."""
        with self._database.read() as connection:
            yield Transaction(connection, self._sealer, self._clock, self._secrets)

    @property
    def ledger(self) -> ReceivingLedger:
        """The ledger of flows' transfers; a transfer's id is its flow's id as text."""
        with self._ledger_made:
            if self._ledger is None:
                self._ledger = service_ledger(self._database, self._clock)
            return self._ledger

    def suspend(self, reason: str) -> None:
        """Write nothing more until ``resume``: another process may be at work on the database."""
        self._database.suspend(reason)

    def resume(self) -> None:
        """Write again."""
        self._database.resume()

    def ping(self) -> None:
        """Return if the database answers, and may be written to.

        Raises:
            DataFerryError: It does not, or may not.
        """
        self._database.refuse_suspended()
        with self._database.read() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Commit what waits in the ledger, and close every connection."""
        with self._ledger_made:
            if self._ledger is not None:
                self._ledger.close()
        self._database.close()
