"""The participants whose data this plane moves, and how they prove who they are."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """A participant context of this plane.

    Attributes:
        id: Of the context.
        did: Its DID; None if it has none: then nobody can bind a token to it, and it binds none to others.
        signing_key: Private key in PEM that its DID document has the public half of; None signs nothing.
        kid: What the document calls that key, as a whole: ``did:web:example#key-1``.
    """

    id: str
    did: str | None = None
    signing_key: str | None = field(default=None, repr=False)
    kid: str | None = None
