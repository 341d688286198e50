"""How connectors are asked; implemented outside of this room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dataferry.domain.address import DataAddress
from dataferry.domain.orchestration import ApiVersion, Ask, Connector
from dataferry.domain.profile import Direction
from dataferry.domain.usage_policy import Agreed, Offer, Offered

# States of a transfer process that mean something here.
# Source: EDC, "TransferProcessStates".
STARTED = "STARTED"
TERMINATED = "TERMINATED"
COMPLETED = "COMPLETED"
FAILED = frozenset({"TERMINATED", "TERMINATING"})
ENDED = frozenset({"COMPLETED", "COMPLETING", "TERMINATED", "TERMINATING", "DEPROVISIONED"})
# And of a negotiation. Source: EDC, "ContractNegotiationStates".
FINALIZED = "FINALIZED"
BROKEN_OFF = frozenset({"TERMINATED", "TERMINATING"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferProcess:
    """A transfer process as its connector shows it.

    Attributes:
        state: As the connector calls it, e.g. ``STARTED``.
        error: Its ``errorDetail``, where it has ended; no secret.
    """

    state: str
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Negotiation:
    """A negotiation as its connector shows it.

    Attributes:
        state: As the connector calls it, e.g. ``FINALIZED``.
        error: Its ``errorDetail``, where it was broken off; no secret.
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


class Negotiator(Protocol):
    """The part of a connector's Management API by which contracts are negotiated; raises as ``EdcClient``."""

    def offered(self, connector: Connector, ask: Ask) -> Offered:
        """Return what the provider offers an asset under; asks for that one asset."""
        ...

    def request(self, connector: Connector, ask: Ask, offer: Offer, *, reference: str) -> str:
        """Begin to negotiate exactly this offer, and return the negotiation's id.

        Args:
            connector: Whom to ask.
            ask: About what, and with whom.
            offer: Its policy is sent as it was understood, not as the provider spelt it.
            reference: Kept with the negotiation, for ``find``.
        """
        ...

    def find(self, connector: Connector, ask: Ask, reference: str) -> str | None:
        """Return the id of the negotiation that was begun with this reference; None if there is none."""
        ...

    def negotiation(self, connector: Connector, negotiation_id: str) -> Negotiation:
        """Return how a negotiation stands."""
        ...

    def agreement(self, connector: Connector, ask: Ask, negotiation_id: str) -> Agreed:
        """Return what a negotiation that is FINALIZED has led to."""
        ...

    def break_off(self, connector: Connector, negotiation_id: str, reason: str) -> None:
        """Terminate a negotiation; one that has ended is no error."""
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
