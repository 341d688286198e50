"""Lets clients of the orchestrator in: a key in ``X-Api-Key``; a missing one is answered as a wrong one."""

from __future__ import annotations

from fastapi import Depends, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import APIKeyHeader

from dataferry.api.services import services_of
from dataferry.domain.errors import ForbiddenError
from dataferry.domain.purview import Scope

# For the OpenAPI document only: the check itself is below.
CLIENT_KEY = Security(
    APIKeyHeader(
        name="X-Api-Key", scheme_name="OrchestratorKey", auto_error=False, description="A client's key."
    )
)


async def require_client(request: Request) -> None:
    """Let a client pass who shows the clients' key, or an operator's that may orchestrate.

    Only the latter takes a look into the store, and a thread.

    Raises:
        ForbiddenError: It shows none, or another; which, is not told.
    """
    services = services_of(request)
    shown = request.headers.get("x-api-key", "")
    if shown and services.client_key.opens(request, shown):
        return
    operator = await run_in_threadpool(services.api_keys.holder, shown) if shown else None
    if operator is None or Scope.ORCHESTRATE not in operator.scopes:
        raise ForbiddenError("Invalid API key")


REQUIRE_CLIENT = Depends(require_client)
