"""What the use cases take and give, independent of any wire format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from dataferry.domain.address import DataAddress
from dataferry.domain.dataflow import DataFlow, Dialect, State
from dataferry.domain.location import ControlPlane


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls the signaling API, and so whose a flow is: everything is looked up in this scope."""

    control_plane_id: str
    participant_context_id: str = "default"

    @classmethod
    def for_plane(cls, plane: ControlPlane) -> Caller:
        """Return the scope of a control plane."""
        return cls(control_plane_id=plane.id, participant_context_id=plane.participant_context_id)

    @classmethod
    def of(cls, flow: DataFlow) -> Caller:
        """Return whose a flow is."""
        return cls(control_plane_id=flow.control_plane_id, participant_context_id=flow.participant_context_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRequest:
    """A prepare or start message.

    Attributes:
        digest: Of the verb and the content without ``messageId``, to recognise a repetition.
    """

    message_id: str
    participant_id: str
    counter_party_id: str
    dataspace_context: str
    process_id: str
    agreement_id: str
    dataset_id: str
    profile: str
    dialect: Dialect
    digest: str
    claims: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    data_address: DataAddress | None = None
    callback_address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a verb is answered with.

    Attributes:
        data_address: Only where this side owns the address and the verb hands it out.
        later: True if the work goes on and a callback will follow (202).
    """

    flow: DataFlow
    data_address: DataAddress | None = None
    later: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """One message of the outbox, ready to send.

    Attributes:
        kind: ``prepared``, ``started``, ``completed`` or ``errored``: the last segment of the path.
        callback_address: The message's own callback base (RC dialect), where it sent one.
    """

    message_id: str
    kind: str
    process_id: str
    data_flow_id: str
    dialect: Dialect
    state: State
    data_address: DataAddress | None = None
    error: str | None = None
    callback_address: str | None = None


class ControlPlaneClient(Protocol):
    """How we call control planes; the signaling door implements it.

    Each method raises ``ConnectionFailedError``, ``ThrottledError`` or ``ServerError`` (try again),
    ``ConflictError`` (409: too early or already), ``UnauthorizedError`` or ``NotFoundError`` (401, 404: EDC's
    answer when it is too early, so try again too), or another ``DataFerryError`` (no use).
    """

    def send(self, control_plane: ControlPlane, callback: Callback) -> None:
        """POST ``/transfers/{processId}/dataflow/{kind}``."""
        ...

    def register(self, control_plane: ControlPlane) -> None:
        """PUT ``/dataplanes`` with our id, endpoint and profiles."""
        ...

    def agreement(self, control_plane: ControlPlane, agreement_id: str) -> dict[str, Any]:
        """Return a contract agreement as the Management API has it; ``NotFoundError`` if it has none."""
        ...

    def terminate_transfer(self, control_plane: ControlPlane, process_id: str, reason: str) -> None:
        """Terminate the transfer process through the Management API (``on_failure``)."""
        ...
