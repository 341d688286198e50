"""The data flow: DPS's state machine, our run state, and the row that is the one authority.

Source: Data Plane Signaling, "Data Flow State Machine".
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import TransitionError
from dataferry.domain.location import Landing
from dataferry.domain.profile import Direction

# In the place of a control plane: flows that this service makes for itself, of which nobody is told.
OWN_FLOWS = "urn:dataferry:orchestrator"


class State(StrEnum):
    """DPS's state of a data flow; it belongs to the control plane."""

    INITIALIZED = "INITIALIZED"
    PREPARING = "PREPARING"
    PREPARED = "PREPARED"
    STARTING = "STARTING"
    STARTED = "STARTED"
    SUSPENDED = "SUSPENDED"
    COMPLETED = "COMPLETED"
    TERMINATED = "TERMINATED"

    @property
    def is_final(self) -> bool:
        """True if no step leads out of this state."""
        return self in FINAL_STATES


FINAL_STATES = frozenset({State.COMPLETED, State.TERMINATED})


class Event(StrEnum):
    """What may happen to a data flow: the control plane's verbs, and the ends of our asynchronous work."""

    PREPARE = "prepare"
    PREPARE_LATER = "prepare later"
    PREPARATION_DONE = "preparation done"
    START = "start"
    START_LATER = "start later"
    START_DONE = "start done"
    STARTED = "started"
    SUSPEND = "suspend"
    RESUME = "resume"
    COMPLETE = "complete"
    TERMINATE = "terminate"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.INITIALIZED, Event.PREPARE): State.PREPARED,
    (State.INITIALIZED, Event.PREPARE_LATER): State.PREPARING,
    (State.PREPARING, Event.PREPARATION_DONE): State.PREPARED,
    (State.INITIALIZED, Event.START): State.STARTED,
    (State.INITIALIZED, Event.START_LATER): State.STARTING,
    (State.PREPARED, Event.START): State.STARTED,
    (State.PREPARED, Event.START_LATER): State.STARTING,
    (State.STARTING, Event.START_DONE): State.STARTED,
    (State.PREPARED, Event.STARTED): State.STARTED,
    (State.STARTED, Event.SUSPEND): State.SUSPENDED,
    (State.SUSPENDED, Event.RESUME): State.STARTED,
    (State.STARTED, Event.COMPLETE): State.COMPLETED,
    # The provider may be done before its control plane has told ours that it started.
    (State.PREPARED, Event.COMPLETE): State.COMPLETED,
    **{(state, Event.TERMINATE): State.TERMINATED for state in State if state not in FINAL_STATES},
}

# A verb whose target is reached already is answered, not refused: a repeated message is not an error, and
# ``started`` may come after a transfer so short that it is over.
SATISFIED: dict[Event, frozenset[State]] = {
    Event.STARTED: frozenset({State.STARTED, State.COMPLETED}),
    Event.SUSPEND: frozenset({State.SUSPENDED}),
    Event.RESUME: frozenset({State.STARTED}),
    Event.COMPLETE: frozenset({State.COMPLETED}),
    Event.TERMINATE: frozenset({State.TERMINATED}),
}


def next_state(state: State, event: Event) -> State:
    """Return the state that ``event`` leads to.

    Raises:
        TransitionError: The table has no such pair.
    """
    try:
        return TRANSITIONS[(state, event)]
    except KeyError:
        raise TransitionError(f"{event.value} is not possible in state {state.value}") from None


class Run(StrEnum):
    """What our side does for the flow; it belongs to us.

    ``idle`` is a flow that needs no work of ours now: the other side moves the bytes, or nothing has begun.
    """

    IDLE = "idle"
    QUEUED = "queued"
    RUNNING = "running"
    HELD = "held"
    FAILED = "failed"
    DONE = "done"


class Role(StrEnum):
    """Which side of the contract this plane serves in the flow."""

    PROVIDER = "provider"
    CONSUMER = "consumer"


class Dialect(StrEnum):
    """Whose words a control plane speaks: the specification's head, or RC1/RC2's ``transferType``."""

    HEAD = "head"
    RC2 = "rc2"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFlow:
    """One data flow as this plane knows it: the row that decides.

    Attributes:
        id: Internal, unique everywhere.
        data_flow_id: What control planes call it; equals ``process_id`` unless taken in that scope.
        control_plane_id: Who made it; others get 404.
        participant_context_id: Whose it is here, on a deployment that serves several participants.
        profile: The profile as the control plane named it (URL or alias).
        claims: Verified by the control plane, kept as given.
        incoming_address: The DataAddress of the other side, sealed in the row.
        outgoing_address: The DataAddress that this side granted, sealed in the row.
        run: Our state; see ``Run``.
        version: Grows with each write; every write names the one it expects.
        epoch: Grows with each attempt; fences workers of older ones.
        request_digest: Of the first prepare or start without ``messageId``, to recognise its repetition.
        source_ref, sink_ref: ``location:path`` where this side's end lies in a configured location.
        landing: What becomes of a consumer's data here; a provider's flow has ``COPY``.
        correlation_id: What its ``metadata`` says that it belongs to, for who looks for it.
        error_of_sink: Whether ``error``, if there is one, was met where the bytes go.
    """

    id: UUID
    data_flow_id: str
    control_plane_id: str
    participant_context_id: str
    process_id: str
    role: Role
    direction: Direction
    profile: str
    mechanism: str
    dialect: Dialect
    state: State
    run: Run
    version: int = 0
    epoch: int = 0
    participant_id: str
    counter_party_id: str
    dataspace_context: str
    agreement_id: str
    dataset_id: str
    callback_address: str | None = None
    claims: dict[str, Any] = field(default_factory=dict, repr=False)
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)
    labels: tuple[str, ...] = ()
    incoming_address: DataAddress | None = None
    outgoing_address: DataAddress | None = None
    source_ref: str | None = None
    sink_ref: str | None = None
    landing: Landing = Landing.COPY
    correlation_id: str | None = None
    request_digest: str = ""
    reason: str | None = None
    error_kind: str | None = None
    error_of_sink: bool = False
    error: str | None = None
    created_at: datetime
    updated_at: datetime

    @property
    def takes_address(self) -> bool:
        """True on the side that is given the DataAddress: provider of a push, consumer of a pull."""
        given = Role.PROVIDER if self.direction is Direction.PUSH else Role.CONSUMER
        return self.role is given

    @property
    def is_own(self) -> bool:
        """True if this service made it for itself, without control plane, dataset and landing zone."""
        return self.control_plane_id == OWN_FLOWS

    @property
    def owns_address(self) -> bool:
        """True on the side that hands out the DataAddress."""
        return not self.takes_address

    @property
    def moves_bytes(self) -> bool:
        """True if this plane copies: it is given the address, and does not keep it for applications."""
        return self.takes_address and self.landing is Landing.COPY

    def after(self, event: Event, **changes: Any) -> DataFlow:
        """Return the flow in the state that ``event`` leads to, with ``changes`` applied.

        Raises:
            TransitionError: The table has no such pair.
        """
        return replace(self, state=next_state(self.state, event), **changes)
