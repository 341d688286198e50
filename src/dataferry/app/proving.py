"""What this plane and its control planes prove themselves with, made and ended together."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from dataferry.app.settings import Settings
from dataferry.domain.clock import Clock
from dataferry.domain.participant import Participant
from dataferry.flows.callback_tokens import CallbackTokenSource
from dataferry.flows.callers import Callers
from dataferry.flows.catalogue import Catalogue
from dataferry.flows.issuing import TokenIssuer
from dataferry.flows.key_sets import KeySets
from dataferry.flows.signers import Signers
from dataferry.net.connections import Network
from dataferry.secrets.redaction import SecretValues
from dataferry.store.store import Store


class Proving:
    """Signers, keys and tokens.

    Args:
        settings: As read.
        store: Remembers which tokens were shown.
        catalogue: The control planes.
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
        catalogue: Catalogue,
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
            catalogue,
            self.signers,
            data_plane_id=ours,
            lifetime_s=settings.auth.issued_token_ttl_s,
            clock=clock,
        )

    def close(self) -> None:
        """Close the connections."""
        self._open.close()
