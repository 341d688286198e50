"""Control planes that call with JWTs: whose they are, what is refused, and what they see of each other."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from tests.servers.identity_provider import IdentityProvider
from tests.unit.api.api_rig import KEY, Plane, message, plane

from dataferry.domain.authorization import AuthorizationType, CallerTokens, Claim
from dataferry.domain.location import ControlPlane

pytestmark = [
    pytest.mark.filterwarnings("ignore:EdDSA is deprecated"),
    pytest.mark.filterwarnings("ignore:Key size should be"),
]
CREDENTIALS, EXCHANGE = AuthorizationType.CLIENT_CREDENTIALS, AuthorizationType.TOKEN_EXCHANGE
PRINCIPAL = "urn:principal:control-plane"
SCOPE = "signaling:dataflow"
STATIC = "static-token-of-a-control-plane"


def known_by(provider: IdentityProvider, **changes: Any) -> CallerTokens:
    """Take tokens of the provider."""
    given = {"issuer": provider.issuer, "jwks_uri": provider.jwks_uri, **changes}
    return CallerTokens(**{"type": CREDENTIALS, **given})


def planes(provider: IdentityProvider) -> tuple[ControlPlane, ...]:
    """One of each kind."""
    unsigned: dict[str, Any] = {"jwks_uri": None, "accepts_unsigned": True}
    inline: dict[str, Any] = {"jwks_uri": None, "jwks": provider.jwks}
    every = {
        "cp-a": known_by(provider),
        "cp-b": known_by(provider),
        "inline": known_by(provider, issuer=None, **inline),
        "broker": known_by(provider, type=EXCHANGE, subject=PRINCIPAL, scope=SCOPE),
        "tolerant": known_by(
            provider, issuer=None, relaxed=(Claim.ISSUER, Claim.AUDIENCE, Claim.ISSUED_AT, Claim.ID)
        ),
        "unsigned": known_by(provider, **unsigned),
    }
    made = [ControlPlane(id=name, authorization=rules) for name, rules in every.items()]
    return (*made, ControlPlane(id="static", token=STATIC))


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    """Issues tokens for the plane of these tests."""
    with IdentityProvider() as running:
        running.audience = "plane-1"
        yield running


@pytest.fixture
def api(tmp_path: Path, provider: IdentityProvider) -> Iterator[Plane]:
    """A plane with one control plane of each kind."""
    with plane(tmp_path, control_planes=planes(provider)) as running:
        yield running


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Plane, IdentityProvider]]:
    """A plane and a provider that no test changes."""
    with IdentityProvider() as running:
        running.audience = "plane-1"
        with plane(tmp_path_factory.mktemp("steady"), control_planes=planes(running)) as serving:
            yield serving, running


def credential(provider: IdentityProvider, name: str) -> str:
    """What a control plane shows."""
    return STATIC if name == "static" else provider.token(name)


def asked(api: Plane, token: str, id: str = "nothing-here") -> tuple[int, str]:
    """Ask for a status: 404 is what a known caller gets for a flow that is not there; and what is said."""
    answer = api.status(id, token=token)
    return answer.status_code, str(answer.json().get("detail", ""))


def refused(api: Plane, token: str, said: str) -> None:
    """A token is refused for a reason that is told, without any of the token in it."""
    status, detail = asked(api, token)
    assert (status, said in detail) == (401, True), detail
    assert token[-20:] not in detail


@pytest.mark.parametrize("subject", ["cp-a", "cp-b", "inline", "tolerant"])
def test_a_token_of_its_issuer_tells_a_control_plane(
    api: Plane, provider: IdentityProvider, subject: str
) -> None:
    """Its keys are fetched, or stand in the configuration."""
    assert asked(api, provider.token(subject))[0] == 404


def test_a_flow_is_its_makers_only(api: Plane, provider: IdentityProvider) -> None:
    """Another control plane of the same issuer, and one with a static token, get 404 for every verb."""
    made = api.signal("start", message(datasetId="slow-1"), token=provider.token("cp-a"))
    assert made.status_code == 202, made.text
    for name in ("cp-b", "static", "inline"):
        assert asked(api, credential(provider, name), "tp-1")[0] == 404
        for verb in ("suspend", "resume", "terminate", "completed", "started"):
            assert (
                api.signal(f"tp-1/{verb}", {"messageId": "m"}, token=credential(provider, name)).status_code
                == 404
            )
    assert asked(api, provider.token("cp-a"), "tp-1")[0] == 200
    assert api.signal("start", message(datasetId="slow-1"), token=provider.token("cp-b")).status_code == 202


def test_a_token_is_good_once(api: Plane, provider: IdentityProvider) -> None:
    """The second call with it is refused, by whatever verb."""
    token = provider.token("cp-a")
    assert asked(api, token)[0] == 404
    refused(api, token, "jti: the token was used before")
    assert api.signal("start", message(), token=token).status_code == 401


def test_of_many_at_once_one_passes(api: Plane, provider: IdentityProvider) -> None:
    """Twelve calls with one token, side by side."""
    token = provider.token("cp-a")
    headers = {"Authorization": f"Bearer {token}"}

    def call(_: int) -> int:
        return httpx.get(
            f"{api.url}/api/v1/dataflows/none/status", headers=headers, timeout=20, trust_env=False
        ).status_code

    with ThreadPoolExecutor(12) as pool:
        assert sorted(pool.map(call, range(12))) == [*[401] * 11, 404]


def test_neither_a_restart_nor_another_process_takes_it_again(
    tmp_path: Path, provider: IdentityProvider
) -> None:
    """What was shown is in the database: two planes on one, and one that begins later."""
    every = planes(provider)
    shown, other = provider.token("cp-a"), provider.token("cp-a")
    with plane(tmp_path, control_planes=every) as one, plane(tmp_path, control_planes=every) as two:
        assert asked(one, shown)[0] == 404
        refused(two, shown, "jti")
        assert asked(two, other)[0] == 404
    with plane(tmp_path, control_planes=every) as later:
        refused(later, shown, "jti")
        refused(later, other, "jti")


def test_ids_of_different_control_planes_are_different(api: Plane, provider: IdentityProvider) -> None:
    """One can't use up another's tokens by guessing their ids."""
    assert asked(api, provider.token("cp-b", jti="same"))[0] == 404
    assert asked(api, provider.token("cp-a", jti="same"))[0] == 404


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"iss": None}, "iss"),
        ({"iss": "https://elsewhere.example"}, "iss"),
        ({"iss": ["x"]}, "iss"),
        ({"sub": None}, "of no control plane"),
        ({"sub": "nobody"}, "of no control plane"),
        ({"sub": ["cp-a"]}, "texts"),
        ({"aud": None}, "aud"),
        ({"aud": "another-plane"}, "aud"),
        ({"aud": ["another-plane"]}, "aud"),
        ({"aud": {"plane-1": 1}}, "aud"),
        ({"exp": None}, "exp"),
        ({"exp": int(time.time()) - 60}, "exp"),
        ({"exp": "tomorrow"}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": 1e300}, "exp"),
        ({"exp": int(time.time()) + 90_000}, "more than a day"),
        ({"iat": None}, "iat"),
        ({"iat": int(time.time()) + 3600}, "iat"),
        ({"nbf": int(time.time()) + 3600}, "nbf"),
        ({"jti": None}, "jti"),
        ({"jti": ""}, "jti"),
        ({"jti": 7}, "jti"),
        ({"jti": "x" * 600}, "jti"),
    ],
)
def test_what_a_token_must_say(
    steady: tuple[Plane, IdentityProvider], changes: dict[str, Any], said: str
) -> None:
    """Each claim that is missing or wrong is named; a signature makes up for none."""
    api, provider = steady
    refused(api, provider.token("cp-a", **changes), said)


def test_one_audience_of_several_is_enough_and_clocks_may_be_apart(
    api: Plane, provider: IdentityProvider
) -> None:
    """``aud`` may be a list; half a minute is allowed, and no more."""
    now = int(time.time())
    assert asked(api, provider.token("cp-a", aud=["x", "plane-1"]))[0] == 404
    assert asked(api, provider.token("cp-a", iat=now + 20, nbf=now + 20))[0] == 404
    assert asked(api, provider.token("cp-a", exp=now - 20))[0] == 404
    refused(api, provider.token("cp-a", exp=now - 40), "exp")


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_signatures_decide(api: Plane, provider: IdentityProvider) -> None:
    """Another's key under the right name, no signature, ``none``, and HMAC by what everybody can read."""
    claims = provider.claims("cp-a")
    head, body, signature = provider.sign(claims).split(".")
    stranger = ECKey.generate_key("P-256", {"kid": str(provider.signing.kid)})
    public = json.dumps(provider.jwks["keys"][0]).encode()
    hmac = jwt.encode(
        {"alg": "HS256", "kid": provider.signing.kid}, claims, OctKey.import_key(public), algorithms=["HS256"]
    )
    refused(api, provider.sign(claims, key=stranger), "not signed with the key")
    refused(api, f"{head}.{_part({**claims, 'sub': 'cp-b'})}.{signature}", "not signed with the key")
    refused(api, f"{head}.{body}.", "")
    refused(api, hmac, "not signed with one of")
    for algorithm in ("none", "None", "HS512", "RS1", 7, ["ES256"], None):
        forged = f"{_part({'alg': algorithm, 'kid': provider.signing.kid})}.{body}.{signature}"
        refused(api, forged, "")
    refused(api, f"{_part({'alg': 'RS256', 'kid': provider.signing.kid})}.{body}.{signature}", "")
    refused(api, f"{head}.{body}.AAAA", "")
    unknown = _part({"alg": "ES256", "kid": provider.signing.kid, "crit": ["x"], "x": 1})
    refused(api, f"{unknown}.{body}.{signature}", "")
    assert asked(api, provider.sign(claims))[0] == 404


def test_what_is_no_token_at_all(api: Plane) -> None:
    """Nothing of it is an error of ours."""
    for text in ("..", "a.b.c", "a" * 9000, "e30.e30.e30", f"{_part({'alg': 'ES256'})}.{_part([1])}.AA"):
        assert asked(api, text)[0] == 401, text
    deep = base64.urlsafe_b64encode(b"[" * 2800).decode().rstrip("=")
    assert asked(api, f"{deep}.{deep}.AA")[0] == 401
    assert asked(api, f"{_part({'alg': 'ES256'})}.{deep}.AA")[0] == 401
    raw = httpx.get(
        f"{api.url}/api/v1/dataflows/x/status",
        headers={b"Authorization": "Bearer \xff.\xff.\xff".encode("latin-1")},
        trust_env=False,
    )
    assert raw.status_code == 401


@pytest.mark.parametrize(
    "key",
    [
        RSAKey.generate_key(2048, {"kid": "rsa"}),
        OKPKey.generate_key("Ed25519", {"kid": "ed"}),
        ECKey.generate_key("P-256", {"kid": "ec"}),
    ],
    ids=["RSA", "Ed25519", "P-256"],
)
def test_each_kind_of_key(api: Plane, provider: IdentityProvider, key: Any) -> None:
    """RS256, EdDSA and ES256; also where the token does not say which key it is."""
    provider.rotate(key=key)
    assert asked(api, provider.token("cp-a"))[0] == 404
    assert asked(api, provider.sign(provider.claims("cp-a"), kid=None))[0] == 404


def test_weak_and_foreign_keys_of_a_set_check_nothing(api: Plane, provider: IdentityProvider) -> None:
    """RSA of 1,024 bits, and a key that is for encryption."""
    provider.rotate(key=RSAKey.generate_key(1024, {"kid": "weak"}))
    refused(api, provider.token("cp-a"), "")


def test_keys_rotate(api: Plane, provider: IdentityProvider) -> None:
    """A key that was never seen is fetched at once; one that is gone signs nothing more."""
    old = provider.signing
    assert asked(api, provider.token("cp-a"))[0] == 404
    provider.rotate()
    assert asked(api, provider.token("cp-a"))[0] == 404
    refused(api, provider.sign(provider.claims("cp-a"), key=old), "not among those published")


def test_an_exchanged_token(api: Plane, provider: IdentityProvider) -> None:
    """The broker's, for the principal, its participant and the scope that was agreed; nothing less."""
    whole = {"scope": f"other {SCOPE}", "participant_context": "default"}
    assert asked(api, provider.token(PRINCIPAL, **whole, act={"sub": "workload"}))[0] == 404
    refused(api, provider.token(PRINCIPAL, **{**whole, "scope": "other"}), "scope")
    refused(api, provider.token(PRINCIPAL, **{**whole, "scope": f"{SCOPE}s"}), "scope")
    refused(api, provider.token(PRINCIPAL, participant_context="default"), "scope")
    refused(api, provider.token(PRINCIPAL, scope=SCOPE), "participant_context")
    refused(api, provider.token(PRINCIPAL, **{**whole, "participant_context": "x"}), "participant_context")
    refused(api, provider.token(PRINCIPAL, **whole, iss="https://elsewhere.example"), "iss")
    refused(api, provider.token("broker", **whole), "of no control plane")


def test_relaxed_claims_are_those_that_are_named(api: Plane, provider: IdentityProvider) -> None:
    """What is relaxed may be missing, wrong, or repeated; the end, the subject and the signature never."""
    sparse = provider.token("tolerant", iss=None, aud="elsewhere", iat=None, jti=None)
    assert asked(api, sparse)[0] == 404
    assert asked(api, sparse)[0] == 404
    refused(api, provider.token("tolerant", exp=None), "exp")
    refused(api, provider.token("tolerant", exp=int(time.time()) - 60), "exp")
    stranger = ECKey.generate_key("P-256", {"kid": str(provider.signing.kid)})
    refused(api, provider.sign(provider.claims("tolerant"), key=stranger), "not signed")


def test_without_a_subject_it_is_who_nobody_else_is(tmp_path: Path, provider: IdentityProvider) -> None:
    """Any client of the issuer is it, but never one that another control plane is."""
    anybody = ControlPlane(
        id="anybody", authorization=known_by(provider, relaxed=(Claim.SUBJECT, Claim.AUDIENCE))
    )
    with plane(tmp_path, control_planes=(anybody, *planes(provider))) as api:
        started = api.signal("start", message(datasetId="slow-1"), token=provider.token("some-uuid"))
        assert started.status_code == 202
        assert asked(api, provider.token("another-uuid"), "tp-1")[0] == 200
        assert asked(api, provider.token("x", sub=None), "tp-1")[0] == 200
        assert asked(api, provider.token("cp-a"), "tp-1")[0] == 404
        refused(api, provider.token("cp-a", aud="x"), "aud")


def test_a_control_plane_may_have_both(tmp_path: Path, provider: IdentityProvider) -> None:
    """A static token and JWTs, while it changes from one to the other: the same flows."""
    both = ControlPlane(id="cp", token=STATIC, authorization=known_by(provider))
    with plane(tmp_path, control_planes=(both,)) as api:
        assert api.signal("start", message(datasetId="slow-1"), token=STATIC).status_code == 202
        assert asked(api, provider.token("cp"), "tp-1")[0] == 200


def test_unsigned_is_only_who_the_operator_says(api: Plane, provider: IdentityProvider) -> None:
    """Its claims are checked all the same; nobody else's signature is skipped, and ``none`` stays refused."""
    stranger = ECKey.generate_key("P-256", {"kid": "x"})
    assert asked(api, provider.sign(provider.claims("unsigned"), key=stranger))[0] == 404
    refused(api, provider.sign(provider.claims("unsigned", aud="x"), key=stranger), "aud")
    refused(api, provider.sign(provider.claims("cp-a"), key=stranger), "not among those published")
    refused(api, f"{_part({'alg': 'none'})}.{_part(provider.claims('unsigned'))}.", "")


def test_a_publisher_that_is_down_is_no_refusal(tmp_path: Path, provider: IdentityProvider) -> None:
    """503, so that it is tried again; what was fetched before goes on being good."""
    with plane(tmp_path, control_planes=planes(provider)) as api:
        provider.keys_status = 503
        status, detail = asked(api, provider.token("cp-a"))
        assert status == 503
        assert "127.0.0.1" not in detail
    with plane(tmp_path, control_planes=planes(provider)) as api:
        provider.keys_status = 200
        assert asked(api, provider.token("cp-a"))[0] == 404
        provider.keys_status = 503
        assert asked(api, provider.token("cp-a"))[0] == 404


def test_static_tokens_and_operators_keys_are_as_before(api: Plane, provider: IdentityProvider) -> None:
    """They do not pass for JWTs, nor JWTs for them."""
    assert asked(api, STATIC)[0] == 404
    assert asked(api, "not-a-token")[0] == 401
    assert api.manage("GET", "/dataflows").status_code == 200
    assert api.manage("GET", "/dataflows", key=provider.token("cp-a")).status_code == 401


def registration(provider: IdentityProvider, id: str, **changes: Any) -> dict[str, Any]:
    """A control plane introduces itself as the specification has it."""
    authorization = {
        "type": "oauth2_client_credentials",
        "tokenEndpoint": provider.token_endpoint,
        "clientId": "us",
        "clientSecret": "our-secret-at-theirs",
        "jwks": provider.jwks,
        **changes,
    }
    return {
        "controlplaneId": id,
        "endpoint": "http://127.0.0.1:9/signaling",
        "authorization": {name: value for name, value in authorization.items() if value is not None},
    }


def put(api: Plane, body: dict[str, Any], **headers: str) -> httpx.Response:
    """PUT a registration."""
    return api.client.put("/api/v1/controlplanes", json=body, headers=headers)


def test_who_may_register(api: Plane, provider: IdentityProvider) -> None:
    """Nobody without a credential; a control plane for itself only; an operator's key for anyone."""
    assert put(api, registration(provider, "new")).status_code == 401
    mine = {"Authorization": f"Bearer {provider.token('cp-a')}"}
    assert put(api, registration(provider, "new"), **mine).status_code == 403
    assert asked(api, provider.token("new"))[0] == 401
    assert put(api, registration(provider, "new"), **{"X-Api-Key": KEY}).status_code == 200
    assert asked(api, provider.token("new"))[0] == 404
    again = {"Authorization": f"Bearer {provider.token('new')}"}
    assert put(api, registration(provider, "new"), **again).status_code == 200
    theirs = {"Authorization": f"Bearer {provider.token('cp-b')}"}
    assert api.client.delete("/api/v1/controlplanes/new", headers=theirs).status_code == 403
    own = {"Authorization": f"Bearer {provider.token('new')}"}
    assert api.client.delete("/api/v1/controlplanes/new", headers=own).status_code == 204
    assert asked(api, provider.token("new"))[0] == 401


def test_a_registration_changes_its_own_keys(api: Plane, provider: IdentityProvider) -> None:
    """Rotation by registering again, as the specification says; the old key is of no use then."""
    assert put(api, registration(provider, "new"), **{"X-Api-Key": KEY}).status_code == 200
    old = provider.signing
    bearer = {"Authorization": f"Bearer {provider.token('new')}"}
    provider.rotate()
    assert put(api, registration(provider, "new"), **bearer).status_code == 200
    assert asked(api, provider.token("new"))[0] == 404
    assert asked(api, provider.sign(provider.claims("new"), key=old))[0] == 401
    bearer = {"Authorization": f"Bearer {provider.token('new')}"}
    assert put(api, registration(provider, "new", jwks=None), **bearer).status_code == 200
    refused(api, provider.token("new"), "of no control plane")


def test_a_registration_does_not_touch_what_the_operator_configured(
    api: Plane, provider: IdentityProvider
) -> None:
    """Its endpoint may be filled in; by which keys it is known stays the configuration's word."""
    other = ECKey.generate_key("P-256", {"kid": "other"})
    theirs = registration(provider, "cp-a", jwks={"keys": [{**other.as_dict(private=False), "use": "sig"}]})
    bearer = {"Authorization": f"Bearer {provider.token('cp-a')}"}
    assert put(api, theirs, **bearer).status_code == 200
    assert asked(api, provider.token("cp-a"))[0] == 404
    refused(api, provider.sign(provider.claims("cp-a"), key=other), "not among those published")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"type": "oauth2_token_exchange"}, "configured by the operator"),
        ({"type": "basic"}, "offered are"),
        ({"clientSecret": None}, "are needed"),
        ({"tokenEndpoint": None}, "are needed"),
        ({"tokenEndpoint": "http://idp.example/token"}, "https"),
        ({"tokenEndpoint": "https://user:pass@idp.example/token"}, "https"),
        ({"tokenEndpoint": "https://[bad/token"}, "https"),
        ({"tokenEndpoint": "file:///etc/passwd"}, "https"),
        ({"jwks": None, "jwksUri": "http://idp.example/keys"}, "https"),
        ({"jwksUri": "https://idp.example/keys"}, "same time"),
        ({"jwks": {"keys": []}}, "jwks"),
        ({"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}}, "jwks"),
        ({"jwks": {"keys": [{"kty": ["EC"]}]}}, "jwks"),
        ({"jwks": {"keys": [{"kty": "EC"}] * 60}}, "jwks"),
    ],
)
def test_a_registration_that_is_refused(
    steady: tuple[Plane, IdentityProvider], changes: dict[str, Any], said: str
) -> None:
    """Nothing is half taken: the control plane stays unknown."""
    api, provider = steady
    answer = put(api, registration(provider, "new", **changes), **{"X-Api-Key": KEY})
    assert answer.status_code == 400
    assert said in answer.text
    assert "our-secret-at-theirs" not in answer.text
    assert api.manage("GET", "/control-planes/new").status_code == 404


def test_secrets_of_a_registration_are_shown_to_nobody(tmp_path: Path, provider: IdentityProvider) -> None:
    """Neither by the management API nor in the database; writing back what was shown changes nothing."""
    with plane(tmp_path, control_planes=planes(provider)) as api:
        assert put(api, registration(provider, "new"), **{"X-Api-Key": KEY}).status_code == 200
        shown = api.manage("GET", "/control-planes/new")
        assert shown.json()["callback_authorization"]["client_secret"] == "***"
        assert "our-secret-at-theirs" not in shown.text + api.manage("GET", "/control-planes").text
        same = {"endpoint": shown.json()["endpoint"]}
        assert api.manage("PUT", "/control-planes/new", json=same).status_code == 200
        kept = api.services.catalogue.control_planes.get("new").callback_authorization
        assert kept is not None
        assert kept.client_secret == "our-secret-at-theirs"
        moved = {"endpoint": "https://elsewhere.example"}
        assert api.manage("PUT", "/control-planes/new", json=moved).status_code == 200
        assert api.services.catalogue.control_planes.get("new").callback_authorization is None
        assert asked(api, provider.token("new"))[0] == 404
    held = b"".join(path.read_bytes() for path in tmp_path.glob("api.db*"))
    assert b"our-secret-at-theirs" not in held
