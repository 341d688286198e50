"""What proves who we are, for tests that build rooms by hand."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey

from dataferry.domain.clock import Clock, SystemClock
from dataferry.domain.participant import Participant
from dataferry.flows.callback_tokens import CallbackTokenSource
from dataferry.flows.signers import Signers
from dataferry.net.connections import Network
from dataferry.secrets.signing import public_half

DID = "did:web:acme.example"
KID = f"{DID}#key-1"


def participant(**changes: Any) -> Participant:
    """A participant with a key of its own on this machine."""
    pem = ECKey.import_key(ec.generate_private_key(ec.SECP256R1())).as_pem(private=True).decode()
    return Participant(**{"id": "default", "did": DID, "kid": KID, "signing_key": pem, **changes})


def token_source(
    network: Network, *ours: Participant, clock: Clock | None = None, **options: Any
) -> CallbackTokenSource:
    """What gets tokens for callbacks."""
    return CallbackTokenSource(
        network,
        Signers(ours, network),
        **{"data_plane_id": "dp", "clock": clock or SystemClock(), **options},
    )


def public_jwk(key: Any, kid: str | None = None) -> dict[str, Any]:
    """Return a key's public half as a JWKS has it."""
    return public_half(key) | ({} if kid is None else {"kid": kid})
