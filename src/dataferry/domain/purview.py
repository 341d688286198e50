"""Who operates this plane: what a key lets its holder do (scopes), and to whose flows (purview)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from dataferry.domain.errors import ForbiddenError


class Scope(StrEnum):
    """What may be done. None of them contains another.

    ``READ`` looks at flows, events, callbacks and the catalogue. ``OPERATE`` pauses, retries and ends flows.
    ``CONFIGURE`` writes locations, datasets, landing zones and control planes, and has places tried.
    ``DATA_ADDRESS`` reads the data addresses of flows, with the credentials in them. ``ORCHESTRATE`` posts
    orchestrations, and reads what became of them.
    """

    READ = "read"
    OPERATE = "operate"
    CONFIGURE = "configure"
    DATA_ADDRESS = "data-address"
    ORCHESTRATE = "orchestrate"


ALL_SCOPES = frozenset(Scope)
# What is configured is there for all: who sees only some of it may not write it.
SCOPES_OF_BOUND = ALL_SCOPES - {Scope.CONFIGURE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Purview:
    """Whose flows, datasets and landing zones somebody sees; the others do not exist for them.

    Attributes:
        participants: Ids of participant contexts; None is all of them.
        control_planes: Ids of control planes; None is all of them. Both must hold.
    """

    participants: frozenset[str] | None = None
    control_planes: frozenset[str] | None = None

    @classmethod
    def of(cls, participants: Iterable[str] = (), control_planes: Iterable[str] = ()) -> Purview:
        """Make one of lists as operators write them, in which none is all."""
        return cls(
            participants=frozenset(participants) or None, control_planes=frozenset(control_planes) or None
        )

    @property
    def is_bound(self) -> bool:
        """True if it leaves anything out."""
        return self.participants is not None or self.control_planes is not None

    def has(self, control_plane_id: str, participant_context_id: str) -> bool:
        """Return whether what belongs to a control plane and its participant is within it."""
        return (self.participants is None or participant_context_id in self.participants) and (
            self.control_planes is None or control_plane_id in self.control_planes
        )


EVERYTHING = Purview()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Who calls the management API.

    Attributes:
        name: Of the key; events name it as the actor.
        scopes: What it may do.
        purview: To whose flows.
    """

    name: str
    scopes: frozenset[Scope] = field(default=ALL_SCOPES)
    purview: Purview = EVERYTHING

    def require(self, scope: Scope) -> None:
        """Return if it may.

        Raises:
            ForbiddenError: The key lacks the scope; names it.
        """
        if scope not in self.scopes:
            raise ForbiddenError(f"API key {self.name!r} lacks the scope {scope.value!r}")
