"""Locations as operators see and set them; secrets are write-only."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from dataferry.api.management.entries import PARTICIPANTS, Body, Name, Text, one, page, seen
from dataferry.api.operators import MayConfigure, MayRead
from dataferry.api.services import Services, services_of
from dataferry.domain.errors import DataFerryError
from dataferry.domain.limits import split_settings
from dataferry.domain.location import Location
from dataferry.flows.entries import Entry

router = APIRouter(tags=["catalogue"])


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


def _location(services: Services, entry: Entry[Location]) -> dict[str, Any]:
    return {**services.catalogue.locations.shown(entry.value), "configured": entry.configured}


@router.get("/locations", summary="List locations")
def list_locations(request: Request, operator: MayRead) -> dict[str, Any]:
    """Return all locations; secrets are ``***``."""
    services = services_of(request)
    return page(_location(services, entry) for entry in seen(request, operator).locations())


@router.get("/locations/{name}", summary="Show a location")
def show_location(request: Request, operator: MayRead, name: Name) -> dict[str, Any]:
    """Return one location; secrets are ``***``."""
    found = one(seen(request, operator).locations(), "name", name, "location")
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
    services_of(request).catalogue.locations.put(location)
    return show_location(request, operator, name)


@router.post("/locations/{name}/test", summary="Try to reach a location")
def try_location(
    request: Request, _operator: MayConfigure, name: Name, body: PathBody | None = None
) -> dict[str, Any]:
    """Ask whether a place in the location can be read; nothing is written. ``error`` says why not."""
    services = services_of(request)
    location = services.catalogue.locations.get(name)
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
