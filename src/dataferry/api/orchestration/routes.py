"""``/orchestrate`` and ``/status``: ask for a list of assets, look how it goes, call it off."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from dataferry.api.orchestration import views
from dataferry.api.orchestration.authorization import CLIENT_KEY, REQUIRE_CLIENT
from dataferry.api.orchestration.handover import Handover
from dataferry.api.orchestration.wire import OrchestrateBody, request_of
from dataferry.api.seed_errors import seed_error
from dataferry.api.services import services_of
from dataferry.domain.errors import DataFerryError, NotFoundError
from dataferry.flows.orchestration.faults import fault_of, is_outage
from dataferry.flows.orchestration.orchestrator import RequestError

MAX_LIMIT = 1000

_ERROR: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "description": "What is wrong.",
        "content": {
            "application/json": {
                "example": {
                    "message": "Invalid request format",
                    "status": "ERROR",
                    "status_code": 400,
                    "details": {"data": ["Missing data for required field."]},
                }
            }
        },
    }
}
# The body is checked when it arrives and read once: hundreds of entries are accepted in a moment.
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": OrchestrateBody.model_json_schema()}},
    }
}

router = APIRouter(tags=["orchestrator"], dependencies=[CLIENT_KEY, REQUIRE_CLIENT], responses=_ERROR)


@router.post("/orchestrate", summary="Have a list of assets fetched", openapi_extra=_BODY)
async def orchestrate(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(alias="Idempotency-Key", description="Repeating the request with it starts nothing again."),
    ] = None,
    dry_run: Annotated[
        bool,
        Query(
            alias="dryRun",
            description="Only say if it could be carried out: 502, 504 if its connector can not be asked.",
        ),
    ] = False,
) -> JSONResponse:
    """Take the request in, and answer at once; ``/status/{orchestration_id}`` tells how it goes.

    In the server's own thread up to the commit, unless it has to be looked up: of many requests at once, each
    would wait for a thread, and all threads for each other.
    """
    orchestrator = services_of(request).orchestrator
    try:
        wanted = request_of(request.state.json, idempotency_key)
        if dry_run:
            await run_in_threadpool(orchestrator.rehearse, wanted)
            return JSONResponse(
                views.success({"orchestration_id": None, "status": "VALID", "message": views.VALID_MESSAGE})
            )
        if orchestrator.needs_look_up(wanted):
            accepted = await run_in_threadpool(orchestrator.accept, wanted)
        else:
            accepted = orchestrator.accept(wanted)
        return JSONResponse(views.accepted(await _handover(request).result(accepted)))
    except RequestError as wrong:
        return seed_error(400, wrong.message, wrong.details)
    except DataFerryError as error:
        if not dry_run or is_outage(error):
            raise
        fault = fault_of(error)
        return seed_error(fault.code, fault.message)


@router.delete("/orchestrate/{orchestration_id}", summary="Call it off")
def cancel(request: Request, orchestration_id: str) -> JSONResponse:
    """End what runs and do not begin what waits; what is stored stays."""
    return JSONResponse(views.cancelled(services_of(request).orchestrator.cancel(_id(orchestration_id))))


@router.get("/status", summary="All orchestrations, newest first")
def statuses(
    request: Request,
    limit: Annotated[
        int | None, Query(ge=1, le=MAX_LIMIT, description="At most so many; all if not given.")
    ] = None,
    cursor: Annotated[
        str | None, Query(max_length=1000, description="`next` of the page before; none for the first page.")
    ] = None,
    active: Annotated[
        bool | None, Query(description="Only those that are not over, or only those that are.")
    ] = None,
) -> JSONResponse:
    """Return every orchestration that is not over, and those that are and not yet forgotten."""
    found, following = services_of(request).orchestrator.list(after=cursor, limit=limit, is_active=active)
    return JSONResponse(views.listed(found, following))


@router.get("/status/{orchestration_id}", summary="One orchestration and its entries")
def status(request: Request, orchestration_id: str) -> JSONResponse:
    """Return how each entry is, and where what was fetched is stored."""
    return JSONResponse(views.detailed(services_of(request).orchestrator.view(_id(orchestration_id))))


def _handover(request: Request) -> Handover:
    handover: Handover = request.app.state.handover
    return handover


def _id(text: str) -> UUID:
    """Read an id; one that is none is one that is not there.

    Raises:
        NotFoundError: It is none.
    """
    try:
        return UUID(text)
    except ValueError:
        raise NotFoundError(f"there is no orchestration {text[:100]!r}") from None
