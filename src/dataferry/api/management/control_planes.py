"""Control planes as operators see and set them; secrets are write-only, and go nowhere unasked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict, Field

from dataferry.api.authorization import control_plane_of_token
from dataferry.api.endpoints import plain_http_url
from dataferry.api.management.entries import Body, Key, Name, Text, one, page, seen
from dataferry.api.operators import MayConfigure, MayRead
from dataferry.api.services import Services, services_of
from dataferry.domain.errors import InputError
from dataferry.domain.keys import MAX_CONTEXT_CHARS
from dataferry.domain.location import ControlPlane, OnFailure, Provenance, RegistrationStyle, Retries
from dataferry.flows.entries import HIDDEN, Entry

router = APIRouter(tags=["catalogue"])

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


def _control_plane(services: Services, entry: Entry[ControlPlane]) -> dict[str, Any]:
    shown = asdict(entry.value) | {key: HIDDEN if getattr(entry.value, key) else None for key in _SECRETS}
    for name in _PROFILES:
        profile = shown[name]
        if profile is not None:
            shown[name] = {
                key: HIDDEN if key.startswith("client_secret") and value else value
                for key, value in profile.items()
            }
    registration = services.catalogue.control_planes.registration(entry.value.id)
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
    return page(_control_plane(services, entry) for entry in seen(request, operator).control_planes())


@router.get("/control-planes/{id:path}", summary="Show a control plane")
def show_control_plane(request: Request, operator: MayRead, id: Name) -> dict[str, Any]:
    """Return one control plane; secrets are ``***``."""
    found = one(seen(request, operator).control_planes(), "id", id, "control plane")
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
    present = next((e.value for e in services.catalogue.control_planes.all() if e.value.id == id), None)
    if hidden:
        if present is None:
            raise InputError(f"{', '.join(hidden)}: {HIDDEN} stands for a stored value, and there is none")
        _refuse_moved(hidden, given, present)
        given |= {key: getattr(present, key) for key in hidden}
    _refuse_shared_token(services, id, given["token"])
    services.catalogue.control_planes.put(
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
    others = [entry.value for entry in services.catalogue.control_planes.all() if entry.value.id != id]
    if token and control_plane_of_token(token, others) is not None:
        raise InputError("token: another control plane has it; each needs its own")


@router.delete("/control-planes/{id:path}", summary="Forget a control plane", status_code=204)
def delete_control_plane(request: Request, _operator: MayConfigure, id: Name) -> Response:
    """Forget a control plane; its flows stay."""
    services_of(request).catalogue.control_planes.delete(id)
    return Response(status_code=204)
