"""The HTTP application: every door of the API on one FastAPI application."""

from __future__ import annotations

from fastapi import FastAPI

import dataferry
from dataferry.api import health, problems
from dataferry.api.access import AccessLog
from dataferry.api.admission import Admission
from dataferry.api.bodies import JsonBodies
from dataferry.api.gateway import ingest, tokens
from dataferry.api.gateway import routes as gateway
from dataferry.api.gateway.threads import GatewayThreads
from dataferry.api.management import events
from dataferry.api.management import routes as management
from dataferry.api.orchestration import routes as orchestration
from dataferry.api.orchestration import usual, webhook_description
from dataferry.api.orchestration.authorization import ClientDoor
from dataferry.api.orchestration.handover import Handover
from dataferry.api.services import Door, Services
from dataferry.api.signaling import routes as signaling
from dataferry.api.signaling import token_endpoint

_ORCHESTRATOR = "/orchestrator"
_DESCRIPTION = """
DataFerry is a data plane for dataspaces. A control plane drives *data flows* over the Eclipse Data Plane
Signaling API (**signaling**, **registration**); operators watch and steer them under `/management`.

Clients of the orchestrator (**orchestrator**) have lists of a connector's assets fetched.

Control planes send `Authorization: Bearer <token>`, a static one or a JWT, operators and clients `X-Api-Key`.
Errors are `application/problem+json` (RFC 9457), but for `/orchestrate` and `/status`, which have a shape of
their own.
"""

_TAGS = [
    {"name": "signaling", "description": "Eclipse Data Plane Signaling: the verbs of a control plane."},
    {"name": "registration", "description": "Control planes introduce themselves."},
    {"name": "tokens", "description": "For control planes that have no identity provider."},
    {"name": "data flows", "description": "Operators: flows, their objects, events and progress."},
    {"name": "catalogue", "description": "Operators: locations, datasets, landing zones, control planes."},
    {"name": "callbacks", "description": "Operators: what waits to be told to control planes."},
    {"name": "orchestrator", "description": "Clients: have a list of a connector's assets fetched."},
    {
        "name": "data",
        "description": "The gateway: data of pulls and pushes, for who has a flow's data address.",
    },
    {"name": "operations", "description": "Health and readiness."},
]


def create_application(services: Services) -> FastAPI:
    """Return the application; it holds no thread and no connection of its own.

    Args:
        services: The use cases and settings that its routes work with.
    """
    has_control = Door.CONTROL in services.serves
    application = FastAPI(
        # Who only fetches or sends data needs no description of the rest, and gets none.
        openapi_url="/openapi.json" if has_control else None,
        title="DataFerry",
        version=dataferry.__version__,
        summary="A data plane for dataspaces.",
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        redirect_slashes=False,
        responses={
            "4XX": {
                "description": "What is wrong, as RFC 9457 problem.",
                "content": {problems.MEDIA_TYPE: {"schema": problems.SCHEMA}},
            }
        },
    )
    application.state.services = services
    application.state.streams = events.Streams(services.max_event_streams)
    application.state.handover = Handover()
    application.state.gateway_threads = GatewayThreads(services.gateway_threads)
    problems.install(application)
    # The first to be added is the innermost.
    application.add_middleware(
        JsonBodies,
        readers={f"{prefix}/orchestrate": usual.read for prefix in ("", _ORCHESTRATOR)},
        max_bytes=services.max_body_bytes,
    )
    application.add_middleware(ClientDoor, services=services)
    application.add_middleware(
        Admission, per_caller=services.max_requests_per_caller, most_data=services.max_data_requests
    )
    application.add_middleware(AccessLog)
    # Routes are gone through in their order: first those that are asked for every small object.
    if Door.DATA in services.serves:
        application.include_router(gateway.router)
        application.include_router(ingest.router)
        application.include_router(tokens.router)
    if has_control:
        # These take crowds in.
        application.include_router(orchestration.router)
        application.include_router(orchestration.router, prefix=_ORCHESTRATOR, include_in_schema=False)
        application.include_router(signaling.verbs, prefix=services.signaling_path)
        application.include_router(signaling.registrations, prefix=services.signaling_path)
        application.include_router(token_endpoint.router)
        application.include_router(management.router, prefix="/management")
        application.webhooks.include_router(webhook_description.webhooks)
    application.include_router(health.router)
    return application
