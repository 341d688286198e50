"""The messages of Data Plane Signaling as they travel: what we accept.

Lenient where control planes differ: unknown fields are ignored, explicit nulls stand for fields that are
not there, and the older ``transferType`` is read as ``profile``. Strict in what we build on: a missing or
wrong field is named. What we send is written in ``dialects``.

Source: Data Plane Signaling, "Data Plane Endpoint" and "Control Plane Registration".
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from dataferry.api.keys import FITS
from dataferry.domain.keys import MAX_KEY_BYTES

MAX_ID_CHARS = 1024
MAX_URL_CHARS = 4096
MAX_REASON_CHARS = 4096
MAX_LABELS = 100

_NO_CONTROL_CHARACTERS = r"^[^\x00-\x1f\x7f]*$"

Id = Annotated[
    str,
    StringConstraints(
        strict=True,
        min_length=1,
        max_length=MAX_ID_CHARS,
        pattern=_NO_CONTROL_CHARACTERS,
        strip_whitespace=False,
    ),
]
# By these ids rows are found.
Key = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=MAX_KEY_BYTES, pattern=_NO_CONTROL_CHARACTERS),
    FITS,
]


def _is_segment(text: str) -> str:
    """Refuse what would not stay one segment of a callback's path."""
    if text in {".", ".."}:
        raise ValueError("may not be . or ..")
    return text


ProcessId = Annotated[Key, AfterValidator(_is_segment)]
Word = Annotated[str, StringConstraints(strict=True, max_length=MAX_ID_CHARS, pattern=_NO_CONTROL_CHARACTERS)]
Url = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=MAX_URL_CHARS, pattern=_NO_CONTROL_CHARACTERS),
]
Reason = Annotated[str, StringConstraints(strict=True, max_length=MAX_REASON_CHARS)]


class Message(BaseModel):
    """What all messages have in common: unknown fields are ignored, types are not guessed."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class DataFlowBaseMessage(Message):
    """What prepare and start have in common.

    ``claims`` is required by the specification, but sent as null or left out by control planes in use: both
    count as no claims.

    Source: Data Plane Signaling, "DataFlowPrepareMessage".
    """

    message_id: Id = Field(alias="messageId")
    participant_id: Id = Field(alias="participantId")
    counter_party_id: Id = Field(alias="counterPartyId")
    dataspace_context: Word = Field(alias="dataspaceContext")
    process_id: ProcessId = Field(alias="processId")
    agreement_id: Id = Field(alias="agreementId")
    dataset_id: Id = Field(alias="datasetId")
    transfer_type: Id | None = Field(
        default=None, alias="transferType", description="What `profile` was called until RC2."
    )
    profile: Id | None = Field(
        default=None, validate_default=True, description="What kind of transfer; required."
    )
    callback_address: Url | None = Field(
        default=None, alias="callbackAddress", description="Where callbacks go, until RC2."
    )
    claims: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    labels: list[Word] | None = Field(default=None, max_length=MAX_LABELS)

    @field_validator("profile")
    @classmethod
    def _is_named(cls, value: str | None, info: ValidationInfo) -> str | None:
        """One of the two names of the field must be there."""
        if value is None and info.data.get("transfer_type") is None:
            raise ValueError("required (or transferType, as it was called until RC2)")
        return value


class DataFlowPrepareMessage(DataFlowBaseMessage):
    """Initialise a data flow and what it needs.

    Source: Data Plane Signaling, "Prepare".
    """


class DataFlowStartMessage(DataFlowBaseMessage):
    """Begin a transfer; a push brings the address to push to.

    Source: Data Plane Signaling, "Start".
    """

    data_address: dict[str, Any] | None = Field(default=None, alias="dataAddress")


class DataFlowStartedNotificationMessage(Message):
    """Tell the consumer's side that the transfer began; a pull brings the address to pull from.

    Source: Data Plane Signaling, "Started Notification".
    """

    message_id: Id | None = Field(default=None, alias="messageId")
    data_address: dict[str, Any] | None = Field(default=None, alias="dataAddress")


class DataFlowResumeMessage(DataFlowStartedNotificationMessage):
    """Go on with a suspended transfer.

    Source: Data Plane Signaling, "Resume".
    """


class DataFlowReasonMessage(Message):
    """Suspend or terminate, with a reason. The body, and each field of it, may be missing.

    Source: Data Plane Signaling, "Suspend" and "Terminate".
    """

    message_id: Id | None = Field(default=None, alias="messageId")
    reason: Reason | None = None


Secret = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=MAX_URL_CHARS, pattern=_NO_CONTROL_CHARACTERS),
]


class Authorization(Message):
    """The authorization object of a registration: how the one who registers is called, and known.

    Source: Data Plane Signaling, "Authorization Object" and "OAuth 2 Client Credentials Grant".
    """

    type: Id
    token: Id | None = Field(default=None, repr=False, description="For `bearer`: what we call back with.")
    token_endpoint: Url | None = Field(default=None, alias="tokenEndpoint")
    client_id: Id | None = Field(default=None, alias="clientId")
    client_secret: Secret | None = Field(default=None, alias="clientSecret", repr=False)
    jwks: dict[str, Any] | None = Field(
        default=None, description="The keys that the control plane signs its own tokens with."
    )
    jwks_uri: Url | None = Field(default=None, alias="jwksUri", description="Where they are published.")


class ControlPlaneRegistrationMessage(Message):
    """A control plane introduces itself.

    Source: Data Plane Signaling, "The Control Plane Registration Type".
    """

    controlplane_id: Key = Field(alias="controlplaneId")
    endpoint: Url
    authorization: Authorization | None = None


class DataFlowStatusMessage(Message):
    """What verbs are answered with, and what callbacks say.

    Source: Data Plane Signaling, "DataFlowStatusMessage".
    """

    message_id: str = Field(alias="messageId")
    data_flow_id: str = Field(alias="dataFlowId")
    state: str
    data_address: dict[str, Any] | None = Field(default=None, alias="dataAddress")
    error: str | None = None
    dataplane_id: str | None = Field(
        default=None, alias="dataplaneId", description="Only for control planes that speak RC1 or RC2."
    )


class DataFlowStatusResponseMessage(Message):
    """What a status request is answered with.

    Source: Data Plane Signaling, "DataFlowStatusResponseMessage".
    """

    data_flow_id: str = Field(alias="dataFlowId")
    state: str
    dataplane_id: str | None = Field(default=None, alias="dataplaneId")
