"""Which control plane calls with a JWT: by the keys, the claims and the rules of exactly one of them.

A token is good once where it has to have an id: what was accepted is written down in the database, so that
neither a restart nor another process of the same database takes it again.

Source: Data Plane Signaling, "Authorization Profiles".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from dataferry.domain.authorization import CallerTokens, Claim
from dataferry.domain.clock import Clock
from dataferry.domain.errors import DataFerryError, UnauthorizedError
from dataferry.domain.location import ControlPlane
from dataferry.flows.key_sets import KeySets
from dataferry.flows.signers import Signers
from dataferry.secrets.caller_tokens import Accepted, CallerToken, Expected, check, read
from dataferry.secrets.jwk import signed_claims
from dataferry.secrets.jwks import KeySet
from dataferry.store.store import Store
from dataferry.telemetry.logs import get_logger

# Of control planes that take any subject; each that is tried may have its keys fetched.
MAX_TRIED = 10

_log = get_logger("flows.callers")


class Callers:
    """Tells control planes by their JWTs. Thread-safe.

    Args:
        store: Remembers which tokens were shown.
        key_sets: Finds keys that are published.
        signers: Ours, for tokens of our own token endpoint.
        data_plane_id: What tokens have to be for, where their control plane's rules say nothing else.
        clock: Time.
    """

    def __init__(
        self, store: Store, key_sets: KeySets, signers: Signers, *, data_plane_id: str, clock: Clock
    ) -> None:
        self._store = store
        self._key_sets = key_sets
        self._signers = signers
        self._data_plane_id = data_plane_id
        self._clock = clock

    def control_plane_of(self, text: str, control_planes: Iterable[ControlPlane]) -> ControlPlane:
        """Return whose token it is. It is used up by that.

        Args:
            text: The token.
            control_planes: All that there are.

        Raises:
            UnauthorizedError: It is nobody's, not for us, not of now, or was shown before.
            ConnectionFailedError: The keys that it has to be checked with can't be had now.
        """
        token = read(text)
        refusal: DataFerryError = UnauthorizedError("the token is of no control plane that is known here")
        for plane in _claimed(token, control_planes):
            try:
                accepted = self._accepted(token, plane)
            except DataFerryError as exc:
                _log.info("token_refused", control_plane=plane.id, reason=exc.message)
                refusal = exc
                continue
            self._use_up(plane, accepted)
            return plane
        raise refusal

    def _accepted(self, token: CallerToken, plane: ControlPlane) -> Accepted:
        """Check a token by the rules of one control plane."""
        rules, keys = self._rules(plane)
        expected = Expected(
            subject=rules.subject or plane.id,
            audience=rules.audience or self._data_plane_id,
            participant_context=plane.participant_context_id,
        )
        now = self._clock.now().timestamp()
        # Before keys are looked for: what is wrong already needs nobody to be asked.
        accepted = check(token.claims, rules, expected, now=now)
        if rules.accepts_unsigned:
            return accepted
        if keys is None and rules.jwks_uri is not None:
            keys = self._key_sets.keys(rules.jwks_uri, rules.provenance, token.kid, token.algorithm)
        return check(_signed(token, keys or ()), rules, expected, now=now)

    def _rules(self, plane: ControlPlane) -> tuple[CallerTokens, Sequence[Mapping[str, Any]] | None]:
        """Return a control plane's rules, and its keys where they need not be fetched."""
        rules = plane.authorization
        if rules is None:
            raise UnauthorizedError("the control plane calls without tokens")
        if rules.is_issued_here:
            signer = self._signers.get(plane.participant_context_id)
            if signer is None:
                raise UnauthorizedError("this plane issues no tokens any more")
            return replace(rules, issuer=signer.did, subject=plane.id), [signer.jwk]
        if rules.jwks is not None:
            return rules, KeySet.of(rules.jwks).keys
        return rules, None

    def _use_up(self, plane: ControlPlane, accepted: Accepted) -> None:
        """Take a token's id, once.

        Raises:
            UnauthorizedError: It was shown before.
        """
        if accepted.jti is None:
            return
        expires_at = datetime.fromtimestamp(accepted.expires_at, UTC)
        with self._store.transaction() as tx:
            is_new = tx.client_tokens.is_new(
                f"control_plane:{plane.id}", accepted.jti, expires_at=expires_at, now=self._clock.now()
            )
        if not is_new:
            _log.warning("token_replayed", control_plane=plane.id)
            raise UnauthorizedError("jti: the token was used before; each call needs one of its own")


def _claimed(token: CallerToken, control_planes: Iterable[ControlPlane]) -> list[ControlPlane]:
    """Return whose a token may be: whose subject it names, else those that take any subject.

    What names one control plane is never another's, also where both have the same issuer.
    """
    with_rules = [(plane, plane.authorization) for plane in control_planes if plane.authorization is not None]
    named = [plane for plane, rules in with_rules if (rules.subject or plane.id) == token.subject]
    if named:
        return named
    return [plane for plane, rules in with_rules if Claim.SUBJECT in rules.relaxed][:MAX_TRIED]


def _signed(token: CallerToken, keys: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the claims that one of the keys has signed.

    Raises:
        UnauthorizedError: None has.
    """
    refusal = UnauthorizedError("the token is signed with a key that is not among those published")
    for key in KeySet(tuple(keys)).named(token.kid, token.algorithm):
        try:
            return signed_claims(token.text, token.algorithm, key)
        except UnauthorizedError as exc:
            refusal = exc
    raise refusal
