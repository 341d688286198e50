"""Orchestrations: what a client asked for as one list, and the entries of it, each a step further on its own.

An entry goes through a transfer process of a connector, its data address and a download; the download itself
is a data flow (``domain.dataflow``) that this service makes for itself. One that names an asset and no
contract has a contract negotiated first.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from dataferry.domain.errors import TransitionError
from dataferry.domain.usage_policy import Offer


class Standing(StrEnum):
    """Where an orchestration stands, in the words of ``process_status``.

    The first four follow each other as the first entry gets that far; the others are ends.
    """

    QUEUED = "QUEUED"
    PROCESSING = "PROCESSING"
    ASSET_REGISTERED = "ASSET_REGISTERED"
    DATA_ADDRESS_RETRIEVED = "DATA_ADDRESS_RETRIEVED"
    COMPLETED = "COMPLETED"
    PARTIALLY_COMPLETED = "PARTIALLY_COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """True if nothing follows."""
        return self in FINAL_STANDINGS

    def before(self) -> tuple[Standing, ...]:
        """Return those that this one follows."""
        order = list(Standing)
        return tuple(order[: order.index(self)])


FINAL_STANDINGS = frozenset(
    {Standing.COMPLETED, Standing.PARTIALLY_COMPLETED, Standing.FAILED, Standing.CANCELLED}
)


class Step(StrEnum):
    """Where an entry is; a crash finds it there again.

    ``requesting`` is written before the connector is asked to negotiate, ``starting`` before it is asked for
    a transfer process, so that one which it may have begun is looked for; ``closing`` takes back what is
    open, whatever the outcome.
    """

    WAITING = "waiting"
    CHOOSING = "choosing"
    REQUESTING = "requesting"
    NEGOTIATING = "negotiating"
    STARTING = "starting"
    WATCHING = "watching"
    DOWNLOADING = "downloading"
    CLOSING = "closing"
    SAVED = "saved"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True if nothing follows."""
        return self in FINAL_STEPS


FINAL_STEPS = frozenset({Step.SAVED, Step.FAILED, Step.CANCELLED})

STEPS: dict[Step, frozenset[Step]] = {
    Step.WAITING: frozenset({Step.CHOOSING, Step.STARTING, Step.CANCELLED}),
    Step.CHOOSING: frozenset({Step.REQUESTING, Step.CLOSING}),
    Step.REQUESTING: frozenset({Step.NEGOTIATING, Step.CLOSING}),
    Step.NEGOTIATING: frozenset({Step.STARTING, Step.CLOSING}),
    Step.STARTING: frozenset({Step.WATCHING, Step.CLOSING}),
    Step.WATCHING: frozenset({Step.DOWNLOADING, Step.CLOSING}),
    Step.DOWNLOADING: frozenset({Step.DOWNLOADING, Step.CLOSING}),
    Step.CLOSING: FINAL_STEPS,
    Step.SAVED: frozenset(),
    Step.FAILED: frozenset(),
    Step.CANCELLED: frozenset(),
}


class Ask(NamedTuple):
    """What a client asks for with one entry; a tuple, as hundreds are made in a moment.

    Attributes:
        counter_party_address: The provider's protocol address.
        contract_id: The agreement under which the data is had; None until one is negotiated.
        connector_id: The provider's participant id.
        transfer_type: Profile or transfer type; None is the service's default.
        counter_party_id: As ``connector_id``, where the two differ.
        destination: ``location:path`` to store at; None is the service's default.
        asset_id: What to negotiate about where there is no contract.
    """

    counter_party_address: str
    contract_id: str | None
    connector_id: str
    transfer_type: str | None = None
    counter_party_id: str | None = None
    destination: str | None = None
    asset_id: str | None = None

    @property
    def provider_id(self) -> str:
        """The participant with whom a contract is."""
        return self.counter_party_id or self.connector_id

    @property
    def negotiates(self) -> bool:
        """True if it has no contract yet."""
        return self.contract_id is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why an entry failed.

    Attributes:
        code: 502 where another party's answer was wrong or missing, 504 where it took too long, 500 where
            the fault is on our side.
        kind: As ``DataFerryError.kind``.
        message: A sentence; no secret.
    """

    code: int
    kind: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of an orchestration: the row that decides.

    Attributes:
        position: Its place in the request, from 0.
        outcome: What ``closing`` leads to.
        offer: What is, or was, negotiated about; None if nothing is.
        negotiation_id: The negotiation's id at the connector.
        transfer_id: The transfer process's id at the connector.
        flow_id: The data flow that downloads it.
        sink_ref: ``location:path`` of what is stored.
        storage_path: The same as clients are told it.
        renewals: How often a new data address was fetched because the old one was refused.
        renewed_at_bytes: How many bytes had arrived when that last happened.
        note: What went less than well without failing the entry.
    """

    orchestration_id: UUID
    position: int
    ask: Ask
    step: Step = Step.WAITING
    version: int = 0
    outcome: Step | None = None
    offer: Offer | None = None
    negotiation_id: str | None = None
    transfer_id: str | None = None
    flow_id: UUID | None = None
    sink_ref: str | None = None
    storage_path: str | None = None
    size_bytes: int | None = None
    crc64nvme: int | None = None
    verification: str | None = None
    renewals: int = 0
    renewed_at_bytes: int = 0
    fault: Fault | None = None
    note: str | None = None
    started_at: datetime | None = None
    updated_at: datetime
    ended_at: datetime | None = None

    @property
    def key(self) -> tuple[UUID, int]:
        """What identifies it."""
        return (self.orchestration_id, self.position)

    @property
    def reference(self) -> str:
        """What the connector is told it by, to find a transfer process again whose answer got lost."""
        return f"{self.orchestration_id}/{self.position}"

    def to(self, step: Step, **changes: Any) -> Entry:
        """Return the entry at its next step.

        Raises:
            TransitionError: ``STEPS`` has no such pair.
        """
        if step not in STEPS[self.step]:
            raise TransitionError(f"an entry does not go from {self.step.value} to {step.value}")
        return replace(self, step=step, **changes)


class NoticeState(StrEnum):
    """Where the notice of an orchestration's end stands; ``pending`` also before that end."""

    PENDING = "pending"
    DELIVERED = "delivered"
    GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What is sent to the operator's webhook once an orchestration has ended; its id is the orchestration's.

    Attributes:
        attempts: Failed ones.
        next_at: Not before; None is at once.
        error: Of the last failed attempt.
        settled_at: When it was delivered or given up.
    """

    state: NoticeState = NoticeState.PENDING
    attempts: int = 0
    next_at: datetime | None = None
    error: str | None = None
    settled_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Orchestration:
    """One request, and how its entries go.

    Attributes:
        properties: As the request had them; shown again.
        digest: Of the request, to tell a repetition from another request under the same idempotency key.
        error: Why it is FAILED or PARTIALLY_COMPLETED.
        notice: None where no webhook was configured when it was taken in.
    """

    id: UUID
    standing: Standing = Standing.QUEUED
    connector_address: str
    properties: dict[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    digest: str = ""
    entries: int
    saved: int = 0
    failed: int = 0
    cancelled: int = 0
    is_cancelled: bool = False
    error: str | None = None
    notice: Notice | None = None
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None = None

    @property
    def is_over(self) -> bool:
        """True once every entry has ended."""
        return self.saved + self.failed + self.cancelled >= self.entries

    @property
    def end(self) -> Standing:
        """What an orchestration whose entries have all ended is."""
        if self.saved == self.entries:
            return Standing.COMPLETED
        if self.is_cancelled:
            return Standing.CANCELLED
        return Standing.PARTIALLY_COMPLETED if self.saved else Standing.FAILED


class ApiVersion(StrEnum):
    """Versions of the Management API that we speak."""

    V3 = "v3"
    V4 = "v4"


class OnSaved(StrEnum):
    """What becomes of a transfer process once its data is stored.

    The Management API has no verb that completes one: a consumer may terminate it, so that nothing stays open
    and the provider's token ends, or leave it STARTED.
    """

    TERMINATE = "terminate"
    KEEP = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    """A connector whose Management API is driven.

    Attributes:
        address: As requests name it: the base under which its APIs are.
        management_path: Behind ``address``, without the version.
        api_key: Sent as ``X-Api-Key``, to this connector only.
        token_url, client_id, client_secret, scope: OAuth2 client credentials, in place of a key.
        api_version: None finds out.
        protocol: The dataspace protocol that requests name.
        is_configured: By the operator; else it only arrived in a request, gets no credentials, and is reached
            through the egress guard.
    """

    address: str
    management_path: str = "/api/management"
    api_key: str | None = field(default=None, repr=False)
    token_url: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    scope: str | None = None
    api_version: ApiVersion | None = None
    protocol: str = "dataspace-protocol-http"
    on_saved: OnSaved = OnSaved.TERMINATE
    is_configured: bool = True

    @property
    def management_url(self) -> str:
        """The Management API's base, without the version."""
        return self.address + self.management_path
