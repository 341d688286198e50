"""Whether the process lives, and whether it can work."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from dataferry.api.problems import problem
from dataferry.api.services import services_of

router = APIRouter(tags=["operations"])


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> dict[str, str]:
    """Answer as long as the process answers at all: without a thread, which slow verbs may have taken."""
    return {"status": "ok"}


@router.get(
    "/readyz", summary="Can it work?", responses={503: {"description": "It can't; `detail` says why."}}
)
def readyz(request: Request) -> JSONResponse:
    """Answer 200 if the store can be reached and work is being done, 503 otherwise."""
    services = services_of(request)
    reasons: list[str] = []
    try:
        services.store.ping()
    except Exception as exc:  # noqa: BLE001  whatever it is, the store can't be reached; its kind says enough
        reasons.append(f"the store can't be reached ({type(exc).__name__})")
    if not services.is_executor_alive():
        reasons.append("the executor is not running")
    if services.closing.is_set():
        reasons.append("the service is ending")
    if reasons:
        return problem(
            HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", "; ".join(reasons), instance=request.url.path
        )
    return JSONResponse({"status": "ready"})
