"""Landing zones as operators see and set them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict, Field

from dataferry.api.management.entries import PARTICIPANTS, Body, Name, Text, one, page, plain, seen
from dataferry.api.operators import MayConfigure, MayRead
from dataferry.api.services import services_of
from dataferry.domain.location import Landing, LandingZone

router = APIRouter(tags=["catalogue"])

_LISTS = ("profiles", "labels", "datasets", "control_planes", "participants")


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


@router.get("/landing-zones", summary="List landing zones")
def list_landing_zones(request: Request, operator: MayRead) -> dict[str, Any]:
    """Return all landing zones."""
    return page(plain(entry) for entry in seen(request, operator).landing_zones())


@router.get("/landing-zones/{name}", summary="Show a landing zone")
def show_landing_zone(request: Request, operator: MayRead, name: Name) -> dict[str, Any]:
    """Return one landing zone."""
    return plain(one(seen(request, operator).landing_zones(), "name", name, "landing zone"))


@router.put("/landing-zones/{name}", summary="Create or replace a landing zone")
def put_landing_zone(
    request: Request, operator: MayConfigure, name: Name, body: LandingZoneBody
) -> dict[str, Any]:
    """Write a landing zone."""
    lists = {key: tuple(getattr(body, key)) for key in _LISTS}
    services_of(request).catalogue.landing_zones.put(LandingZone(name=name, **(body.model_dump() | lists)))
    return show_landing_zone(request, operator, name)


@router.delete("/landing-zones/{name}", summary="Delete a landing zone", status_code=204)
def delete_landing_zone(request: Request, _operator: MayConfigure, name: Name) -> Response:
    """Delete a landing zone."""
    services_of(request).catalogue.landing_zones.delete(name)
    return Response(status_code=204)
