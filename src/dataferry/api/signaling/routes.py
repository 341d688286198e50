"""The signaling API: each verb of a control plane, read, handed to its use case, answered in its dialect.

Handlers are plain functions in the server's thread pool: they wait for the store and, at most, for a short
look at a bucket.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import JSONResponse

from dataferry.api.endpoints import plain_http_url
from dataferry.api.services import Services, services_of
from dataferry.api.signaling import examples
from dataferry.api.signaling.authorization import (
    BEARER,
    BEARER_OR_KEY,
    CallerOfRequest,
    authorize_registration,
)
from dataferry.api.signaling.dialects import (
    address_of,
    dialect_of,
    flow_request,
    status_message,
    status_response,
)
from dataferry.api.signaling.registering import proofs_of
from dataferry.api.signaling.wire import (
    ControlPlaneRegistrationMessage,
    DataFlowPrepareMessage,
    DataFlowReasonMessage,
    DataFlowResumeMessage,
    DataFlowStartedNotificationMessage,
    DataFlowStartMessage,
    DataFlowStatusMessage,
    DataFlowStatusResponseMessage,
)
from dataferry.domain.dataflow import Dialect
from dataferry.domain.errors import NotFoundError
from dataferry.domain.location import ControlPlane, Provenance, RegistrationStyle
from dataferry.flows.messages import Answer

_STATUS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": DataFlowStatusMessage,
        "description": "The state is reached.",
        "content": {"application/json": {"example": examples.STATUS}},
    }
}
_LATER: dict[int | str, dict[str, Any]] = {
    202: {
        "model": DataFlowStatusMessage,
        "description": "The work goes on; a callback follows.",
        "headers": {
            "Location": {"description": "Where to ask for the status.", "schema": {"type": "string"}}
        },
    }
}

verbs = APIRouter(prefix="/dataflows", tags=["signaling"], dependencies=[BEARER])
registrations = APIRouter(prefix="/controlplanes", tags=["registration"], dependencies=list(BEARER_OR_KEY))


@verbs.post("/prepare", summary="Prepare a data flow", responses=_STATUS | _LATER)
def prepare(
    request: Request,
    caller: CallerOfRequest,
    message: Annotated[DataFlowPrepareMessage, Body(openapi_examples=examples.PREPARE)],
) -> JSONResponse:
    """Prepare a data flow; a push's consumer is answered with the address to push to.

    Source: Data Plane Signaling, "Prepare".
    """
    services = services_of(request)
    answer = services.signaling.prepare(caller, flow_request("prepare", message, request.state.json))
    return _answer(services, answer, dialect_of(message))


@verbs.post("/start", summary="Start a data flow", responses=_STATUS | _LATER)
def start(
    request: Request,
    caller: CallerOfRequest,
    message: Annotated[DataFlowStartMessage, Body(openapi_examples=examples.START)],
) -> JSONResponse:
    """Start a data flow; a pull's provider is answered with the address to pull from.

    Source: Data Plane Signaling, "Start".
    """
    services = services_of(request)
    answer = services.signaling.start(caller, flow_request("start", message, request.state.json))
    return _answer(services, answer, dialect_of(message))


@verbs.post("/{id:path}/started", summary="Tell that the transfer began", responses=_STATUS)
def started(
    request: Request,
    caller: CallerOfRequest,
    id: str,
    message: Annotated[
        DataFlowStartedNotificationMessage | None, Body(openapi_examples=examples.STARTED)
    ] = None,
) -> JSONResponse:
    """Tell the consumer's side that the transfer began; a pull brings the address.

    Source: Data Plane Signaling, "Started Notification".
    """
    services = services_of(request)
    address = address_of(message.data_address if message else None)
    return _answer(services, services.signaling.started(caller, id, address))


@verbs.post("/{id:path}/suspend", summary="Suspend a data flow", responses=_STATUS)
def suspend(
    request: Request,
    caller: CallerOfRequest,
    id: str,
    message: Annotated[DataFlowReasonMessage | None, Body(openapi_examples=examples.SUSPEND)] = None,
) -> JSONResponse:
    """Stop moving bytes until ``resume``.

    Source: Data Plane Signaling, "Suspend".
    """
    services = services_of(request)
    return _answer(services, services.signaling.suspend(caller, id, message.reason if message else None))


@verbs.post("/{id:path}/resume", summary="Resume a data flow", responses=_STATUS)
def resume(
    request: Request,
    caller: CallerOfRequest,
    id: str,
    message: Annotated[DataFlowResumeMessage | None, Body(openapi_examples=examples.RESUME)] = None,
) -> JSONResponse:
    """Go on; the side that owns the address is answered with a fresh one.

    Source: Data Plane Signaling, "Resume".
    """
    services = services_of(request)
    address = address_of(message.data_address if message else None)
    return _answer(services, services.signaling.resume(caller, id, address))


@verbs.post("/{id:path}/terminate", summary="Terminate a data flow", responses=_STATUS)
def terminate(
    request: Request,
    caller: CallerOfRequest,
    id: str,
    message: Annotated[DataFlowReasonMessage | None, Body(openapi_examples=examples.TERMINATE)] = None,
) -> JSONResponse:
    """End a data flow before it is complete.

    Source: Data Plane Signaling, "Terminate".
    """
    services = services_of(request)
    return _answer(services, services.signaling.terminate(caller, id, message.reason if message else None))


@verbs.post("/{id:path}/completed", summary="Tell that the transfer is complete", responses=_STATUS)
def completed(request: Request, caller: CallerOfRequest, id: str) -> JSONResponse:
    """Tell the side that moved no bytes that all are there. The body is empty; one that is not is ignored.

    Source: Data Plane Signaling, "Completed".
    """
    services = services_of(request)
    return _answer(services, services.signaling.completed(caller, id))


@verbs.get(
    "/{id:path}/status",
    summary="Ask for the state of a data flow",
    responses={200: {"model": DataFlowStatusResponseMessage}},
)
def status(request: Request, caller: CallerOfRequest, id: str) -> JSONResponse:
    """Return the state.

    Source: Data Plane Signaling, "Status".
    """
    services = services_of(request)
    answer = services.signaling.status(caller, id)
    return JSONResponse(status_response(answer.flow, data_plane_id=services.data_plane_id))


@registrations.put("", summary="Register a control plane")
def register(
    request: Request,
    message: Annotated[ControlPlaneRegistrationMessage, Body(openapi_examples=examples.CONTROL_PLANE)],
) -> Response:
    """Take a control plane's endpoint, how it is called, and its keys; a later one replaces it.

    Source: Data Plane Signaling, "Control Plane Registration".
    """
    authorize_registration(request, message.controlplane_id)
    services = services_of(request)
    proofs = proofs_of(message.authorization, may_be_plain=services.may_ask_plain_http)
    services.catalogue.control_planes.register(
        ControlPlane(
            id=message.controlplane_id,
            endpoint=plain_http_url(message.endpoint, "endpoint"),
            callback_token=proofs.callback_token,
            callback_authorization=proofs.callback_authorization,
            authorization=proofs.authorization,
            provenance=Provenance.EXTERNAL,
        )
    )
    return Response(status_code=200)


@registrations.delete("/{id:path}", summary="Forget a control plane", status_code=204)
def deregister(request: Request, id: str) -> Response:
    """Forget a control plane that registered itself.

    Source: Data Plane Signaling, "Control Plane Registration", "Deletion".
    """
    authorize_registration(request, id)
    services_of(request).catalogue.control_planes.delete(id)
    return Response(status_code=204)


def _answer(services: Services, answer: Answer, dialect: Dialect | None = None) -> JSONResponse:
    """Answer a verb: 200, or 202 with where to ask if the work goes on.

    Source: Data Plane Signaling, "Prepare" and "Start".
    """
    content = status_message(
        answer,
        dialect=dialect or answer.flow.dialect,
        data_plane_id=services.data_plane_id,
        style=_style_of(services, answer),
    )
    if not answer.later:
        return JSONResponse(content)
    base = services.public_path + services.signaling_path
    location = f"{base}/dataflows/{quote(answer.flow.data_flow_id, safe='')}/status"
    return JSONResponse(content, status_code=202, headers={"Location": location})


def _style_of(services: Services, answer: Answer) -> RegistrationStyle:
    """Return how an answer's address is written; for who is not known any more, as the specification says."""
    if answer.data_address is None:
        return RegistrationStyle.DPS
    try:
        return services.catalogue.control_planes.get(answer.flow.control_plane_id).registration
    except NotFoundError:
        return RegistrationStyle.DPS
