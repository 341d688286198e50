"""How connectors are asked; implemented outside of this room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dataferry.domain.address import DataAddress
from dataferry.domain.orchestration import ApiVersion, Ask, Connector
from dataferry.domain.profile import Direction

# States of a transfer process that mean something here.
# Source: EDC, "TransferProcessStates".
STARTED = "STARTED"
TERMINATED = "TERMINATED"
COMPLETED = "COMPLETED"
FAILED = frozenset({"TERMINATED", "TERMINATING"})
ENDED = frozenset({"COMPLETED", "COMPLETING", "TERMINATED", "TERMINATING", "DEPROVISIONED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferProcess:
    """A transfer process as its connector shows it.

    Attributes:
        state: As the connector calls it, e.g. ``STARTED``.
        error: Its ``errorDetail``, where it has ended; no secret.
    """

    state: str
    error: str | None = None


class EdcClient(Protocol):
    """A connector's Management API. Thread-safe; nothing is retried within.

    Each method raises ``StallError`` (no answer in time), ``ConnectionFailedError``, ``ThrottledError`` or
    ``ServerError`` (try again), or another ``DataFerryError`` (no use).
    """

    def version(self, connector: Connector) -> ApiVersion:
        """Return which version it speaks; found out once, with a question that changes nothing."""
        ...

    def probe(self, connector: Connector) -> ApiVersion:
        """Return which version it speaks, asked anew: it is there, and takes our credentials."""
        ...

    def start(
        self,
        connector: Connector,
        ask: Ask,
        *,
        transfer_type: str,
        reference: str,
        direction: Direction = Direction.PULL,
    ) -> str:
        """Start a transfer process and return its id.

        Args:
            connector: Whom to ask.
            ask: What for.
            transfer_type: How.
            reference: Kept with the process, for ``find``.
            direction: Who moves the bytes by that type.
        """
        ...

    def find(self, connector: Connector, reference: str) -> str | None:
        """Return the id of the process that was started with this reference; None if there is none."""
        ...

    def process(self, connector: Connector, transfer_id: str) -> TransferProcess:
        """Return how a transfer process stands."""
        ...

    def data_address(self, connector: Connector, transfer_id: str) -> DataAddress | None:
        """Return the data address that the connector keeps for a process (an EDR); None if there is none yet.

        Raises:
            UnsupportedError: This connector keeps none.
        """
        ...

    def terminate(self, connector: Connector, transfer_id: str, reason: str) -> None:
        """Terminate a transfer process; one that has ended is no error."""
        ...


class DataAddressSource(Protocol):
    """Where the data address of a transfer process comes from: a connector's cache, or our own data plane."""

    def find(self, connector: Connector, transfer_id: str) -> DataAddress | None:
        """Return it; None if it is not there yet.

        Raises:
            DataFerryError: It can't be had from here.
        """
        ...


class ConnectorAddresses:
    """The data addresses that connectors keep (EDRs): Management API v3.

    Args:
        edc: How connectors are asked.
    """

    def __init__(self, edc: EdcClient) -> None:
        self._edc = edc

    def find(self, connector: Connector, transfer_id: str) -> DataAddress | None:
        """Ask the connector."""
        return self._edc.data_address(connector, transfer_id)
