"""The JWT by which a participant proves at another's refresh endpoint who it is: signed, and checked.

Source: Data Plane Signaling, "Token Renewal", sections "Client Authentication" and "Provider Request
Validation"; RFC 7519; RFC 8725.
"""

from __future__ import annotations

import json
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jws, jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

from dataferry.domain.errors import ConfigError, UnauthorizedError

# RFC 9864 would have it called Ed25519; the name that everybody knows is understood, and written.
warnings.filterwarnings("ignore", message="EdDSA is deprecated", category=SecurityWarning)

MAX_TOKEN_CHARS = 8 * 1024
LIFETIME_S = 60
# A proof of possession is made for one request: one that is good for longer than this is none.
MAX_LIFETIME_S = 24 * 3600
LEEWAY_S = 60
MIN_RSA_BITS = 2048
# In base64: 2,048 to 8,192 bits, and an exponent of six bytes. Larger ones only cost time.
_RSA_MODULUS_CHARS = range(342, 1367)
_RSA_EXPONENT_CHARS = range(1, 9)
# By a key's kind and curve: the key decides which algorithms it is good for, never the token alone.
_ALGORITHMS: dict[tuple[str, str], tuple[str, ...]] = {
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("OKP", "Ed25519"): ("EdDSA", "Ed25519"),
    ("RSA", ""): ("RS256", "PS256"),
}
_KEYS: dict[str, type[ECKey | OKPKey | RSAKey]] = {"EC": ECKey, "OKP": OKPKey, "RSA": RSAKey}
Key = ECKey | OKPKey | RSAKey


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


class Signer:
    """Signs as one participant.

    Args:
        did: Who.
        kid: What its DID document calls the key.
        pem: The private key.

    Raises:
        ConfigError: It is no key, or of a kind that nobody checks; never shows it.
    """

    def __init__(self, did: str, kid: str, pem: str) -> None:
        self._did = did
        self._kid = kid
        self._key = _private_key(pem)
        self._algorithm = _algorithms(self._key)[0]

    def client_token(self, *, audience: str, access_token: str, now: float) -> str:
        """Return a token for one refresh request.

        Args:
            audience: The provider's DID.
            access_token: The one that is to be renewed.
            now: Unix time.
        """
        claims = {
            "iss": self._did,
            "sub": self._did,
            "aud": audience,
            "iat": int(now),
            "exp": int(now) + LIFETIME_S,
            "jti": str(uuid.uuid4()),
            "token": access_token,
        }
        header = {"alg": self._algorithm, "kid": self._kid, "typ": "JWT"}
        return jwt.encode(header, claims, self._key, algorithms=[self._algorithm])


def present(text: str) -> Presented:
    """Read a client's token without believing it: whose key has to be looked for.

    Raises:
        UnauthorizedError: It is no signed JWT of a client.
    """
    if len(text) > MAX_TOKEN_CHARS:
        raise UnauthorizedError("the client's token is too long")
    try:
        compact = jws.extract_compact(text.encode("ascii"))
        header, claims = compact.headers(), _claims(compact.payload)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise UnauthorizedError("the client's token is no JWT") from None
    kid, algorithm, client = header.get("kid"), header.get("alg"), claims.get("iss")
    texts = isinstance(kid, str) and isinstance(algorithm, str) and isinstance(client, str)
    if not texts or not client or claims.get("sub") != client:
        raise UnauthorizedError("the client's token needs kid, iss, and sub as iss")
    return Presented(kid=str(kid), client=client, algorithm=str(algorithm), text=text)


def _claims(payload: bytes) -> Mapping[str, Any]:
    """Read the claims.

    Raises:
        ValueError: They are no JSON object.
    """
    claims = json.loads(payload)
    if not isinstance(claims, dict):
        raise ValueError("no object")  # noqa: TRY004 - one kind of fault for the caller
    return claims


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
    claims = _signed_claims(presented, key)
    named = claims.get("aud")
    if audience not in (named if isinstance(named, list) else [named]):
        raise UnauthorizedError("the client's token is for somebody else")
    token, jti = claims.get("token"), claims.get("jti")
    if not isinstance(token, str) or not isinstance(jti, str | None):
        raise UnauthorizedError("the client's token needs the claim token, and jti as a text")
    return Proof(access_token=token, jti=jti or None, expires_at=_expiry(claims, now))


def _signed_claims(presented: Presented, jwk: Mapping[str, Any]) -> Mapping[str, Any]:
    """Check the signature."""
    refused = UnauthorizedError("the client's token is not signed with the key that it names")
    try:
        if jwk.get("kty") == "RSA" and not _is_reasonable(jwk):
            raise refused
        key = _KEYS[str(jwk.get("kty"))].import_key({name: jwk[name] for name in jwk if name in _PARTS})
        if presented.algorithm not in _algorithms(key):
            raise refused
        return jwt.decode(presented.text, key, algorithms=[presented.algorithm]).claims
    except (JoseError, ConfigError, ValueError, TypeError, KeyError, AttributeError):
        raise refused from None


# ``use`` and ``key_ops`` of a document are often wrong, and say nothing that the purposes do not.
_PARTS = frozenset({"kty", "crv", "x", "y", "n", "e"})


def _is_reasonable(jwk: Mapping[str, Any]) -> bool:
    return len(jwk["n"]) in _RSA_MODULUS_CHARS and len(jwk["e"]) in _RSA_EXPONENT_CHARS


def _expiry(claims: Mapping[str, Any], now: float) -> float:
    """Check the times, and return until when the token could be shown again."""
    times: dict[str, float] = {}
    for name in ("exp", "iat", "nbf"):
        value = claims.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:  # noqa: PLR2004
            raise UnauthorizedError(f"the client's token has no time in {name}")
        times[name] = float(value)
    issued_at = times.get("iat", now)
    expires_at = times.get("exp", issued_at + MAX_LIFETIME_S)
    if expires_at < now - LEEWAY_S:
        raise UnauthorizedError("the client's token has expired")
    if max(issued_at, times.get("nbf", now)) > now + LEEWAY_S:
        raise UnauthorizedError("the client's token is of the future")
    if expires_at > now + MAX_LIFETIME_S + LEEWAY_S:
        raise UnauthorizedError("the client's token is good for more than a day")
    return expires_at + LEEWAY_S


def _algorithms(key: Key) -> tuple[str, ...]:
    """Return what a key may sign with.

    Raises:
        ConfigError: Nothing that is used here.
    """
    public = key.public_key
    kind, curve = "", ""
    if isinstance(public, ec.EllipticCurvePublicKey):
        kind, curve = "EC", {"secp256r1": "P-256", "secp384r1": "P-384"}.get(public.curve.name, "")
    elif isinstance(public, ed25519.Ed25519PublicKey):
        kind, curve = "OKP", "Ed25519"
    elif isinstance(public, rsa.RSAPublicKey) and public.key_size >= MIN_RSA_BITS:
        kind = "RSA"
    if (kind, curve) not in _ALGORITHMS:
        raise ConfigError("signing keys are of P-256, P-384, Ed25519, or RSA with 2,048 bits and more")
    return _ALGORITHMS[kind, curve]


def _private_key(pem: str) -> Key:
    """Read a private key in PEM."""
    try:
        private = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        raise ConfigError("the signing key is no private key in PEM without a password") from None
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return ECKey.import_key(pem)
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size >= MIN_RSA_BITS:
        return RSAKey.import_key(pem)
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return OKPKey.import_key(pem)
    raise ConfigError("signing keys are of P-256, P-384, Ed25519, or RSA with 2,048 bits and more")
