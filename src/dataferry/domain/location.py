"""Locations, datasets, landing zones and control planes: what the operator configured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from dataferry.domain.errors import InputError
from dataferry.domain.limits import LocationLimits

if TYPE_CHECKING:
    from dataferry.domain.authorization import CallbackTokens, CallerTokens


class Provenance(StrEnum):
    """Whose word a place is: it decides what we trust it with.

    ``OPERATOR`` is configuration and the admin API: private addresses allowed, keys used.
    ``EXTERNAL`` is whatever arrived in a message, a redirect, a DID or a token: through the egress guard,
    and never with a location's credentials.
    """

    OPERATOR = "operator"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A named place with a mechanism and its credentials.

    Attributes:
        settings: As the mechanism's location schema has them, secrets resolved; never shown.
        limits: What it asks of transfers; the mechanism does not see it.
        participants: Ids of participant contexts whose flows may use it; empty is all. For others it is as if
            it did not exist.
    """

    name: str
    mechanism: str
    settings: Mapping[str, Any] = field(repr=False)
    limits: LocationLimits = field(default_factory=LocationLimits)
    participants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationRef:
    """A place within a location, written ``name:path``."""

    location: str
    path: str

    @classmethod
    def parse(cls, text: str) -> LocationRef:
        """Read ``name:path``.

        Raises:
            InputError: There is no colon, or no name before it.
        """
        name, colon, path = text.partition(":")
        if not colon or not name:
            raise InputError(f"{text!r} is not a location and a path: write it as NAME:PATH")
        return cls(location=name, path=path)

    def __str__(self) -> str:
        return f"{self.location}:{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """What a provider offers: a dataset id, or a pattern of ids, and where its bytes are.

    Attributes:
        match: An id, or a pattern with ``*``; the most specific one that matches wins.
        source: ``location:path``; ``{datasetId}`` in it stands for the id that matched.
        prepare_wait_s: How long a start may take before it is answered with 202; None: as ``[engine]`` says.
        bandwidth_bytes_per_s: A bound for each of its flows; None is none.
        include, exclude: Patterns of names: what they leave out is no part of it. A message narrows further.
        control_planes: Ids of control planes that it is there for, with ``*``; empty is all. For
            others it is as if it did not exist.
        participants: As of a location; where both stand, both must hold.
    """

    match: str
    source: str
    prepare_wait_s: float | None = None
    bandwidth_bytes_per_s: int | None = None
    labels: tuple[str, ...] = ()
    control_planes: tuple[str, ...] = ()
    participants: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class Landing(StrEnum):
    """What becomes of the data that a consumer's flow is given access to."""

    COPY = "copy"  # it is copied to a place of ours
    NONE = "none"  # nothing is: the flow keeps the data address, for applications that read by themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class LandingZone:
    """Where a consumer's flows are received.

    Attributes:
        name: Its name.
        mode: Whether data is copied; flows of a zone where it is not keep their data address instead.
        sink: ``location:path``; ``{datasetId}``, ``{processId}``, ``{agreementId}``, ``{counterPartyId}``,
            ``{participantContextId}`` and ``{controlPlaneId}`` stand for the flow's. None where nothing is
            copied.
        profiles, labels, datasets: It serves a flow that matches each of these that is set; with ``*``.
        source: A fallback ``location:path`` for control planes that convey no address.
        prepare_wait_s: As of a dataset.
        bandwidth_bytes_per_s: As of a dataset.
        manifest: Have the flows that it receives write what has arrived, where this side moves the bytes.
        require_token_renewal: Refuse addresses whose token can't be renewed, where that is known.
        control_planes, participants: As of a dataset.
    """

    name: str
    mode: Landing = Landing.COPY
    sink: str | None = None
    profiles: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    source: str | None = None
    prepare_wait_s: float | None = None
    bandwidth_bytes_per_s: int | None = None
    manifest: bool = False
    require_token_renewal: bool = False
    control_planes: tuple[str, ...] = ()
    participants: tuple[str, ...] = ()

    @property
    def fault(self) -> str | None:
        """What of it does not fit together, as a sentence; None if it does."""
        if self.mode is Landing.COPY:
            return None if self.sink else '`sink` is needed: with `mode = "none"` nothing is copied'
        copying = {
            "sink": self.sink,
            "source": self.source,
            "manifest": self.manifest,
            "bandwidth_bytes_per_s": self.bandwidth_bytes_per_s,
        }
        unused = [f"`{name}`" for name, value in copying.items() if value]
        return f'with `mode = "none"` nothing is copied: leave out {", ".join(unused)}' if unused else None


class Retries(StrEnum):
    """How a control plane repeats prepare and start: never (the specification), or unchanged (EDC)."""

    STRICT = "strict"
    REPLAY = "replay"


class OnFailure(StrEnum):
    """What follows a failed run, beside ``errored``."""

    HOLD = "hold"
    TERMINATE = "terminate"
    TERMINATE_VIA_MANAGEMENT_API = "terminate-via-management-api"


class RegistrationStyle(StrEnum):
    """How a control plane is told about us, and about addresses.

    The specification's endpoint is the base of the API (``…/api/v1``); EDC appends only the verb, so that it
    needs the one with ``/dataflows``. Of a data address it keeps only the properties that have its IRI.
    """

    DPS = "dps"
    EDC = "edc"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """A control plane that may call us, and that we call back.

    Attributes:
        id: Its ``controlplaneId``.
        endpoint: Base URL of its signaling API, where callbacks go; None until it registers.
        token: Bearer token it calls us with; None without ``authorization`` only on loopback.
        callback_token: Bearer token we call it with; None sends none.
        authorization: The JWTs it calls us with; None takes none.
        callback_authorization: How we get the token we call it with; goes before ``callback_token``.
        provenance: Configured by the operator, or registered over the API.
        register: Whether we register ourselves there (``PUT {endpoint}/dataplanes``).
        registration: Which endpoint of ours it is told, and how properties of addresses are named to it.
        may_name_locations: Its messages' metadata may name source and destination (the seed's keys).
        metadata_location: The location whose credentials serve ``sourceBucket`` and ``destinationBucket``.
        registration_url: Where to PUT our registration, if not below ``endpoint``.
        retries: Whether a repeated prepare or start is refused, or answered as before.
        on_failure: What follows a failed run.
        management_url, management_key: Its Management API, for ``terminate-via-management-api``.
        participant_context_id: Whose flows it makes here.
    """

    id: str
    endpoint: str | None = None
    token: str | None = field(default=None, repr=False)
    callback_token: str | None = field(default=None, repr=False)
    authorization: CallerTokens | None = field(default=None, repr=False)
    callback_authorization: CallbackTokens | None = field(default=None, repr=False)
    provenance: Provenance = Provenance.OPERATOR
    register: bool = False
    registration_url: str | None = None
    registration: RegistrationStyle = RegistrationStyle.DPS
    retries: Retries = Retries.STRICT
    on_failure: OnFailure = OnFailure.HOLD
    management_url: str | None = None
    management_key: str | None = field(default=None, repr=False)
    may_name_locations: bool = False
    metadata_location: str | None = None
    participant_context_id: str = "default"

    @property
    def is_known(self) -> bool:
        """True if it can be told from others by what it calls us with."""
        return self.token is not None or self.authorization is not None
