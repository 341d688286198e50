"""Everything under ``/management``, behind the operators' keys."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from dataferry.api.management import (
    control_planes,
    datasets,
    events,
    flows,
    landing_zones,
    locations,
    mechanisms,
)
from dataferry.api.operators import known_operator

# Each route declares the scope that it needs, too: see ``api.operators``.
router = APIRouter(dependencies=[Depends(known_operator)])
router.include_router(events.router)
router.include_router(flows.router)
router.include_router(flows.callbacks)
for resource in (locations, datasets, landing_zones, mechanisms, control_planes):
    router.include_router(resource.router)
