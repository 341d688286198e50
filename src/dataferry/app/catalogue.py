"""Whom this plane serves and where its data is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dataferry.app.authorization_settings import CallbackTokensSettings, CallerTokensSettings
from dataferry.app.section import Bandwidth, LocationName, Name, Section, Windows, http_url
from dataferry.domain.errors import InputError
from dataferry.domain.limits import MAX_PART_BYTES, MAX_WORKERS, MIN_PART_BYTES, LocationLimits
from dataferry.domain.location import Landing, LandingZone, LocationRef, OnFailure, RegistrationStyle, Retries
from dataferry.engine.selection import Selection
from dataferry.secrets.did import MAX_DID_CHARS, is_web_did

_FOR = (
    "Control planes that it is there for, patterns of their ids with `*`; for others it is as if it did not"
    " exist. Empty: all."
)
_PARTICIPANTS = (
    "Participants that it is there for, `id` of `[[participants]]`; for others it is as if it did not exist."
    " Empty: all."
)


class ParticipantSettings(Section):
    """``[[participants]]``: a participant whose data this plane moves."""

    id: Name = Field(description="Id of the participant context, as control planes name it.")
    did: str | None = Field(
        default=None,
        max_length=MAX_DID_CHARS,
        description="Its DID, `did:web:...`. With it, addresses of the gateway for partners that have one too"
        " carry a token that is short-lived and renewed (Token Renewal). None: a token for the flow's life.",
    )
    signing_key: str | None = Field(
        default=None,
        repr=False,
        description="Private key of its DID document in PEM (P-256, P-384, Ed25519 or RSA), by which this"
        " plane renews tokens at partners and signs tokens: a value, `env:NAME` or `file:PATH`. None: it has"
        " none here.",
    )
    signer_url: str | None = Field(
        default=None,
        description="Where signatures are had instead, so that the key need not be on this machine: see"
        " [a signer elsewhere](../howto/connect.md#a-signer-elsewhere). None: there is none.",
    )
    signer_token: str | None = Field(
        default=None,
        repr=False,
        description="Bearer token for `signer_url`: a value, `env:NAME` or `file:PATH`. None: none is sent.",
    )
    public_key: str | None = Field(
        default=None,
        description="Public half, in PEM, of the key that `signer_url` signs with, by which each signature is"
        " checked: a value, `env:NAME` or `file:PATH`. None: only without `signer_url`.",
    )
    kid: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_DID_CHARS,
        description="What the DID document calls that key, `#key-1` or in full; needed with `signing_key` and"
        " `signer_url`. None: there is no key.",
    )

    @field_validator("did")
    @classmethod
    def _did(cls, value: str | None) -> str | None:
        if value is not None and not is_web_did(value):
            raise ValueError("must be did:web:HOST, with %3A before a port")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.signing_key is not None and self.signer_url is not None:
            raise ValueError("give either `signing_key` or `signer_url`")
        if self.has_key != (self.kid is not None):
            raise ValueError("`signing_key` or `signer_url`, and `kid`, need each other")
        if self.has_key and self.did is None:
            raise ValueError("`signing_key` and `signer_url` need `did`")
        if (self.signer_url is None) != (self.public_key is None):
            raise ValueError("`signer_url` and `public_key` need each other")
        if self.signer_token is not None and self.signer_url is None:
            raise ValueError("`signer_token` needs `signer_url`")
        return self

    @field_validator("signer_url")
    @classmethod
    def _urls(cls, value: str | None) -> str | None:
        return None if value is None else http_url(value)

    @property
    def has_key(self) -> bool:
        """True if it can sign."""
        return self.signing_key is not None or self.signer_url is not None


class ControlPlaneSettings(Section):
    """``[[control_planes]]``: a control plane that may call us, and that we call back."""

    id: Name = Field(description="Its `controlplaneId`.")
    endpoint: str | None = Field(
        default=None,
        description="Base URL of its signaling API, where callbacks go. None: until it registers itself.",
    )
    token: str | None = Field(
        default=None,
        repr=False,
        description="Bearer token that it calls us with: a value, `env:NAME` or `file:PATH`. None: no"
        " authorization, unless there is `authorization`; then it must be the only control plane, and we"
        " listen on loopback only.",
    )
    callback_token: str | None = Field(
        default=None,
        repr=False,
        description="Bearer token that we call it with, written as `token`. None: none is sent.",
    )
    authorization: CallerTokensSettings | None = Field(
        default=None,
        description="The JWTs that it calls us with, beside or instead of `token`: a table of its own, below."
        " None: none are taken.",
    )
    callback_authorization: CallbackTokensSettings | None = Field(
        default=None,
        description="How we get the token that we call it with, instead of `callback_token`: a table of its"
        " own, below. None: that one.",
    )
    register_: bool = Field(
        default=False,
        alias="register",
        description="Register this plane there (`PUT /dataplanes`), again and again until it answers. Off,"
        " because some control planes are told of planes by hand.",
    )
    registration_url: str | None = Field(
        default=None, description="Where to register, if not `{endpoint}/dataplanes`. None: there."
    )
    registration: RegistrationStyle = Field(
        default=RegistrationStyle.DPS,
        description="Which endpoint it is told: `dps` the base of our signaling API, as the specification"
        " says; `edc` with `/dataflows` behind it, since EDC appends only the verb. With `edc` the data"
        " addresses of its flows also name each property by EDC's IRI, so that its Management API keeps it.",
    )
    retries: Retries = Field(
        default=Retries.STRICT,
        description="`strict` refuses a second prepare or start of a process, as the specification wants;"
        " `replay` gives the first answer again when the content is equal, as EDC needs.",
    )
    on_failure: OnFailure = Field(
        default=OnFailure.HOLD,
        description="After a failed run, beside `errored`: `hold` keeps the flow for a resume or `flows"
        " retry` (the default, since nothing is lost by it), `terminate`, or `terminate-via-management-api`.",
    )
    management_url: str | None = Field(
        default=None,
        description="Its Management API: flows show their contract agreement, and"
        " `terminate-via-management-api` works. None: not used.",
    )
    management_key: str | None = Field(
        default=None,
        repr=False,
        description="API key for `management_url`, written as `token`. None: none is sent.",
    )
    may_name_locations: bool = Field(
        default=False,
        description="Whether `metadata` of its messages may name sources and destinations. Off: a message can"
        " name only what the operator configured.",
    )
    metadata_location: LocationName | None = Field(
        default=None,
        description="Location whose endpoint and credentials serve `sourceBucket` and `destinationBucket` of"
        " metadata. None: metadata must bring its own.",
    )
    participant_context_id: Name = Field(
        default="default",
        description="The participant whose flows it controls; one of `[[participants]]` if there are any.",
    )

    @field_validator("endpoint", "registration_url", "management_url")
    @classmethod
    def _urls(cls, value: str | None) -> str | None:
        return None if value is None else http_url(value)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.register_ and not (self.endpoint or self.registration_url):
            raise ValueError("`register = true` needs `endpoint`")
        for key in ("callback_token", "callback_authorization"):
            if getattr(self, key) and not self.endpoint:
                raise ValueError(f"`{key}` needs `endpoint`: it is never for a place that a message named")
        if self.callback_token and self.callback_authorization:
            raise ValueError("give either `callback_token` or `callback_authorization`")
        if self.on_failure is OnFailure.TERMINATE_VIA_MANAGEMENT_API and not self.management_url:
            raise ValueError('`on_failure = "terminate-via-management-api"` needs `management_url`')
        if self.metadata_location and not self.may_name_locations:
            raise ValueError("`metadata_location` needs `may_name_locations = true`")
        return self


class LocationSettings(BaseModel):
    """``[locations.NAME]``: a named place; the other keys are its mechanism's."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    type: Name = Field(description="The mechanism, as `dataferry mechanisms list` names it.")
    workers: int | None = Field(
        default=None,
        ge=1,
        le=MAX_WORKERS,
        description="Threads, and so connections, at most of each transfer that reads from it or writes to"
        " it, 1 to 256; the least of both ends and `engine.workers` holds. None: `engine.workers`.",
    )
    part_size_bytes: int | None = Field(
        default=None,
        ge=MIN_PART_BYTES,
        le=MAX_PART_BYTES,
        description="As `engine.part_size_bytes`, in its place: the destination's, else the source's. None:"
        " `engine.part_size_bytes`.",
    )
    multipart_threshold_bytes: int | None = Field(
        default=None,
        ge=MIN_PART_BYTES,
        le=MAX_PART_BYTES,
        description="As `engine.multipart_threshold_bytes`, in its place: the destination's, else the"
        " source's. None: `engine.multipart_threshold_bytes`.",
    )
    bandwidth_bytes_per_s: Bandwidth | None = Field(
        default=None,
        description="Bound of all transfers of this process together that read from it or write to it, bytes"
        " a second, 1 to 2^50; each has its fair part. None: no bound of its own.",
    )
    bandwidth_windows: Windows = Field(
        default=(),
        description="Times of the week in which another bound than `bandwidth_bytes_per_s` holds; at most"
        " 50. Empty: always that one.",
    )
    participants: tuple[str, ...] = Field(default=(), description=_PARTICIPANTS)

    @property
    def limits(self) -> LocationLimits:
        """The keys that every location may have."""
        return LocationLimits(
            workers=self.workers,
            part_size_bytes=self.part_size_bytes,
            multipart_threshold_bytes=self.multipart_threshold_bytes,
            bandwidth_bytes_per_s=self.bandwidth_bytes_per_s,
            bandwidth_windows=tuple(window.window for window in self.bandwidth_windows),
        )

    @property
    def settings(self) -> dict[str, Any]:
        """The mechanism's keys, as written: references are not resolved."""
        return dict(self.model_extra or {})

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Show which keys there are: their values may be secrets."""
        return [("type", self.type), ("keys", sorted(self.settings))]


def _reference(value: str | None) -> str | None:
    """Check that a value is ``location:path``."""
    if value is not None:
        try:
            LocationRef.parse(value)
        except InputError as error:
            raise ValueError(str(error)) from error
    return value


class DatasetSettings(Section):
    """``[[datasets]]``: what this side offers as a provider."""

    id: Name | None = Field(default=None, description="One dataset id. Either this or `match`.")
    match: Name | None = Field(
        default=None,
        description="A pattern of dataset ids with `*`; the most specific match wins. Either this or `id`.",
    )
    source: str = Field(
        description="`LOCATION:PATH` of its bytes; ends with `/` for a prefix; `{datasetId}` is the id"
        " that matched."
    )
    prepare_wait_s: float | None = Field(
        default=None, ge=0, description="As `engine.prepare_wait_s`, for this dataset. None: that one."
    )
    bandwidth_bytes_per_s: Bandwidth | None = Field(
        default=None,
        description="Bound for each of its flows, bytes a second, 1 to 2^50. None: no bound of its own.",
    )
    labels: tuple[str, ...] = Field(default=(), description="Labels, shown by the management API.")
    control_planes: tuple[str, ...] = Field(default=(), description=_FOR)
    participants: tuple[str, ...] = Field(default=(), description=_PARTICIPANTS)
    include: tuple[str, ...] = Field(
        default=(),
        description="Patterns of the names that belong to it (docs/howto/select.md); `metadata` of a message"
        " narrows further, and never widens. Access that can't be bounded so is not granted. Empty: all.",
    )
    exclude: tuple[str, ...] = Field(default=(), description="Patterns of names that do not. Empty: none.")

    @field_validator("source")
    @classmethod
    def _source(cls, value: str) -> str | None:
        return _reference(value)

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.id is None) == (self.match is None):
            raise ValueError("give either `id` or `match`")
        try:
            Selection.of(self.include, self.exclude)
        except InputError as error:
            raise ValueError(error.message) from error
        return self


class LandingZoneSettings(Section):
    """``[[landing_zones]]``: where a consumer receives; the most specific that matches wins."""

    name: Name = Field(description="Its name.")
    mode: Landing = Field(
        default=Landing.COPY,
        description="`copy`, or `none`: nothing is copied, and the flow keeps the data address for"
        " applications to read by themselves. Of pulls only: what is pushed must have a place.",
    )
    sink: str | None = Field(
        default=None,
        description="`LOCATION:PATH`; may hold `{datasetId}`, `{processId}`, `{agreementId}`,"
        " `{counterPartyId}`, `{participantContextId}`, `{controlPlaneId}`; one of the last two must be a"
        " segment of it if it is for several participants."
        ' Required, but for `mode = "none"`, which has none.',
    )
    profiles: tuple[str, ...] = Field(
        default=(), description="Profiles that it serves, patterns with `*`. Empty: all."
    )
    labels: tuple[str, ...] = Field(
        default=(), description="Labels that a flow must have, all of them, patterns with `*`. Empty: any."
    )
    datasets: tuple[str, ...] = Field(
        default=(), description="Dataset ids that it serves, patterns with `*`. Empty: all."
    )
    source: str | None = Field(
        default=None,
        description="`LOCATION:PATH` to fetch from when the control plane conveys no address. None: wait"
        " for one.",
    )
    prepare_wait_s: float | None = Field(
        default=None, ge=0, description="As `engine.prepare_wait_s`, for this zone. None: that one."
    )
    bandwidth_bytes_per_s: Bandwidth | None = Field(
        default=None,
        description="Bound for each of its flows, bytes a second, 1 to 2^50. None: no bound of its own.",
    )
    manifest: bool = Field(
        default=False,
        description="Whether flows that this side fetches write `objects.jsonl` there: what has arrived, and"
        " how it is proved. `sink` must then be a prefix or directory. Off: nothing is written that was not"
        " sent.",
    )
    require_token_renewal: bool = Field(
        default=False,
        description="Whether `started` is refused when its address brings a token that can't be renewed"
        " (Token Renewal), where the mechanism knows renewal (`http`). A key of the landing zone, as that may"
        " be of some profiles or datasets only. Off: the profile leaves renewal open.",
    )
    control_planes: tuple[str, ...] = Field(default=(), description=_FOR)
    participants: tuple[str, ...] = Field(default=(), description=_PARTICIPANTS)

    @field_validator("sink", "source")
    @classmethod
    def _places(cls, value: str | None) -> str | None:
        return _reference(value)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.zone.fault:
            raise ValueError(self.zone.fault)
        return self

    @property
    def zone(self) -> LandingZone:
        """What it says, for the rooms below."""
        return LandingZone(**self.model_dump())
