"""Lets clients of the orchestrator in: one key in ``X-Api-Key``; a missing one is answered as a wrong one."""

from __future__ import annotations

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader

from dataferry.api.services import services_of

# For the OpenAPI document only: the check itself is below.
CLIENT_KEY = Security(
    APIKeyHeader(
        name="X-Api-Key", scheme_name="OrchestratorKey", auto_error=False, description="A client's key."
    )
)


def require_client(request: Request) -> None:
    """Let a client pass."""
    services_of(request).client_key.require(request)


REQUIRE_CLIENT = Depends(require_client)
