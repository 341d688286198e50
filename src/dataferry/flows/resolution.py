"""From what a message says to places: datasets, landing zones, addresses and metadata.

A flow's row keeps only what is needed to find its places again: ``location:path`` for places of ours, the
sealed DataAddress for the other side's, and the sealed metadata. Every attempt resolves anew, so that a key
that the operator changed is used at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from dataferry.domain.address import DataAddress
from dataferry.domain.dataflow import DataFlow, Role
from dataferry.domain.errors import AddressError, ConfigError, InputError, NotFoundError, UnsupportedError
from dataferry.domain.limits import LocationLimits
from dataferry.domain.location import ControlPlane, Landing, LandingZone, Location, LocationRef, Provenance
from dataferry.domain.objects import Capability
from dataferry.domain.profile import Direction, Profile
from dataferry.engine.selection import Selection
from dataferry.flows.catalogue import Catalogue
from dataferry.flows.matching import is_for_participant
from dataferry.flows.messages import Caller, FlowRequest
from dataferry.mechanisms.abilities import GatewayAddresses, RenewableEndpoints
from dataferry.mechanisms.base import Endpoint, Mechanism
from dataferry.mechanisms.registry import Registry

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_QUERY = re.compile(r"\?[A-Za-z]+=")
_MAX_SEGMENT_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An endpoint with the mechanism that opens it.

    Attributes:
        location: The location of ours that it is in, or whose credentials serve it; None if it is elsewhere.
    """

    mechanism: Mechanism
    endpoint: Endpoint
    location: Location | None = None

    @property
    def limits(self) -> LocationLimits:
        """What its location asks of transfers."""
        return LocationLimits() if self.location is None else self.location.limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Both ends of a flow, as far as this side knows them, and what its dataset or landing zone bounds."""

    source: Place | None
    sink: Place | None
    bandwidth_bytes_per_s: int | None = None
    manifest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """Where this side's end of a new flow lies.

    Attributes:
        source_ref, sink_ref: ``location:path``, for the row; None where metadata or an address names it.
        landing: What becomes of the data.
        prepare_wait_s: Of the dataset or landing zone; None is the server's default.
    """

    source_ref: str | None = None
    sink_ref: str | None = None
    landing: Landing = Landing.COPY
    prepare_wait_s: float | None = None


class Resolver:
    """Finds the places of flows.

    Args:
        catalogue: What the operator configured.
        registry: The mechanisms.
    """

    def __init__(self, catalogue: Catalogue, registry: Registry) -> None:
        self._catalogue = catalogue
        self._registry = registry

    def profile(self, name: str) -> tuple[Mechanism, Profile]:
        """Return who serves a profile.

        Raises:
            ProfileError: Nobody does.
        """
        return self._registry.by_profile(name)

    def own(self, request: FlowRequest, role: Role, plane: ControlPlane) -> Own:
        """Return where this side's end of a new flow lies.

        Raises:
            NotFoundError: No dataset or landing zone serves it.
            AddressError: The dataset id can't be part of a path.
        """
        owner = Caller.for_plane(plane)
        if role is Role.PROVIDER:
            return self._provider(request, plane, owner)
        return self._consumer(request, plane, owner)

    def _provider(self, request: FlowRequest, plane: ControlPlane, owner: Caller) -> Own:
        """Metadata first, where the control plane may name locations; then the dataset."""
        if self._named(request, plane, "source") is not None:
            return Own()
        dataset = self._catalogue.datasets.serving(request.dataset_id, owner)
        return Own(
            source_ref=dataset_source(dataset.source, request.dataset_id),
            prepare_wait_s=dataset.prepare_wait_s,
        )

    def _consumer(self, request: FlowRequest, plane: ControlPlane, owner: Caller) -> Own:
        """As for a provider; a landing zone may also name a fallback source."""
        named = self._named(request, plane, "destination") is not None
        try:
            zone = self._zone(owner, request.profile, request.labels, request.dataset_id)
        except NotFoundError:
            if named:
                return Own()
            raise
        if not named:
            self._catalogue.landing_zones.refuse_mixing(zone)
        values = _values(owner, request)
        return Own(
            sink_ref=None if named or zone.sink is None else filled(zone.sink, values),
            source_ref=filled(zone.source, values) if zone.source else None,
            landing=Landing.COPY if named else zone.mode,
            prepare_wait_s=zone.prepare_wait_s,
        )

    def _zone(self, owner: Caller, profile: str, labels: tuple[str, ...], dataset_id: str) -> LandingZone:
        _, found = self._registry.by_profile(profile)
        return self._catalogue.landing_zones.receiving(
            owner,
            direction=found.direction,
            profile_names=found.names,
            labels=labels,
            dataset_id=dataset_id,
        )

    def _named(self, request: FlowRequest, plane: ControlPlane, end: str) -> Place | None:
        mechanism, _ = self._registry.by_profile(request.profile)
        return self._metadata(mechanism, request.metadata, plane, end)

    def _metadata(
        self, mechanism: Mechanism, metadata: dict[str, object], plane: ControlPlane, end: str
    ) -> Place | None:
        """Return the place that metadata names; only where the control plane's registration allows it."""
        if not plane.may_name_locations or not metadata:
            return None
        location: Location | None = None
        if plane.metadata_location is not None:
            location = self._catalogue.locations.get(plane.metadata_location)
            if location.mechanism != mechanism.name or not is_for_participant(
                location, plane.participant_context_id
            ):
                location = None
        endpoint = mechanism.at_metadata(metadata, end=end, location=location)
        if endpoint is None:
            return None
        # One that brings its own credentials is a place from outside, wherever it lies.
        ours = endpoint.provenance is Provenance.OPERATOR
        return Place(mechanism=mechanism, endpoint=endpoint, location=location if ours else None)

    def ends(self, flow: DataFlow) -> Ends:
        """Return both places of a flow, resolved anew from its row.

        Raises:
            NotFoundError: A location is gone.
            AddressError, ConfigError: A place is malformed.
        """
        mechanism = self._registry.get(flow.mechanism)
        return Ends(
            source=self._source(flow, mechanism),
            sink=self._sink(flow, mechanism),
            bandwidth_bytes_per_s=self._bandwidth(flow),
            manifest=self._manifest(flow),
        )

    def _source(self, flow: DataFlow, mechanism: Mechanism) -> Place | None:
        if flow.role is Role.CONSUMER and flow.direction is Direction.PUSH:
            return None
        if flow.role is Role.CONSUMER and flow.incoming_address is not None:
            return self.at_address(flow.profile, flow.incoming_address)
        if flow.source_ref is not None:
            return self.at_ref(flow.source_ref, flow.participant_context_id)
        return self._metadata(mechanism, flow.metadata, self._plane(flow), "source")

    def _sink(self, flow: DataFlow, mechanism: Mechanism) -> Place | None:
        if flow.landing is Landing.NONE:
            return None
        if flow.role is Role.PROVIDER and flow.direction is Direction.PULL:
            return None
        if flow.role is Role.PROVIDER and flow.incoming_address is not None:
            return self.at_address(flow.profile, flow.incoming_address)
        if flow.sink_ref is not None:
            return self.at_ref(flow.sink_ref, flow.participant_context_id)
        return self._metadata(mechanism, flow.metadata, self._plane(flow), "destination")

    def _plane(self, flow: DataFlow) -> ControlPlane:
        return self._catalogue.control_planes.get(flow.control_plane_id)

    def at_ref(self, text: str, participant_context_id: str) -> Place:
        """Return the place ``location:path``.

        Raises:
            NotFoundError: There is no such location for the participant.
        """
        ref = LocationRef.parse(text)
        location = self._catalogue.locations.for_participant(ref.location, participant_context_id)
        mechanism = self._registry.get(location.mechanism)
        endpoint = mechanism.at_location(location, ref.path)
        return Place(mechanism=mechanism, endpoint=endpoint, location=location)

    def at_address(self, profile_name: str, address: DataAddress) -> Place:
        """Return the place of an address that came in a message.

        Args:
            profile_name: As the flow's control plane named it.
            address: From the other side.

        Raises:
            AddressError: It is malformed, or none that the profile takes.

        Source: HTTP Transfer Profile, "Endpoint Type and DataAddress".
        """
        mechanism, profile = self.profile(profile_name)
        by_its_url = profile.own_addresses_only and profile_name == profile.url
        if by_its_url and address.endpoint_type != profile.url:
            raise AddressError(f"a flow of {profile.url} takes only addresses of that endpointType")
        return Place(mechanism=mechanism, endpoint=mechanism.at_address(address))

    def granted(self, flow: DataFlow) -> Place:
        """Return the place of ours that the other side is to be given access to.

        Raises:
            UnsupportedError: The mechanism hands nothing out, or the place is of another mechanism than the
                profile: no address of it can be given.
        """
        mechanism = self._registry.get(flow.mechanism)
        self._refuse_ungranted(mechanism, flow.profile, flow.direction)
        ends = self.ends(flow)
        place = ends.sink if flow.direction is Direction.PUSH else ends.source
        if place is None:
            raise ConfigError(f"flow {flow.data_flow_id} has no place of ours to give access to")
        _refuse_other_mechanism(mechanism, flow.profile, place)
        return place

    def receives(self, profile_name: str, ref: str, participant_context_id: str) -> None:
        """Return if data can be pushed to a place of ours by a profile, as far as is known beforehand.

        Args:
            profile_name: Of a push.
            ref: ``location:path``.
            participant_context_id: Whose.

        Raises:
            UnsupportedError: No address of the place can be handed out by that profile, or nobody could ask
                for it: the participant has no control plane here.
            DataFerryError: There is no such place.
        """
        mechanism, profile = self.profile(profile_name)
        self._refuse_ungranted(mechanism, profile_name, profile.direction)
        _refuse_other_mechanism(mechanism, profile_name, self.at_ref(ref, participant_context_id))
        planes = self._catalogue.control_planes.all()
        if all(plane.value.participant_context_id != participant_context_id for plane in planes):
            raise UnsupportedError(
                "to be pushed to, this service has to be the connector's data plane, and no control plane of"
                f" {participant_context_id} is configured or registered here"
            )

    def _refuse_ungranted(self, mechanism: Mechanism, profile_name: str, direction: Direction) -> None:
        """Refuse a profile in which this side would have to hand out what its mechanism can't."""
        if (
            isinstance(mechanism, GatewayAddresses)
            or Capability.GRANT in mechanism.source_capabilities | mechanism.sink_capabilities
        ):
            return
        sent = "receive" if direction is Direction.PUSH else "offer"
        able = [
            profile.url
            for other in self._registry.all()
            if Capability.GRANT in other.source_capabilities | other.sink_capabilities
            for profile in other.profiles
            if profile.direction is direction
        ]
        raise UnsupportedError(
            f"to {sent} data by {profile_name} this side would have to hand out an address, and "
            f"{mechanism.name} can't; take one of these profiles: {', '.join(able) or 'none is installed'}"
        )

    def _bandwidth(self, flow: DataFlow) -> int | None:
        """Return the bound that the flow's dataset or landing zone has now; None if it is gone."""
        if flow.is_own:
            return None
        owner = Caller.of(flow)
        try:
            if flow.role is Role.PROVIDER:
                return self._catalogue.datasets.serving(flow.dataset_id, owner).bandwidth_bytes_per_s
            return self._zone(owner, flow.profile, flow.labels, flow.dataset_id).bandwidth_bytes_per_s
        except NotFoundError:
            return None

    def offered(self, flow: DataFlow) -> Selection:
        """Return what the flow's dataset offers of its place now.

        Where metadata names the source, the control plane may name any place, and no dataset is behind it.

        Raises:
            NotFoundError: The dataset is gone: nobody can say any more what it left out.
        """
        if flow.role is not Role.PROVIDER or flow.source_ref is None:
            return Selection()
        dataset = self._catalogue.datasets.serving(flow.dataset_id, Caller.of(flow))
        return Selection.of(dataset.include, dataset.exclude)

    def wants_renewal(self, flow: DataFlow) -> bool:
        """Return whether the flow's landing zone takes only addresses whose token can be renewed."""
        if flow.is_own or flow.role is Role.PROVIDER:
            return False
        if not isinstance(self._registry.get(flow.mechanism), RenewableEndpoints):
            return False
        try:
            zone = self._zone(Caller.of(flow), flow.profile, flow.labels, flow.dataset_id)
        except NotFoundError:
            return False
        return zone.require_token_renewal

    def _manifest(self, flow: DataFlow) -> bool:
        """Return whether the flow's landing zone wants a manifest now; no if it is gone."""
        if flow.is_own or flow.role is Role.PROVIDER or flow.sink_ref is None:
            return False
        try:
            zone = self._zone(Caller.of(flow), flow.profile, flow.labels, flow.dataset_id)
        except NotFoundError:
            return False
        # One that an application or the orchestrator sent elsewhere may be a single file there.
        return zone.manifest and (flow.correlation_id is None or _goes_to(flow, zone))


def _refuse_other_mechanism(mechanism: Mechanism, profile_name: str, place: Place) -> None:
    """Refuse a place that the profile's mechanism has no address of, unless our gateway serves any."""
    if place.mechanism.name != mechanism.name and not isinstance(mechanism, GatewayAddresses):
        raise UnsupportedError(
            f"{profile_name} hands out addresses of {mechanism.name}, and the place is in a "
            f"{place.mechanism.name} location: use a location of type {mechanism.name}"
        )


def _goes_to(flow: DataFlow, zone: LandingZone) -> bool:
    """Return whether a flow's data goes where a landing zone says."""
    return zone.sink is not None and filled(zone.sink, _values(Caller.of(flow), flow)) == flow.sink_ref


def _values(owner: Caller, of: FlowRequest | DataFlow) -> dict[str, str]:
    """Return what the placeholders of a landing zone stand for."""
    return {
        "participantContextId": owner.participant_context_id,
        "controlPlaneId": owner.control_plane_id,
        "datasetId": of.dataset_id,
        "processId": of.process_id,
        "agreementId": of.agreement_id,
        "counterPartyId": of.counter_party_id,
    }


def dataset_source(template: str, dataset_id: str) -> str:
    """Return a dataset's ``location:path`` with ``{datasetId}`` filled in.

    Raises:
        AddressError: The id would lead out of the dataset's path, or add a query to it: another version.
    """
    ref = LocationRef.parse(template)
    if "{datasetId}" not in ref.path:
        return template
    for text in (dataset_id, unquote(dataset_id)):
        segments = re.split(r"[/\\]", text)
        steps = any(segment in {"", ".", ".."} for segment in segments)
        if steps or not text.isprintable() or _QUERY.search(text):
            raise AddressError(f"the dataset id {dataset_id[:200]!r} can't be part of a path")
    return str(LocationRef(location=ref.location, path=ref.path.replace("{datasetId}", dataset_id)))


def filled(template: str, values: dict[str, str]) -> str:
    """Return a landing zone's ``location:path`` with placeholders filled in, each as one safe segment.

    Raises:
        InputError: The template has a placeholder that nothing fills.
    """
    ref = LocationRef.parse(template)

    def segment(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise InputError(f"{template!r}: {found[0]} is not a placeholder; there are {', '.join(values)}")
        return safe_segment(values[found[1]])

    return str(LocationRef(location=ref.location, path=_PLACEHOLDER.sub(segment, ref.path)))


def safe_segment(value: str) -> str:
    """Return a value as one segment of a path: different values stay different, none leads elsewhere.

    Raises:
        AddressError: It is empty or too long to be a name.
    """
    try:
        text = quote(value, safe="-_.~:@+=,")
    except UnicodeEncodeError as exc:
        raise AddressError("a lone surrogate can't be part of a name") from exc
    if set(text) <= {"."}:
        text = text.replace(".", "%2E")
    if not text or len(text) > _MAX_SEGMENT_CHARS:
        raise AddressError(f"{value[:50]!r} can't be a name in a landing zone")
    return text
