"""Which control plane calls: everything it asks for is looked up in its own scope."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from dataferry.api.authorization import bearer_token, control_plane_of_token, is_local
from dataferry.api.services import Services, services_of
from dataferry.domain.errors import ForbiddenError, UnauthorizedError
from dataferry.domain.location import ControlPlane
from dataferry.domain.purview import Scope
from dataferry.flows.messages import Caller

JWT_DOTS = 2
# For the OpenAPI document only: the checks themselves are below.
_BEARER = HTTPBearer(
    auto_error=False, description="The control plane's token: a static one, or a JWT by its authorization."
)
_API_KEY = APIKeyHeader(name="X-Api-Key", auto_error=False, description="An operator's key.")


def caller_of(request: Request) -> Caller:
    """Return who calls, by its token; without any token configured, the one anonymous control plane.

    Raises:
        UnauthorizedError: No token, a wrong one, or an anonymous call from elsewhere.
        ConnectionFailedError: The keys that a JWT has to be checked with can't be had now.
    """
    services = services_of(request)
    control_planes = _control_planes(services)
    if not any(control_plane.is_known for control_plane in control_planes):
        return _anonymous(request, services, control_planes)
    control_plane = _control_plane_of(request, services, control_planes)
    if control_plane is None:
        raise UnauthorizedError("send the control plane's token as Authorization: Bearer <token>")
    return _caller(control_plane)


def authorize_registration(request: Request, control_plane_id: str) -> None:
    """Let a registration pass: an operator's key, or the token of the control plane itself.

    Raises:
        UnauthorizedError: Neither came, or a wrong one.
        ForbiddenError: It is the token of another control plane.
    """
    services = services_of(request)
    control_planes = _control_planes(services)
    control_plane = _control_plane_of(request, services, control_planes)
    if control_plane is not None:
        if control_plane.id == control_plane_id:
            return
        raise ForbiddenError("a control plane registers itself only")
    tokens_exist = any(known.is_known for known in control_planes)
    if not services.api_keys.are_configured and tokens_exist:
        raise UnauthorizedError("send the control plane's token as Authorization: Bearer <token>")
    services.api_keys.require(request, Scope.CONFIGURE)


def _anonymous(request: Request, services: Services, control_planes: list[ControlPlane]) -> Caller:
    """Without tokens there is exactly one control plane, and it is on this machine."""
    if services.anonymous_control_plane_id is None:
        raise UnauthorizedError("no control plane has a token: configure one under [[control_planes]]")
    if not is_local(request):
        raise UnauthorizedError("no control plane has a token: only this machine may call")
    for control_plane in control_planes:
        if control_plane.id == services.anonymous_control_plane_id:
            return _caller(control_plane)
    return Caller(control_plane_id=services.anonymous_control_plane_id)


def _control_planes(services: Services) -> list[ControlPlane]:
    return [entry.value for entry in services.catalogue.control_planes.all()]


def _control_plane_of(
    request: Request, services: Services, control_planes: list[ControlPlane]
) -> ControlPlane | None:
    """Return whose token came; None if none did, or one that is neither known nor a JWT.

    An operator's key may come as bearer token too, where no JWT is expected.
    """
    token = bearer_token(request)
    if token is None:
        return None
    found = control_plane_of_token(token, control_planes)
    if found is not None or token.count(".") != JWT_DOTS:
        return found
    if not any(control_plane.authorization for control_plane in control_planes):
        return None
    return services.callers.control_plane_of(token, control_planes)


def _caller(control_plane: ControlPlane) -> Caller:
    return Caller(
        control_plane_id=control_plane.id, participant_context_id=control_plane.participant_context_id
    )


CallerOfRequest = Annotated[Caller, Depends(caller_of)]
BEARER = Security(_BEARER)
BEARER_OR_KEY = (Security(_BEARER), Security(_API_KEY))
