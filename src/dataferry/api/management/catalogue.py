"""Operators' view of what the service is set up with; secrets are write-only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from dataferry.api.authorization import control_plane_of_token
from dataferry.api.endpoints import plain_http_url
from dataferry.api.keys import FITS
from dataferry.api.operators import MayConfigure, MayRead
from dataferry.api.services import Services, services_of
from dataferry.domain.errors import DataFerryError, InputError, NotFoundError
from dataferry.domain.keys import MAX_CONTEXT_CHARS, MAX_KEY_BYTES
from dataferry.domain.limits import split_settings
from dataferry.domain.location import (
    ControlPlane,
    Dataset,
    Landing,
    LandingZone,
    Location,
    OnFailure,
    Provenance,
    RegistrationStyle,
    Retries,
)
from dataferry.domain.purview import Operator
from dataferry.flows.catalogue import HIDDEN, Entry
from dataferry.flows.catalogue_view import CatalogueView
from dataferry.mechanisms.base import Mechanism

router = APIRouter(tags=["catalogue"])

MAX_NAME_CHARS = 1024
Name = Annotated[str, Path(max_length=MAX_NAME_CHARS)]
Key = Annotated[str, Path(max_length=MAX_KEY_BYTES), FITS]
Text = Annotated[str, Field(min_length=1, max_length=4096)]
T = TypeVar("T")
PARTICIPANTS = "Ids of participants; empty: for all."
_LISTS_OF_ZONES = ("profiles", "labels", "datasets", "control_planes", "participants")


class Body(BaseModel):
    """What all bodies here have in common: types are not guessed, unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)


class DatasetBody(Body):
    """A dataset; its id or pattern stands in the path."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"source": "plant-a:measurements/{datasetId}/"}]}
    )

    source: Text = Field(description="`location:path`; `{datasetId}` stands for the id.")
    prepare_wait_s: float | None = Field(default=None, ge=0)
    bandwidth_bytes_per_s: int | None = Field(default=None, gt=0)
    labels: list[Text] = Field(default_factory=list, max_length=100)
    control_planes: list[Text] = Field(
        default_factory=list, max_length=100, description="Ids of control planes, with `*`; empty: for all."
    )
    participants: list[Text] = Field(default_factory=list, max_length=1000, description=PARTICIPANTS)
    include: list[Text] = Field(
        default_factory=list, max_length=200, description="Patterns of names that belong to it; empty: all."
    )
    exclude: list[Text] = Field(default_factory=list, max_length=200)


class LandingZoneBody(Body):
    """A landing zone; its name stands in the path."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"sink": "plant-a:incoming/{processId}/"}]})

    mode: Annotated[Landing, Field(strict=False)] = Landing.COPY
    sink: Text | None = Field(
        default=None, description="`location:path`; may hold `{datasetId}`, `{processId}`, `{agreementId}`."
    )
    profiles: list[Text] = Field(default_factory=list, max_length=100)
    labels: list[Text] = Field(default_factory=list, max_length=100)
    datasets: list[Text] = Field(default_factory=list, max_length=1000)
    source: Text | None = None
    prepare_wait_s: float | None = Field(default=None, ge=0)
    bandwidth_bytes_per_s: int | None = Field(default=None, gt=0)
    manifest: bool = Field(default=False, description="Whether what is fetched is listed in `objects.jsonl`.")
    require_token_renewal: bool = Field(
        default=False, description="Whether addresses whose token can't be renewed are refused."
    )
    control_planes: list[Text] = Field(
        default_factory=list, max_length=100, description="Ids of control planes, with `*`; empty: for all."
    )
    participants: list[Text] = Field(default_factory=list, max_length=1000, description=PARTICIPANTS)


class LocationBody(BaseModel):
    """A location; its name stands in the path.

    The other keys are its mechanism's, or those that every location may have: ``workers``,
    ``part_size_bytes``, ``multipart_threshold_bytes``, ``bandwidth_bytes_per_s`` and
    ``bandwidth_windows``.
    """

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "s3",
                    "endpoint_url": "https://s3.example.com",
                    "access_key_id": "env:KEY_ID",
                    "secret_access_key": "env:SECRET",
                }
            ]
        },
    )

    type: Annotated[str, Field(strict=True, min_length=1, max_length=100, description="The mechanism.")]
    participants: Annotated[list[Text], Field(max_length=1000, description=PARTICIPANTS)] = Field(
        default_factory=list
    )


class PathBody(Body):
    """Where in a location."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"path": "measurements/"}]})

    path: Annotated[str, Field(max_length=4096)] = ""


class ControlPlaneBody(Body):
    """A control plane; its id stands in the path. A secret given as ``***`` keeps its present value."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"endpoint": "https://connector.example.com/api/signaling", "token": "what-it-calls-us-with"}
            ]
        }
    )

    endpoint: Text | None = None
    token: Text | None = Field(default=None, repr=False)
    callback_token: Text | None = Field(default=None, repr=False)
    register_: bool = Field(default=False, alias="register")
    registration_url: Text | None = None
    registration: Annotated[RegistrationStyle, Field(strict=False)] = RegistrationStyle.DPS
    retries: Annotated[Retries, Field(strict=False)] = Retries.STRICT
    on_failure: Annotated[OnFailure, Field(strict=False)] = OnFailure.HOLD
    management_url: Text | None = None
    management_key: Text | None = Field(default=None, repr=False)
    may_name_locations: bool = False
    metadata_location: Text | None = None
    participant_context_id: Annotated[str, Field(min_length=1, max_length=MAX_CONTEXT_CHARS)] = "default"


def _seen(request: Request, operator: Operator) -> CatalogueView:
    """Return what of the catalogue an operator sees."""
    return CatalogueView(services_of(request).catalogue, operator.purview)


def _page(items: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Catalogues are short: one page."""
    return {"items": list(items), "next": None}


def _one(entries: Sequence[Entry[T]], key: str, name: str, what: str) -> Entry[T]:
    """Return the entry of that name.

    Raises:
        NotFoundError: There is none.
    """
    for entry in entries:
        if getattr(entry.value, key) == name:
            return entry
    raise NotFoundError(f"there is no {what} {name[:200]!r}")


def _plain(entry: Entry[Any]) -> dict[str, Any]:
    """Show an entry that holds no secret."""
    return {**asdict(entry.value), "configured": entry.configured}


# -- locations


def _location(services: Services, entry: Entry[Location]) -> dict[str, Any]:
    return {**services.catalogue.location_view(entry.value), "configured": entry.configured}


@router.get("/locations", summary="List locations")
def list_locations(request: Request, operator: MayRead) -> dict[str, Any]:
    """Return all locations; secrets are ``***``."""
    services = services_of(request)
    return _page(_location(services, entry) for entry in _seen(request, operator).locations())


@router.get("/locations/{name}", summary="Show a location")
def show_location(request: Request, operator: MayRead, name: Name) -> dict[str, Any]:
    """Return one location; secrets are ``***``."""
    found = _one(_seen(request, operator).locations(), "name", name, "location")
    return _location(services_of(request), found)


@router.put("/locations/{name}", summary="Create or replace a location")
def put_location(request: Request, operator: MayConfigure, name: Name, body: LocationBody) -> dict[str, Any]:
    """Write a location; a secret sent as ``***`` keeps its present value."""
    settings = {
        key: value for key, value in (body.model_extra or {}).items() if key not in {"name", "configured"}
    }
    limits, own = split_settings(name, settings)
    location = Location(
        name=name, mechanism=body.type, settings=own, limits=limits, participants=tuple(body.participants)
    )
    services_of(request).catalogue.put_location(location)
    return show_location(request, operator, name)


@router.post("/locations/{name}/test", summary="Try to reach a location")
def try_location(
    request: Request, _operator: MayConfigure, name: Name, body: PathBody | None = None
) -> dict[str, Any]:
    """Ask whether a place in the location can be read; nothing is written. ``error`` says why not."""
    services = services_of(request)
    location = services.catalogue.location(name)
    path = body.path if body else ""
    tried = {"location": f"{name}:{path}", "ok": True, "kind": None, "error": None}
    try:
        mechanism = services.registry.get(location.mechanism)
        source = mechanism.open_source(mechanism.at_location(location, path), services.network)
        try:
            source.probe()
        finally:
            source.close()
    except DataFerryError as error:
        return tried | {"ok": False, "kind": error.kind, "error": str(error)}
    return tried


@router.delete("/locations/{name}", summary="Delete a location", status_code=204)
def delete_location(request: Request, _operator: MayConfigure, name: Name) -> Response:
    """Delete a location that nothing uses."""
    services_of(request).catalogue.delete_location(name)
    return Response(status_code=204)


# -- datasets


@router.get("/datasets", summary="List datasets")
def list_datasets(request: Request, operator: MayRead) -> dict[str, Any]:
    """Return all datasets."""
    return _page(_plain(entry) for entry in _seen(request, operator).datasets())


@router.get("/datasets/{match:path}", summary="Show a dataset")
def show_dataset(request: Request, operator: MayRead, match: Name) -> dict[str, Any]:
    """Return one dataset, by the id or pattern that it was made with."""
    return _plain(_one(_seen(request, operator).datasets(), "match", match, "dataset"))


@router.put("/datasets/{match:path}", summary="Create or replace a dataset")
def put_dataset(request: Request, operator: MayConfigure, match: Key, body: DatasetBody) -> dict[str, Any]:
    """Write a dataset."""
    names = ("labels", "control_planes", "participants", "include", "exclude")
    lists = {key: tuple(getattr(body, key)) for key in names}
    services_of(request).catalogue.put_dataset(Dataset(match=match, **(body.model_dump() | lists)))
    return show_dataset(request, operator, match)


@router.delete("/datasets/{match:path}", summary="Delete a dataset", status_code=204)
def delete_dataset(request: Request, _operator: MayConfigure, match: Name) -> Response:
    """Delete a dataset."""
    services_of(request).catalogue.delete_dataset(match)
    return Response(status_code=204)


# -- landing zones


@router.get("/landing-zones", summary="List landing zones")
def list_landing_zones(request: Request, operator: MayRead) -> dict[str, Any]:
    """Return all landing zones."""
    return _page(_plain(entry) for entry in _seen(request, operator).landing_zones())


@router.get("/landing-zones/{name}", summary="Show a landing zone")
def show_landing_zone(request: Request, operator: MayRead, name: Name) -> dict[str, Any]:
    """Return one landing zone."""
    return _plain(_one(_seen(request, operator).landing_zones(), "name", name, "landing zone"))


@router.put("/landing-zones/{name}", summary="Create or replace a landing zone")
def put_landing_zone(
    request: Request, operator: MayConfigure, name: Name, body: LandingZoneBody
) -> dict[str, Any]:
    """Write a landing zone."""
    lists = {key: tuple(getattr(body, key)) for key in _LISTS_OF_ZONES}
    services_of(request).catalogue.put_landing_zone(LandingZone(name=name, **(body.model_dump() | lists)))
    return show_landing_zone(request, operator, name)


@router.delete("/landing-zones/{name}", summary="Delete a landing zone", status_code=204)
def delete_landing_zone(request: Request, _operator: MayConfigure, name: Name) -> Response:
    """Delete a landing zone."""
    services_of(request).catalogue.delete_landing_zone(name)
    return Response(status_code=204)


# -- mechanisms


def _mechanism(mechanism: Mechanism) -> dict[str, Any]:
    return {
        "name": mechanism.name,
        "description": mechanism.description,
        "profiles": [name for profile in mechanism.profiles for name in profile.names],
        "urlSchemes": list(mechanism.url_schemes),
        "sourceCapabilities": sorted(mechanism.source_capabilities),
        "sinkCapabilities": sorted(mechanism.sink_capabilities),
    }


@router.get("/mechanisms", summary="List mechanisms")
def list_mechanisms(request: Request, _operator: MayRead) -> dict[str, Any]:
    """Return the ways of moving bytes that this installation has."""
    return _page(_mechanism(mechanism) for mechanism in services_of(request).registry.all())


@router.get("/mechanisms/{name}", summary="Show a mechanism")
def show_mechanism(request: Request, _operator: MayRead, name: Name) -> dict[str, Any]:
    """Return one mechanism with its JSON Schemas."""
    registry = services_of(request).registry
    if name not in registry.names:
        raise NotFoundError(f"there is no mechanism {name[:100]!r}; there are {', '.join(registry.names)}")
    mechanism = registry.get(name)
    return _mechanism(mechanism) | {
        "locationSchema": dict(mechanism.location_schema),
        "addressSchema": dict(mechanism.address_schema),
        "metadataSchema": dict(mechanism.metadata_schema),
    }


# -- control planes

_SECRETS = ("token", "callback_token", "management_key")
# How each side proves itself beyond a token: shown, and decided by the configuration or by a registration.
_PROFILES = ("authorization", "callback_authorization")
_PLACES = ("endpoint", "registration_url", "management_url")
# What says where each is sent: a registration repeats the token that we are called with.
_SENT_TO = {
    "token": ("endpoint", "registration_url", "register", "registration"),
    "callback_token": ("endpoint", "registration_url"),
    "management_key": ("management_url",),
}


def _control_plane(services: Services, entry: Entry[ControlPlane]) -> dict[str, Any]:
    shown = asdict(entry.value) | {key: HIDDEN if getattr(entry.value, key) else None for key in _SECRETS}
    for name in _PROFILES:
        profile = shown[name]
        if profile is not None:
            shown[name] = {
                key: HIDDEN if key.startswith("client_secret") and value else value
                for key, value in profile.items()
            }
    registration = services.catalogue.registration(entry.value.id)
    return shown | {
        "configured": entry.configured,
        "registeredAt": registration.registered_at and registration.registered_at.isoformat(),
        "registrationAttempts": registration.attempts,
        "lastError": registration.last_error,
    }


@router.get("/control-planes", summary="List control planes")
def list_control_planes(request: Request, operator: MayRead) -> dict[str, Any]:
    """Return all control planes, and how our registration there goes; secrets are ``***``."""
    services = services_of(request)
    return _page(_control_plane(services, entry) for entry in _seen(request, operator).control_planes())


@router.get("/control-planes/{id:path}", summary="Show a control plane")
def show_control_plane(request: Request, operator: MayRead, id: Name) -> dict[str, Any]:
    """Return one control plane; secrets are ``***``."""
    found = _one(_seen(request, operator).control_planes(), "id", id, "control plane")
    return _control_plane(services_of(request), found)


@router.put("/control-planes/{id:path}", summary="Create or replace a control plane")
def put_control_plane(
    request: Request, operator: MayConfigure, id: Key, body: ControlPlaneBody
) -> dict[str, Any]:
    """Write a control plane on the operator's word; a secret sent as ``***`` keeps its present value."""
    services = services_of(request)
    given = body.model_dump(by_alias=True)
    for field in _PLACES:
        if given[field] is not None:
            plain_http_url(given[field], field)
    hidden = [key for key in _SECRETS if given[key] == HIDDEN]
    present = next((e.value for e in services.catalogue.control_planes() if e.value.id == id), None)
    if hidden:
        if present is None:
            raise InputError(f"{', '.join(hidden)}: {HIDDEN} stands for a stored value, and there is none")
        _refuse_moved(hidden, given, present)
        given |= {key: getattr(present, key) for key in hidden}
    _refuse_shared_token(services, id, given["token"])
    services.catalogue.put_control_plane(
        ControlPlane(id=id, provenance=Provenance.OPERATOR, **given, **_kept_profiles(given, present))
    )
    return show_control_plane(request, operator, id)


def _kept_profiles(given: Mapping[str, Any], present: ControlPlane | None) -> dict[str, Any]:
    """Return how each side proves itself: as before, but nothing of ours goes to another place."""
    if present is None:
        return {}
    kept: dict[str, Any] = {"authorization": present.authorization}
    if all(given[place] == getattr(present, place) for place in _SENT_TO["callback_token"]):
        kept["callback_authorization"] = present.callback_authorization
    return kept


def _refuse_moved(hidden: Sequence[str], given: Mapping[str, Any], present: ControlPlane) -> None:
    """Refuse to send a secret that nobody gave again to another place.

    Raises:
        InputError: That would happen.
    """
    for key in hidden:
        if key == "token" and not given["register"]:
            continue
        for place in _SENT_TO[key]:
            if getattr(present, key) and given[place] != getattr(present, place):
                raise InputError(f"{key}: must be given again with another {place}: it would be sent there")


def _refuse_shared_token(services: Services, id: str, token: str | None) -> None:
    """Refuse a token that another control plane has: it tells who calls.

    Raises:
        InputError: Another one has it.
    """
    others = [entry.value for entry in services.catalogue.control_planes() if entry.value.id != id]
    if token and control_plane_of_token(token, others) is not None:
        raise InputError("token: another control plane has it; each needs its own")


@router.delete("/control-planes/{id:path}", summary="Forget a control plane", status_code=204)
def delete_control_plane(request: Request, _operator: MayConfigure, id: Name) -> Response:
    """Forget a control plane; its flows stay."""
    services_of(request).catalogue.delete_control_plane(id)
    return Response(status_code=204)
