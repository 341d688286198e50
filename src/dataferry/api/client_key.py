"""The key of the orchestrator's clients: one, apart from the operators' keys, which open more."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from dataferry.api.authorization import is_local, is_same
from dataferry.domain.errors import ForbiddenError

# The orchestrator's description has it as default, and everybody knows it.
DEFAULT_KEY = "password"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientKey:
    """The key that clients show.

    Attributes:
        value: The default one is taken from this machine only.
    """

    value: str = field(default=DEFAULT_KEY, repr=False)

    @property
    def is_default(self) -> bool:
        """True if everybody knows it."""
        return is_same(self.value, DEFAULT_KEY)

    def require(self, connection: HTTPConnection) -> None:
        """Let a client pass.

        Raises:
            ForbiddenError: Its key is missing or wrong, or the default one and it is another machine.
        """
        shown = connection.headers.get("x-api-key", "")
        if not shown or not is_same(shown, self.value) or (self.is_default and not is_local(connection)):
            raise ForbiddenError("Invalid API key")
