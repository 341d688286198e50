"""The JWT of a refresh request: what is signed is taken, and nothing else, however it was bent."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from dataferry.domain.errors import ConfigError, UnauthorizedError
from dataferry.secrets.client_tokens import MAX_LIFETIME_S, present, verify
from dataferry.secrets.signing import LocalKey, Signer

US, CLIENT = "did:web:provider.example", "did:web:consumer.example"
KID = f"{CLIENT}#key-1"
NOW = 1_800_000_000.0
KEY = ECKey.generate_key("P-256")
PUBLIC = KEY.as_dict(private=False)
Change = Callable[[dict[str, Any]], Any]

pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")


def pem(key: Any) -> str:
    """A private key as operators have it."""
    text: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return text.decode()


def claims(**changes: Any) -> dict[str, Any]:
    """What a client says; None leaves a claim out."""
    usual = {
        "iss": CLIENT,
        "sub": CLIENT,
        "aud": US,
        "iat": int(NOW),
        "exp": int(NOW) + 60,
        "jti": "one",
        "token": "access",
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def signed(
    *, key: Any = KEY, alg: str = "ES256", header: dict[str, Any] | None = None, **changes: Any
) -> str:
    """A client's token."""
    head = {"alg": alg, "kid": KID, **(header or {})}
    return jwt.encode(head, claims(**changes), key, algorithms=[alg])


def check(text: str, key: Any = None) -> str:
    """Present and verify a token; the access token that it names."""
    return verify(present(text), key or PUBLIC, audience=US, now=NOW).access_token


@pytest.mark.parametrize(
    "private",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-256", "P-384", "Ed25519", "RSA"],
)
def test_what_we_sign_is_verified(private: Any) -> None:
    """Each kind of key signs, and the public half of it verifies that and no other token."""
    text = Signer(CLIENT, KID, LocalKey(pem(private))).client_token(
        audience=US, access_token="access", now=NOW
    )
    public = _imported(private)
    proof = verify(present(text), public.as_dict(private=False), audience=US, now=NOW)

    assert proof.access_token == "access"
    assert proof.jti
    with pytest.raises(UnauthorizedError):
        check(text)


def _imported(private: Any) -> ECKey | OKPKey | RSAKey:
    if isinstance(private, rsa.RSAPrivateKey):
        return RSAKey.import_key(pem(private))
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return OKPKey.import_key(pem(private))
    return ECKey.import_key(pem(private))


def test_other_algorithms_of_the_same_key_are_taken() -> None:
    """PS256 of an RSA key is as good as RS256; an audience may stand in a list."""
    key = RSAKey.generate_key(2048)

    assert check(signed(key=key, alg="PS256", aud=["x", US]), key.as_dict(private=False)) == "access"


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "did:web:other.example"},
        {"aud": None},
        {"aud": {"x": US}},
        {"sub": "did:web:other.example"},
        {"sub": None},
        {"iss": None},
        {"iss": ["x"]},
        {"token": None},
        {"token": 7},
        {"jti": ["x"]},
        {"exp": int(NOW) - 61},
        {"exp": int(NOW) + MAX_LIFETIME_S + 61},
        {"exp": "soon"},
        {"exp": True},
        {"exp": 10**400},
        {"iat": int(NOW) + 61},
        {"nbf": int(NOW) + 61},
        {"exp": None, "iat": int(NOW) - MAX_LIFETIME_S - 61},
    ],
    ids=str,
)
def test_a_claim_that_is_wrong_refuses(changes: dict[str, Any]) -> None:
    """Another's, another audience, none of now, without an access token, or of another shape."""
    with pytest.raises(UnauthorizedError):
        check(signed(**changes))


def test_times_are_checked_only_where_they_are() -> None:
    """The profile asks for neither iat nor exp nor jti."""
    assert check(signed(iat=None, exp=None, jti=None)) == "access"


def test_an_unsigned_token_is_refused() -> None:
    """``none``, with and without something in place of a signature."""
    head, body, signature = signed().split(".")
    unsigned = _part({"alg": "none", "kid": KID})

    for text in (f"{unsigned}.{body}.", f"{unsigned}.{body}.{signature}", f"{head}.{body}."):
        with pytest.raises(UnauthorizedError):
            check(text)


def test_a_public_key_is_no_shared_secret() -> None:
    """HS256 with what everybody can read in the DID document is refused, and so is a shared secret in it."""
    secret = OctKey.import_key(json.dumps(PUBLIC).encode())
    text = signed(key=secret, alg="HS256")

    for key in (PUBLIC, secret.as_dict(), {"kty": "oct"}, {"kty": ["EC"]}, {}):
        with pytest.raises(UnauthorizedError):
            check(text, key)


def test_an_operators_weak_key_is_refused() -> None:
    """RSA below 2,048 bits signs nothing, nor does what is no key."""
    for text in (
        pem(rsa.generate_private_key(65537, 1024)),  # noqa: S505 - the point
        pem(ec.generate_private_key(ec.SECP521R1())),
        "x",
    ):
        with pytest.raises(ConfigError):
            LocalKey(text)


@pytest.mark.parametrize("changes", [{"n": "w" * 171}, {"n": "w" * 60_000}, {"e": "w" * 300}, {"n": 7}])
def test_rsa_keys_that_are_weak_or_absurd_verify_nothing(changes: dict[str, Any]) -> None:
    """A document may say anything; what it costs to look at is bounded."""
    key = RSAKey.generate_key(2048)
    with pytest.raises(UnauthorizedError):
        check(signed(key=key, alg="RS256"), {**key.as_dict(private=False), **changes})


def test_a_changed_token_is_refused() -> None:
    """Neither a claim nor the signature can be exchanged; a key in the header counts for nothing."""
    stranger = ECKey.generate_key("P-256")
    head, _, signature = signed().split(".")
    other = _part(claims(token="another"))

    for text in (
        f"{head}.{other}.{signature}",
        signed(key=stranger),
        signed(key=stranger, header={"jwk": stranger.as_dict(private=False)}),
        signed(key=stranger, header={"jku": "https://evil.example/keys"}),
    ):
        with pytest.raises(UnauthorizedError):
            check(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "a.b.c.d.e",
        "x" * 9000,
        "ü.ü.ü",
        f"{'[' * 2000}.e30.e30",
        ".".join([base64.urlsafe_b64encode(b"[" * 3000).decode().rstrip("=")] * 2 + ["e30"]),
        "bnVsbA.bnVsbA.bnVsbA",
        "e30.W10.e30",
        "eyJhbGciOiJFUzI1NiJ9.e30.AA",
    ],
)
def test_what_is_no_token_is_refused(text: str) -> None:
    """Whatever stands in the header, the answer is a refusal and no fault of ours."""
    with pytest.raises(UnauthorizedError):
        check(text)


def test_no_token_or_key_is_shown() -> None:
    """What may end in a log names neither."""
    presented = present(signed())
    proof = verify(presented, PUBLIC, audience=US, now=NOW)

    assert presented.text not in repr(presented)
    assert "access'" not in repr(proof)


def _part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
