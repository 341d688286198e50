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
        signer_url: Where signatures are had, in place of ``signing_key``: the key is not on this machine.
        signer_token: Bearer token for that place; None sends none.
        public_key: Public half, in PEM, of the key that signs there.
    """

    id: str
    did: str | None = None
    signing_key: str | None = field(default=None, repr=False)
    kid: str | None = None
    signer_url: str | None = None
    signer_token: str | None = field(default=None, repr=False)
    public_key: str | None = None
