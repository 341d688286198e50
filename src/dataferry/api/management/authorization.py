"""Lets operators in, and says who acts."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader

from dataferry.api.services import services_of

# For the OpenAPI document only: the check itself is ``ApiKeys.require``.
API_KEY = Security(APIKeyHeader(name="X-Api-Key", auto_error=False, description="An operator's key."))


def operator_of(request: Request) -> str:
    """Return which operator calls.

    Raises:
        UnauthorizedError: It is none.
    """
    return services_of(request).api_keys.require(request)


Operator = Annotated[str, Depends(operator_of)]
