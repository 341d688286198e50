"""Operators' view of data flows, and what they may do to them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from dataferry.api.management.views import (
    agreement_view,
    callback_view,
    data_address_view,
    event_view,
    flow_view,
    object_view,
)
from dataferry.api.operators import MayHaveDataAddress, MayOperate, MayRead
from dataferry.api.services import services_of
from dataferry.domain.dataflow import Run, State
from dataferry.domain.ledger import ObjectState
from dataferry.domain.purview import Operator
from dataferry.flows.management import Management
from dataferry.store.records import OutboxState

MAX_LIMIT = 1000

router = APIRouter(prefix="/dataflows", tags=["data flows"])
callbacks = APIRouter(prefix="/callbacks", tags=["callbacks"])

FlowId = Annotated[str, Path(description="Its dataFlowId, processId or internal id.", max_length=1024)]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most entries of the page.")]
Cursor = Annotated[
    str | None, Query(max_length=1000, description="`next` of the page before; none for the first page.")
]
After = Annotated[
    int,
    Query(alias="cursor", ge=0, le=2**62, description="`next` of the page before; none for the first page."),
]


class ReasonBody(BaseModel):
    """Why an operator does it; kept in the flow's events."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"reason": "the contract ended"}]}
    )

    reason: Annotated[str | None, Field(max_length=4000)] = None


class DestinationBody(BaseModel):
    """Where a flow's data is to go."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"sink": "plant-a:incoming/day-1/"}]}
    )

    sink: Annotated[str, Field(min_length=1, max_length=4096, description="`location:path`.")]


def management_of(request: Request, operator: Operator) -> Management:
    """Return what an operator may see and do, within its purview."""
    return services_of(request).management.within(operator.purview)


@router.get("", summary="List data flows, newest first")
def list_flows(
    request: Request,
    operator: MayRead,
    state: State | None = None,
    run: Run | None = None,
    control_plane_id: Annotated[str | None, Query(alias="controlPlaneId", max_length=1024)] = None,
    correlation_id: Annotated[
        str | None,
        Query(alias="correlationId", max_length=300, description="As `metadata` of its message said."),
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """Return a page of flows: ``{items, next}``."""
    views, following = management_of(request, operator).list(
        after=cursor,
        limit=limit,
        state=state,
        run=run,
        control_plane_id=control_plane_id,
        correlation_id=correlation_id,
    )
    return {"items": [flow_view(view) for view in views], "next": following}


@router.get("/{id:path}/objects", summary="List the objects of a data flow")
def list_objects(
    request: Request,
    operator: MayRead,
    id: FlowId,
    state: Annotated[ObjectState | None, Query(description="Only objects in this state.")] = None,
    limit: Limit = 100,
    cursor: After = 0,
) -> dict[str, Any]:
    """Return a page of objects, by their place in the plan: ``{items, next}``."""
    rows = management_of(request, operator).objects(id, after=cursor, limit=limit, state=state)
    return {
        "items": [object_view(row) for row in rows],
        "next": rows[-1].ordinal if len(rows) == limit else None,
    }


@router.get("/{id:path}/events", summary="List what happened to a data flow")
def list_events(
    request: Request, operator: MayRead, id: FlowId, limit: Limit = 100, cursor: After = 0
) -> dict[str, Any]:
    """Return a page of events with reasons, oldest first: ``{items, next}``."""
    events = management_of(request, operator).events(id, after=cursor, limit=limit)
    return {
        "items": [event_view(event) for event in events],
        "next": events[-1].id if len(events) == limit else None,
    }


@router.get("/{id:path}/data-address", summary="Read a flow's data by yourself")
def read_data_address(
    request: Request,
    response: Response,
    operator: MayHaveDataAddress,
    id: FlowId,
    control_plane: Annotated[
        str | None, Query(max_length=1024, description="Only this control plane's flows are meant.")
    ] = None,
) -> dict[str, Any]:
    """Return the data address of a STARTED flow that receives, with a token that is good now.

    The one answer that has credentials in it. Each reading is an event of the flow.
    """
    response.headers["Cache-Control"] = "no-store"
    management = management_of(request, operator)
    return data_address_view(management.data_address(id, control_plane_id=control_plane, actor=operator.name))


@router.post("/{id:path}/destination", summary="Have a flow copied that is not")
def copy_to(request: Request, operator: MayOperate, id: FlowId, body: DestinationBody) -> dict[str, Any]:
    """Give a flow that keeps its address for applications a place to be copied to."""
    management = management_of(request, operator)
    management.copy_to(id, body.sink, actor=operator.name)
    return flow_view(management.view(id))


@router.post("/{id:path}/pause", summary="Hold a data flow")
def pause(request: Request, operator: MayOperate, id: FlowId) -> dict[str, Any]:
    """Stop moving bytes; the control plane's state stays as it is."""
    management = management_of(request, operator)
    management.pause(id, actor=operator.name)
    return flow_view(management.view(id))


@router.post("/{id:path}/unpause", summary="Go on with a held data flow")
def unpause(request: Request, operator: MayOperate, id: FlowId) -> dict[str, Any]:
    """Go on where it was held."""
    management = management_of(request, operator)
    management.unpause(id, actor=operator.name)
    return flow_view(management.view(id))


@router.post("/{id:path}/retry", summary="Try a failed data flow again")
def retry(request: Request, operator: MayOperate, id: FlowId) -> dict[str, Any]:
    """Go on from the ledger: what has arrived is not moved again."""
    management = management_of(request, operator)
    management.retry(id, actor=operator.name)
    return flow_view(management.view(id))


@router.post("/{id:path}/terminate", summary="End a data flow for good")
def terminate(
    request: Request, operator: MayOperate, id: FlowId, body: ReasonBody | None = None
) -> dict[str, Any]:
    """End it, and tell its control plane with ``errored``."""
    management = management_of(request, operator)
    management.terminate(id, body.reason if body else None, actor=operator.name)
    return flow_view(management.view(id))


@router.get("/{id:path}", summary="Show a data flow")
def show(request: Request, operator: MayRead, id: FlowId) -> dict[str, Any]:
    """Return one flow with its progress and its contract agreement, where its control plane can be asked."""
    view = management_of(request, operator).view(id)
    agreement = services_of(request).agreements.of(view.flow)
    return {**flow_view(view), "agreement": agreement_view(agreement, datetime.now(UTC))}


@callbacks.get("", summary="List callbacks, newest first")
def list_callbacks(
    request: Request,
    operator: MayRead,
    flow: Annotated[str | None, Query(max_length=1024, description="Only this flow's.")] = None,
    state: OutboxState | None = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Return what was, is or could not be told to control planes: ``{items, next}``."""
    messages = management_of(request, operator).outbox(any_id=flow, state=state, limit=limit)
    return {"items": [callback_view(message) for message in messages], "next": None}


@callbacks.post("/{message_id}/retry", summary="Send a dead callback again")
def retry_callback(request: Request, operator: MayOperate, message_id: UUID) -> dict[str, Any]:
    """Make a callback that was given up due again."""
    return callback_view(management_of(request, operator).retry_callback(str(message_id)))
