"""What this plane and its control planes prove themselves with, made and ended together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack

from dataferry.app.settings import Settings
from dataferry.domain.clock import Clock
from dataferry.domain.location import ControlPlane
from dataferry.domain.participant import Participant
from dataferry.flows.callback_tokens import CallbackTokenSource
from dataferry.flows.callers import Callers
from dataferry.flows.control_planes import ControlPlanes
from dataferry.flows.issuing import TokenIssuer
from dataferry.flows.key_sets import KeySets
from dataferry.flows.signers import Signers
from dataferry.net.connections import Network
from dataferry.secrets.redaction import SecretValues
from dataferry.store.store import Store
from dataferry.telemetry.logs import get_logger

_log = get_logger("app.proving")


class Proving:
    """Signers, keys and tokens.

    Args:
        settings: As read.
        store: Remembers which tokens were shown.
        control_planes: Who has to prove who they are.
        network: How others are reached.
        participants: Ours.
        clock: Time.
        secrets: What logs must not show.

    Attributes:
        signers: What our participants sign with.
        callers: Which control plane calls with a JWT.
        tokens: What we call control planes with.
        issuer: Our own token endpoint.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        control_planes: ControlPlanes,
        network: Network,
        participants: Mapping[str, Participant],
        clock: Clock,
        secrets: SecretValues,
    ) -> None:
        ours, may_be_plain = settings.server.dataplane_id, settings.server.may_ask_plain_http
        secrets.add(*(key for one in participants.values() for key in (one.signing_key, one.signer_token)))
        self._open = ExitStack()
        self.signers = Signers(participants.values(), network)
        self._open.callback(self.signers.close)
        key_sets = KeySets(network, clock, may_be_plain=may_be_plain)
        self._open.callback(key_sets.close)
        self.tokens = CallbackTokenSource(
            network,
            self.signers,
            data_plane_id=ours,
            clock=clock,
            secrets=secrets,
            may_be_plain=may_be_plain,
        )
        self._open.callback(self.tokens.close)
        self.callers = Callers(store, key_sets, self.signers, data_plane_id=ours, clock=clock)
        self.issuer = TokenIssuer(
            control_planes,
            self.signers,
            data_plane_id=ours,
            lifetime_s=settings.auth.issued_token_ttl_s,
            clock=clock,
        )

    def close(self) -> None:
        """Close the connections."""
        self._open.close()


def tell_what_is_relaxed(control_planes: Iterable[ControlPlane]) -> None:
    """Log of each control plane what is not checked by the operator's word."""
    for plane in control_planes:
        rules = plane.authorization
        if rules is None:
            continue
        if rules.accepts_unsigned:
            _log.warning(
                "signatures_not_checked",
                control_plane=plane.id,
                reason="accept_unsigned: whoever can reach this plane can call as this control plane",
            )
        if rules.relaxed:
            _log.warning(
                "claims_relaxed",
                control_plane=plane.id,
                claims=", ".join(claim.value for claim in rules.relaxed),
            )
