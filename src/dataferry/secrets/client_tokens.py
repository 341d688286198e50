"""The JWT by which a participant proves at another's refresh endpoint who it is: how it is checked.

Source: Data Plane Signaling, "Token Renewal", sections "Client Authentication" and "Provider Request
Validation"; RFC 7519; RFC 8725.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dataferry.domain.errors import UnauthorizedError
from dataferry.secrets.claims import time_of, unproved
from dataferry.secrets.jwk import signed_claims

_WHAT = "the client's token"
# A proof of possession is made for one request: one that is good for longer than this is none.
MAX_LIFETIME_S = 24 * 3600
LEEWAY_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """A client's token as it claims to be; nothing of it is proved before ``verify``.

    Attributes:
        kid: Which key it says that it is signed with.
        client: ``iss``, which ``sub`` agrees with.
    """

    kid: str
    client: str
    algorithm: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a token that was verified says.

    Attributes:
        access_token: The access token that is to be renewed.
        jti: Its own id, None if it has none.
        expires_at: Unix time after which nobody takes it any more.
    """

    access_token: str = field(repr=False)
    jti: str | None
    expires_at: float


def present(text: str) -> Presented:
    """Read a client's token without believing it: whose key has to be looked for.

    Raises:
        UnauthorizedError: It is no signed JWT of a client.
    """
    header, claims = unproved(text, what=_WHAT)
    kid, algorithm, client = header.get("kid"), header.get("alg"), claims.get("iss")
    texts = isinstance(kid, str) and isinstance(algorithm, str) and isinstance(client, str)
    if not texts or not client or claims.get("sub") != client:
        raise UnauthorizedError("the client's token needs kid, iss, and sub as iss")
    return Presented(kid=str(kid), client=client, algorithm=str(algorithm), text=text)


def verify(presented: Presented, key: Mapping[str, Any], *, audience: str, now: float) -> Proof:
    """Verify a token with the key of its client's DID document.

    Args:
        presented: As it claims to be.
        key: The JWK that its ``kid`` names.
        audience: Our DID.
        now: Unix time.

    Raises:
        UnauthorizedError: It is not the client's, not for us, or not of now.
    """
    claims = signed_claims(presented.text, presented.algorithm, key)
    named = claims.get("aud")
    if audience not in (named if isinstance(named, list) else [named]):
        raise UnauthorizedError("the client's token is for somebody else")
    token, jti = claims.get("token"), claims.get("jti")
    if not isinstance(token, str) or not isinstance(jti, str | None):
        raise UnauthorizedError("the client's token needs the claim token, and jti as a text")
    return Proof(access_token=token, jti=jti or None, expires_at=_expiry(claims, now))


def _expiry(claims: Mapping[str, Any], now: float) -> float:
    """Check the times, and return until when the token could be shown again."""
    issued_at, expires_at, not_before = (time_of(claims, name, what=_WHAT) for name in ("iat", "exp", "nbf"))
    issued_at = now if issued_at is None else issued_at
    expires_at = issued_at + MAX_LIFETIME_S if expires_at is None else expires_at
    if expires_at < now - LEEWAY_S:
        raise UnauthorizedError("the client's token has expired")
    if max(issued_at, now if not_before is None else not_before) > now + LEEWAY_S:
        raise UnauthorizedError("the client's token is of the future")
    if expires_at > now + MAX_LIFETIME_S + LEEWAY_S:
        raise UnauthorizedError("the client's token is good for more than a day")
    return expires_at + LEEWAY_S
