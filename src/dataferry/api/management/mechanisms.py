"""The ways of moving bytes that this installation has."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from dataferry.api.management.entries import Name, page
from dataferry.api.operators import MayRead
from dataferry.api.services import services_of
from dataferry.domain.errors import NotFoundError
from dataferry.mechanisms.base import Mechanism

router = APIRouter(tags=["catalogue"])


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
    return page(_mechanism(mechanism) for mechanism in services_of(request).registry.all())


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
