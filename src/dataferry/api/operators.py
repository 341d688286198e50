"""Lets operators in: each route of theirs declares, as the type of a parameter, which scope it needs.

::

    @router.post("/{id:path}/pause")
    def pause(request: Request, operator: MayOperate, id: FlowId) -> dict[str, Any]: ...

A test refuses routes below ``/management`` that declare none.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, SecurityScopes

from dataferry.api.services import services_of
from dataferry.domain.purview import Operator, Scope

# For the OpenAPI document only: the check itself is ``ApiKeys.identify``.
_API_KEY = APIKeyHeader(name="X-Api-Key", auto_error=False, description="An operator's key.")


def known_operator(request: Request) -> Operator:
    """Return which operator calls, whatever it may do; the router's own guard.

    Raises:
        UnauthorizedError: It is none.
    """
    return services_of(request).api_keys.identify(request)


def operator_of(
    operator: Annotated[Operator, Depends(known_operator)],
    declared: SecurityScopes,
    _key: Annotated[str | None, Security(_API_KEY)],
) -> Operator:
    """Return which operator calls, if it may do what the route declares.

    Raises:
        UnauthorizedError: It is none.
        ForbiddenError: Its key lacks the scope.
    """
    for scope in declared.scopes:
        operator.require(Scope(scope))
    return operator


MayRead = Annotated[Operator, Security(operator_of, scopes=[Scope.READ.value])]
MayOperate = Annotated[Operator, Security(operator_of, scopes=[Scope.OPERATE.value])]
MayConfigure = Annotated[Operator, Security(operator_of, scopes=[Scope.CONFIGURE.value])]
MayHaveDataAddress = Annotated[Operator, Security(operator_of, scopes=[Scope.DATA_ADDRESS.value])]
MayOrchestrate = Annotated[Operator, Security(operator_of, scopes=[Scope.ORCHESTRATE.value])]
