"""The JWT that a control plane calls with: what it has to say, by the rules for that control plane.

Source: Data Plane Signaling, "OAuth 2 Client Credentials Grant" and "OAuth 2 Token Exchange", each section
"Token Claims"; RFC 8725.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dataferry.domain.authorization import AuthorizationType, CallerTokens, Claim
from dataferry.domain.errors import UnauthorizedError
from dataferry.secrets.claims import time_of, unproved

# How long an id may have to be kept, so that nobody shows it twice.
MAX_LIFETIME_S = 24 * 3600.0
MAX_JTI_CHARS = 512
ALGORITHMS = frozenset({"ES256", "ES384", "EdDSA", "Ed25519", "RS256", "PS256"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerToken:
    """A token as it claims to be; nothing of it is proved.

    Attributes:
        kid: Which key it says that it is signed with; None if it says nothing.
        subject: Whom it says that it speaks for; None if it says nothing.
        claims: All that it says.
    """

    kid: str | None
    algorithm: str
    subject: str | None
    text: str = field(repr=False)
    claims: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Whom a token has to be of and for.

    Attributes:
        subject: The only ``sub`` that is right.
        audience: What ``aud`` has to name.
        participant_context: What ``participant_context`` of an exchanged token has to be.
    """

    subject: str
    audience: str
    participant_context: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What has to be remembered of a token that was accepted.

    Attributes:
        jti: Its id; None where replays are not looked for.
        expires_at: Unix time after which nobody takes it any more.
    """

    jti: str | None
    expires_at: float


def read(text: str) -> CallerToken:
    """Read a token without believing it: whose it claims to be decides whose keys are looked for.

    Raises:
        UnauthorizedError: It is no signed JWT, or by an algorithm that is taken from nobody.
    """
    header, claims = unproved(text)
    kid, algorithm, subject = header.get("kid"), header.get("alg"), claims.get("sub")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise UnauthorizedError(f"the token is not signed with one of {', '.join(sorted(ALGORITHMS))}")
    if not isinstance(kid, str | None) or not isinstance(subject, str | None):
        raise UnauthorizedError("kid and sub of the token are texts")
    return CallerToken(kid=kid, algorithm=algorithm, subject=subject, text=text, claims=claims)


def check(claims: Mapping[str, Any], rules: CallerTokens, expected: Expected, *, now: float) -> Accepted:
    """Check what a token says.

    Args:
        claims: That its signature vouches for, unless the rules do without.
        rules: Of its control plane.
        expected: Whom it has to be of and for.
        now: Unix time.

    Raises:
        UnauthorizedError: One claim is missing or not as it has to be; names the claim, never its value.
    """
    issuer = claims.get("iss")
    if Claim.ISSUER not in rules.relaxed and (
        not isinstance(issuer, str) or not issuer or rules.issuer not in {None, issuer}
    ):
        raise UnauthorizedError("iss: the token is not of the issuer that is expected")
    if Claim.SUBJECT not in rules.relaxed and claims.get("sub") != expected.subject:
        raise UnauthorizedError("sub: the token is of somebody else")
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if Claim.AUDIENCE not in rules.relaxed and expected.audience not in named:
        raise UnauthorizedError(f"aud: the token is not for {expected.audience}")
    _check_scope(claims, rules, expected)
    return Accepted(jti=_id(claims, rules), expires_at=_expiry(claims, rules, now))


def _check_scope(claims: Mapping[str, Any], rules: CallerTokens, expected: Expected) -> None:
    """Check what the token lets its bearer do, and for which participant.

    Source: Data Plane Signaling, "OAuth 2 Token Exchange", section "Receiver Validation".
    """
    scope = claims.get("scope")
    granted = scope.split(" ") if isinstance(scope, str) else []
    if rules.scope is not None and rules.scope not in granted:
        raise UnauthorizedError(f"scope: the token does not have {rules.scope}")
    exchanged = rules.type is AuthorizationType.TOKEN_EXCHANGE
    if (
        exchanged
        and Claim.PARTICIPANT_CONTEXT not in rules.relaxed
        and claims.get("participant_context") != expected.participant_context
    ):
        raise UnauthorizedError("participant_context: the token is for another participant")


def _id(claims: Mapping[str, Any], rules: CallerTokens) -> str | None:
    """Return the id by which a replay is known."""
    if Claim.ID in rules.relaxed:
        return None
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= MAX_JTI_CHARS:
        raise UnauthorizedError("jti: the token needs an id of its own")
    return jti


def _expiry(claims: Mapping[str, Any], rules: CallerTokens, now: float) -> float:
    """Check the times, and return until when the token could be shown again."""
    expires_at, not_before = time_of(claims, "exp"), time_of(claims, "nbf")
    if expires_at is None:
        raise UnauthorizedError("exp: the token needs an end")
    if expires_at <= now - rules.leeway_s:
        raise UnauthorizedError("exp: the token has expired")
    if expires_at > now + MAX_LIFETIME_S + rules.leeway_s:
        raise UnauthorizedError("exp: the token is good for more than a day")
    if not_before is not None and not_before > now + rules.leeway_s:
        raise UnauthorizedError("nbf: the token is of the future")
    if Claim.ISSUED_AT not in rules.relaxed:
        issued_at = time_of(claims, "iat")
        if issued_at is None or issued_at > now + rules.leeway_s:
            raise UnauthorizedError("iat: the token needs the time at which it was issued, and a past one")
    return expires_at + rules.leeway_s
