"""What a participant signs: with a key of this machine, or by somebody who holds the key elsewhere."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from joserfc import jwt

from dataferry.domain.errors import ServerError, UnauthorizedError
from dataferry.secrets.jwk import Key, algorithms_of, private_key, signed_claims

# Of proofs that are made for one request.
LIFETIME_S = 60
# ``(algorithm, signing input) -> signature``, as JWS has them.
RemoteSignature = Callable[[str, bytes], bytes]


class SigningKey(Protocol):
    """What makes signed tokens."""

    @property
    def algorithm(self) -> str:
        """Which algorithm it signs with."""
        ...

    @property
    def public_jwk(self) -> Mapping[str, Any]:
        """Its public half."""
        ...

    def compact(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        """Return a signed token."""
        ...


class LocalKey:
    """A private key that is on this machine.

    Args:
        pem: The key.

    Raises:
        ConfigError: It is no key, or of a kind that nobody checks; never shows it.
    """

    def __init__(self, pem: str) -> None:
        self._key = private_key(pem)
        self.algorithm = algorithms_of(self._key)[0]
        self.public_jwk: Mapping[str, Any] = public_half(self._key)

    def compact(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        """Return a signed token."""
        return jwt.encode(dict(header), dict(claims), self._key, algorithms=[self.algorithm])


class RemoteKey:
    """A private key that signs elsewhere; what comes from there is checked before it is used.

    Args:
        public: Its public half.
        sign: Has a signature made.
    """

    def __init__(self, public: Key, sign: RemoteSignature) -> None:
        self.algorithm = algorithms_of(public)[0]
        self.public_jwk: Mapping[str, Any] = public_half(public)
        self._sign = sign

    def compact(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        """Return a signed token.

        Raises:
            DataFerryError: No signature was had, or it is not this key's.

        Source: RFC 7515, section 7.1.
        """
        signing_input = f"{_encoded(header)}.{_encoded(claims)}"
        signature = self._sign(self.algorithm, signing_input.encode("ascii"))
        text = f"{signing_input}.{_base64url(signature)}"
        try:
            signed_claims(text, self.algorithm, self.public_jwk)
        except UnauthorizedError:
            # Temporary: it may be in the middle of changing keys.
            raise ServerError("the signature is not of participants.public_key", operation="signer") from None
        return text


class Signer:
    """Signs as one participant.

    Args:
        did: Who.
        kid: What its DID document calls the key.
        key: The key.
    """

    def __init__(self, did: str, kid: str, key: SigningKey) -> None:
        self.did = did
        self.kid = kid
        self._key = key

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key as a JWKS document has it. Source: RFC 7517, section 4."""
        return {**self._key.public_jwk, "kid": self.kid, "use": "sig", "alg": self._key.algorithm}

    def token(
        self, *, subject: str, audience: str, now: float, lifetime_s: float = LIFETIME_S, **more: Any
    ) -> str:
        """Return a token that says who its subject is, for one audience, with an id of its own.

        Args:
            subject: ``sub``.
            audience: ``aud``.
            now: Unix time.
            lifetime_s: From ``iat`` to ``exp``.
            more: Further claims.

        Raises:
            DataFerryError: A signer elsewhere does not sign.

        Source: Data Plane Signaling, "OAuth 2 Client Credentials Grant", section "Token Claims".
        """
        claims = {
            "iss": self.did,
            "sub": subject,
            "aud": audience,
            "iat": int(now),
            "exp": int(now + lifetime_s),
            "jti": str(uuid.uuid4()),
            **more,
        }
        header = {"alg": self._key.algorithm, "kid": self.kid, "typ": "JWT"}
        return self._key.compact(header, claims)

    def client_token(self, *, audience: str, access_token: str, now: float) -> str:
        """Return a token for one refresh request.

        Args:
            audience: The provider's DID.
            access_token: The one that is to be renewed.
            now: Unix time.

        Source: Data Plane Signaling, "Token Renewal", section "Client Authentication".
        """
        return self.token(subject=self.did, audience=audience, now=now, token=access_token)


def public_half(key: Key) -> dict[str, Any]:
    """Return a key's public JWK, without what only its owner cares about."""
    return {name: value for name, value in key.as_dict(private=False).items() if name != "kid"}


def _encoded(part: Mapping[str, Any]) -> str:
    return _base64url(json.dumps(dict(part), separators=(",", ":")).encode())


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
