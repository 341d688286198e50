"""The key of the orchestrator's clients; operators' keys with the scope ``orchestrate`` do as well."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from dataferry.api.authorization import is_local, is_same

# The orchestrator's description has it as default, and everybody knows it.
DEFAULT_KEY = "password"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientKey:
    """The key that is configured for all clients.

    Attributes:
        value: The default one is taken from this machine only.
    """

    value: str = field(default=DEFAULT_KEY, repr=False)

    @property
    def is_default(self) -> bool:
        """True if everybody knows it."""
        return is_same(self.value, DEFAULT_KEY)

    def opens(self, connection: HTTPConnection, shown: str) -> bool:
        """Return whether a client may pass that shows this key."""
        return is_same(shown, self.value) and (not self.is_default or is_local(connection))
