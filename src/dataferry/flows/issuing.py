"""Our own token endpoint: tokens for control planes that have no identity provider, to call this plane with.

Source: RFC 6749, sections 2.3.1 and 4.4; Data Plane Signaling, "OAuth 2 Client Credentials Grant".
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from dataferry.domain.clock import Clock
from dataferry.domain.errors import DataFerryError, ThrottledError
from dataferry.domain.location import ControlPlane
from dataferry.flows.control_planes import ControlPlanes
from dataferry.flows.guesses import Guesses
from dataferry.flows.signers import Signers
from dataferry.flows.token_renewal import Refusal
from dataferry.telemetry.logs import get_logger

_log = get_logger("flows.issuing")


class TokenRefusedError(DataFerryError):
    """No token is issued.

    Args:
        refusal: OAuth's word for it.
        message: What is wrong; names no secret.
    """

    kind = "token_refused"

    def __init__(self, refusal: Refusal, message: str) -> None:
        super().__init__(message)
        self.refusal = refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """A token that was issued."""

    text: str = field(repr=False)
    lifetime_s: int


class TokenIssuer:
    """Issues tokens by the client credentials grant. Thread-safe.

    Args:
        control_planes: They, with the digests of their secrets.
        signers: Ours; a control plane's participant signs.
        data_plane_id: What tokens are for.
        lifetime_s: How long they are good for.
        clock: Time.
    """

    def __init__(
        self,
        control_planes: ControlPlanes,
        signers: Signers,
        *,
        data_plane_id: str,
        lifetime_s: int,
        clock: Clock,
    ) -> None:
        self._control_planes = control_planes
        self._signers = signers
        self._data_plane_id = data_plane_id
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._guesses = Guesses(clock)

    def issue(self, client_id: str, client_secret: str, *, peer: str) -> AccessToken:
        """Issue a token to a control plane.

        Args:
            client_id: Whom it says to be.
            client_secret: What it knows.
            peer: Where the request came from: who guesses from there does not lock others out.

        Raises:
            TokenRefusedError: It is nobody that we know.
            ThrottledError: There were too many wrong ones from there.
            DataFerryError: It can't be signed now.
        """
        plane, is_right = self._control_plane(client_id, client_secret)
        # What is no client of ours is counted as one, so that names do not fill the table.
        guesser = (peer, "" if plane is None else plane.id)
        wait_s = self._guesses.wait_s(guesser)
        if wait_s > 0:
            raise ThrottledError("too many wrong secrets came from there", retry_after_s=wait_s)
        if plane is None or not is_right:
            self._guesses.failed(guesser)
            _log.warning("client_refused", control_plane=None if plane is None else plane.id, peer=peer)
            raise TokenRefusedError(Refusal.INVALID_CLIENT, "the client is unknown, or its secret is wrong")
        self._guesses.succeeded(guesser)
        return self._issued(plane)

    def _issued(self, plane: ControlPlane) -> AccessToken:
        signer = self._signers.get(plane.participant_context_id)
        if signer is None:
            raise TokenRefusedError(Refusal.INVALID_CLIENT, "this plane has no key to sign tokens with")
        rules = plane.authorization
        text = signer.token(
            subject=plane.id,
            audience=(rules.audience if rules else None) or self._data_plane_id,
            now=self._clock.now().timestamp(),
            lifetime_s=self._lifetime_s,
            client_id=(rules.client_id if rules else None) or plane.id,
        )
        return AccessToken(text=text, lifetime_s=self._lifetime_s)

    def _control_plane(self, client_id: str, client_secret: str) -> tuple[ControlPlane | None, bool]:
        """Return who a client is, and whether it knows its secret.

        Every one is compared, known or not, so that time tells nothing.
        """
        digest = hashlib.sha256(client_secret.encode("utf-8", "replace")).hexdigest()
        found, is_right = None, False
        for entry in self._control_planes.all():
            rules = entry.value.authorization
            if rules is None or not rules.is_issued_here or rules.client_secret_sha256 is None:
                continue
            same_secret = hmac.compare_digest(digest, rules.client_secret_sha256.lower())
            named = (rules.client_id or entry.value.id).encode("utf-8", "replace")
            if hmac.compare_digest(client_id.encode("utf-8", "replace"), named):
                found, is_right = entry.value, same_secret
        return found, is_right
