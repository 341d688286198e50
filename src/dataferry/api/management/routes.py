"""Everything under ``/management``, behind the operators' keys."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from dataferry.api.management import catalogue, events, flows
from dataferry.api.management.authorization import API_KEY, operator_of

router = APIRouter(dependencies=[API_KEY, Depends(operator_of)])
router.include_router(events.router)
router.include_router(flows.router)
router.include_router(flows.callbacks)
router.include_router(catalogue.router)
