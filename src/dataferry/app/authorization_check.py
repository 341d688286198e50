"""Whether each side could prove itself to the other, for ``dataferry check``: keys, tokens, signatures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial

from dataferry.app.reach import Finding, tried
from dataferry.app.settings import Settings
from dataferry.domain.clock import SystemClock
from dataferry.domain.errors import ConfigError
from dataferry.domain.location import ControlPlane
from dataferry.domain.participant import Participant
from dataferry.flows.callback_tokens import CallbackTokenSource
from dataferry.flows.key_sets import KeySets
from dataferry.flows.signers import Signers
from dataferry.net.connections import Network


def proof_findings(
    settings: Settings, network: Network, ours: tuple[Participant, ...], planes: tuple[ControlPlane, ...]
) -> Iterator[Finding]:
    """Have something signed, fetch the keys of control planes, and get a token for callbacks to each."""
    clock = SystemClock()
    with closing(Signers(ours, network)) as signers, closing(KeySets(network, clock)) as key_sets:
        tokens = CallbackTokenSource(
            network, signers, data_plane_id=settings.server.dataplane_id, clock=clock
        )
        with closing(tokens):
            for one in ours:
                if one.kid is not None:
                    yield tried(f"signature of participant {one.id}", partial(_sign, signers, one.id))
            for plane in planes:
                if plane.authorization is not None and plane.authorization.jwks_uri is not None:
                    what = f"keys of control plane {plane.id}"
                    yield tried(what, partial(_count_keys, key_sets, plane.authorization.jwks_uri))
                if plane.callback_authorization is not None:
                    what = f"token for control plane {plane.id}"
                    yield tried(what, partial(_get_token, tokens, plane))


def _sign(signers: Signers, participant_context_id: str) -> str:
    """Sign, and throw it away."""
    signer = signers.get(participant_context_id)
    if signer is None:
        raise ConfigError("there is no key")
    signer.token(subject=signer.did, audience=signer.did, now=SystemClock().now().timestamp())
    return f"signs as {signer.kid}"


def _count_keys(key_sets: KeySets, uri: str) -> str:
    return f"{uri} has {len(key_sets.fetch(uri).keys)}"


def _get_token(tokens: CallbackTokenSource, plane: ControlPlane) -> str:
    tokens.token(plane)
    return "was had"
