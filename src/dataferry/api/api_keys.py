"""Keys of operators: who calls the management API, and what the key is good for."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from dataferry.api.authorization import bearer_token, digest_of, is_local
from dataferry.domain.errors import UnauthorizedError
from dataferry.domain.purview import ALL_SCOPES, EVERYTHING, Operator, Purview, Scope

LOCAL_OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One operator's key.

    Attributes:
        operator: Whose it is, and what it is good for.
        digest: SHA-256 of the key.
    """

    operator: Operator
    digest: bytes = field(repr=False)

    @classmethod
    def of(
        cls,
        name: str,
        key: str,
        *,
        scopes: frozenset[Scope] = ALL_SCOPES,
        purview: Purview = EVERYTHING,
    ) -> ApiKey:
        """Make one of a key in plain."""
        return cls(operator=Operator(name=name, scopes=scopes, purview=purview), digest=digest_of(key))

    @classmethod
    def of_sha256(
        cls,
        name: str,
        hexadecimal: str,
        *,
        scopes: frozenset[Scope] = ALL_SCOPES,
        purview: Purview = EVERYTHING,
    ) -> ApiKey:
        """Make one of a key's SHA-256 in hexadecimal."""
        operator = Operator(name=name, scopes=scopes, purview=purview)
        return cls(operator=operator, digest=bytes.fromhex(hexadecimal))


class ApiKeys:
    """The operators' keys.

    Args:
        keys: None at all: only this machine may call.
    """

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self._keys = tuple(keys)

    @property
    def are_configured(self) -> bool:
        """True if there is one."""
        return bool(self._keys)

    def require(self, connection: HTTPConnection, scope: Scope) -> Operator:
        """Let an operator pass who may do what the scope says.

        Raises:
            UnauthorizedError: It is no operator.
            ForbiddenError: Its key lacks the scope.
        """
        operator = self.identify(connection)
        operator.require(scope)
        return operator

    def identify(self, connection: HTTPConnection) -> Operator:
        """Return which operator calls (key in ``X-Api-Key`` or as bearer token), whatever it may do.

        Raises:
            UnauthorizedError: It is none.
        """
        if not self._keys:
            if is_local(connection):
                return Operator(name=LOCAL_OPERATOR)
            raise UnauthorizedError("no API keys are configured: only this machine may call")
        digest = digest_of(connection.headers.get("x-api-key") or bearer_token(connection) or "")
        found = [key.operator for key in self._keys if hmac.compare_digest(digest, key.digest)]
        if not found:
            raise UnauthorizedError("send an API key in X-Api-Key")
        return found[0]
