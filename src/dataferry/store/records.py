"""What repositories give that is no domain object of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from dataferry.domain.dataflow import Role, Run, State
from dataferry.domain.orchestration import Standing
from dataferry.domain.profile import Direction
from dataferry.domain.progress import Progress
from dataferry.domain.purview import EVERYTHING, Purview, Scope


class OutboxState(StrEnum):
    """Where a message of the outbox stands; ``pending`` is the only one that is not settled."""

    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"
    VOID = "void"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxMessage:
    """A callback to a control plane. It holds no address: that is read from the flow when it is sent.

    Attributes:
        message_id: A UUID as text, the same on every attempt.
        sequence: Its place in the outbox; the order of a flow's messages.
        kind: ``prepared``, ``started``, ``completed`` or ``errored``.
        flow_state: The flow's state when the message was written, which is what it tells.
        with_address: The flow's outgoing address belongs in it.
        attempts: Failed ones.
        next_at: Not before.
        settled_at: When it was sent, given up or voided.
    """

    message_id: str
    sequence: int
    flow_id: UUID
    kind: str
    flow_state: State
    with_address: bool
    error: str | None
    state: OutboxState
    attempts: int
    next_at: datetime
    last_error: str | None
    created_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowEvent:
    """Something that happened to a flow, who did it and why.

    Attributes:
        id: Grows; what SSE's ``Last-Event-ID`` names.
        actor: ``dataferry``, a control plane's id, or an operator's name.
    """

    id: int
    flow_id: UUID
    kind: str
    reason: str
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowTransition:
    """A change of a flow's ``state`` or ``run``, with what identifies the flow; no address, no secret.

    Attributes:
        sequence: Grows over all transitions of a store; their order.
        message_id: A UUID as text, the same however often it is told.
        reason, error, error_kind: As they stood after the change.
    """

    sequence: int
    message_id: str
    at: datetime
    flow_id: UUID
    data_flow_id: str
    process_id: str
    control_plane_id: str
    participant_context_id: str
    counter_party_id: str
    agreement_id: str
    dataset_id: str
    correlation_id: str | None
    role: Role
    direction: Direction
    state: State
    run: Run
    reason: str | None
    error: str | None
    error_kind: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestrationTransition:
    """A change of where an orchestration stands.

    Attributes:
        sequence, message_id: As of ``FlowTransition``.
        entries: How many it has.
        saved, failed, cancelled: How many of them have ended so, by the time of reading.
    """

    sequence: int
    message_id: str
    at: datetime
    orchestration_id: UUID
    standing: Standing
    error: str | None
    entries: int
    saved: int
    failed: int
    cancelled: int


Transition = FlowTransition | OrchestrationTransition


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A flow's progress, and when it was written."""

    flow_id: UUID
    progress: Progress
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """How our registration at a control plane goes.

    Attributes:
        registered_at: None until it worked once.
        attempts: Failed ones since it last worked.
    """

    registered_at: datetime | None = None
    attempts: int = 0
    last_error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key of operators; only a digest of it is kept.

    Attributes:
        name: Whose it is; of the keys in force one has it.
        digest: SHA-256 of the key in hexadecimal.
        last_used_at: To the minute.
        revoked_at: None while it is good; a key that was revoked stays, to be told of.
    """

    id: str
    name: str
    digest: str
    scopes: frozenset[Scope]
    purview: Purview = EVERYTHING
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_in_force(self, now: datetime) -> bool:
        """Return whether it opens anything."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPair:
    """An access token of the gateway with the refresh token beside it; of both only digests are kept.

    Attributes:
        number: Its place among those of its flow, from 1.
        chain: The number of the first pair of its line: each address that is handed out begins one.
        refresh_digest: None once a later pair of its line was used: then it renews nothing any more.
        expires_at: When the access token ends.
        is_used: Whether either was ever shown.
    """

    flow_id: UUID
    number: int
    chain: int
    access_digest: str
    refresh_digest: str | None
    expires_at: datetime
    is_used: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewedTokens:
    """What another plane's refresh endpoint gave for a flow, in place of what its address says.

    Attributes:
        base_digest: Of the address that it began with: another address makes this void.
        expires_at: When the access token ends.
        lifetime_s: How long it was good for when it came.
    """

    flow_id: UUID
    base_digest: str
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: datetime
    lifetime_s: float
