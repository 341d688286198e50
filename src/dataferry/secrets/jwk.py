"""Keys that sign tokens: as JSON Web Keys or in PEM, and the algorithms that each is good for.

A key decides which algorithms it is good for, never a token: so there is no ``none``, and no public key that
is taken for the secret of an HMAC.

Source: RFC 7517; RFC 8725, section 3.1.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

from dataferry.domain.errors import ConfigError, UnauthorizedError

# RFC 9864 would have it called Ed25519; the name that everybody knows is understood, and written.
warnings.filterwarnings("ignore", message="EdDSA is deprecated", category=SecurityWarning)

MIN_RSA_BITS = 2048
# In base64: 2,048 to 8,192 bits, and an exponent of six bytes. Larger ones only cost time.
_RSA_MODULUS_CHARS = range(342, 1367)
_RSA_EXPONENT_CHARS = range(1, 9)
_ALGORITHMS: dict[tuple[str, str], tuple[str, ...]] = {
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("OKP", "Ed25519"): ("EdDSA", "Ed25519"),
    ("RSA", ""): ("RS256", "PS256"),
}
_KINDS: dict[str, type[ECKey | OKPKey | RSAKey]] = {"EC": ECKey, "OKP": OKPKey, "RSA": RSAKey}
# ``use`` and ``key_ops`` are left to who knows where the key stood.
_PARTS = frozenset({"kty", "crv", "x", "y", "n", "e"})
_UNUSABLE = "signing keys are of P-256, P-384, Ed25519, or RSA with 2,048 bits and more"
Key = ECKey | OKPKey | RSAKey


def signed_claims(text: str, algorithm: str, jwk: Mapping[str, Any]) -> dict[str, Any]:
    """Return the claims of a token that a public key has signed.

    Args:
        text: The token.
        algorithm: As its header says.
        jwk: The key, as published by somebody else.

    Raises:
        UnauthorizedError: It is not signed with that key, or by an algorithm that the key is not good for.
    """
    refused = UnauthorizedError("the token is not signed with the key that it names")
    try:
        if jwk.get("kty") == "RSA" and not _is_reasonable(jwk):
            raise refused
        key = _KINDS[str(jwk.get("kty"))].import_key({name: jwk[name] for name in jwk if name in _PARTS})
        if algorithm not in algorithms_of(key):
            raise refused
        return dict(jwt.decode(text, key, algorithms=[algorithm]).claims)
    except (JoseError, ConfigError, ValueError, TypeError, KeyError, AttributeError):
        raise refused from None


def _is_reasonable(jwk: Mapping[str, Any]) -> bool:
    return len(jwk["n"]) in _RSA_MODULUS_CHARS and len(jwk["e"]) in _RSA_EXPONENT_CHARS


def algorithms_of(key: Key) -> tuple[str, ...]:
    """Return what a key may sign with, the one to sign with first.

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
        raise ConfigError(_UNUSABLE)
    return _ALGORITHMS[kind, curve]


def private_key(pem: str) -> Key:
    """Read a private key in PEM.

    Raises:
        ConfigError: It is none, or of a kind that nobody checks; never shows it.
    """
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
    raise ConfigError(_UNUSABLE)


def public_key(pem: str) -> Key:
    """Read a public key in PEM.

    Raises:
        ConfigError: It is none, or of a kind that is not used here.
    """
    try:
        public = load_pem_public_key(pem.encode())
    except (ValueError, TypeError):
        raise ConfigError("it is no public key in PEM") from None
    if isinstance(public, ec.EllipticCurvePublicKey):
        key: Key = ECKey.import_key(pem)
    elif isinstance(public, rsa.RSAPublicKey):
        key = RSAKey.import_key(pem)
    elif isinstance(public, ed25519.Ed25519PublicKey):
        key = OKPKey.import_key(pem)
    else:
        raise ConfigError(_UNUSABLE)
    algorithms_of(key)
    return key
