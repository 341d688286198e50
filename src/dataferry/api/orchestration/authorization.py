"""Lets clients of the orchestrator in: a key in ``X-Api-Key``; a missing one is answered as a wrong one.

Who shows none is told so before a byte of a body is read, whatever else is wrong.
"""

from __future__ import annotations

from fastapi import Depends, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import APIKeyHeader
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from dataferry.api import problems
from dataferry.api.seed_errors import is_orchestration
from dataferry.api.services import Services
from dataferry.domain import purview
from dataferry.domain.errors import DataFerryError, ForbiddenError

# For the OpenAPI document only: the check itself is below.
CLIENT_KEY = Security(
    APIKeyHeader(
        name="X-Api-Key", scheme_name="OrchestratorKey", auto_error=False, description="A client's key."
    )
)
_REFUSED = "Invalid API key"


class ClientDoor:
    """ASGI middleware: lets nobody but clients to the orchestrator's paths; who may pass is marked so.

    Args:
        app: What is called for clients, and for all other paths.
        services: Know the keys.
    """

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request pass, or answer it."""
        if scope["type"] == "http" and is_orchestration(scope["path"]):
            try:
                await self._admit(HTTPConnection(scope))
            except DataFerryError as error:
                answer = problems.of_error(error, instance=scope["path"])
                # Its body, which nobody reads, would be taken for the next request.
                answer.headers["Connection"] = "close"
                await answer(scope, receive, send)
                return
            scope.setdefault("state", {})["is_client"] = True
        await self._app(scope, receive, send)

    async def _admit(self, connection: HTTPConnection) -> None:
        """Let a client pass who shows the clients' key, or an operator's that may orchestrate.

        Only the latter takes a look into the store, and a thread.

        Raises:
            ForbiddenError: It shows none, or another; which, is not told.
        """
        shown = connection.headers.get("x-api-key", "")
        if shown and self._services.client_key.opens(connection, shown):
            return
        operator = await run_in_threadpool(self._services.api_keys.holder, shown) if shown else None
        if operator is None or purview.Scope.ORCHESTRATE not in operator.scopes:
            raise ForbiddenError(_REFUSED)


async def require_client(request: Request) -> None:
    """Refuse who did not come through the door, should a route ever be where that does not look.

    Raises:
        ForbiddenError: It did not.
    """
    if not getattr(request.state, "is_client", False):
        raise ForbiddenError(_REFUSED)


REQUIRE_CLIENT = Depends(require_client)
