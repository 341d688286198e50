"""Our own token endpoint: who gets a token, what it is good for, and how guesses fare."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from tests.servers.remote_signer import RemoteSigner
from tests.unit.api.api_rig import KEY, Plane, message, plane
from tests.unit.token_rig import DID, KID, participant

from dataferry.domain.authorization import AuthorizationType, CallerTokens
from dataferry.domain.location import ControlPlane
from dataferry.domain.participant import Participant

SECRET_A = "secret of a: with + all % kinds & of = characters"
SECRET_B = "secret-of-b-0123456789"


def issued_here(id: str, secret: str, **changes: Any) -> ControlPlane:
    """A control plane that gets its tokens from us."""
    rules = CallerTokens(
        type=AuthorizationType.CLIENT_CREDENTIALS,
        is_issued_here=True,
        client_secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        **changes,
    )
    return ControlPlane(id=id, authorization=rules)


EVERY = (
    issued_here("cp-a", SECRET_A, client_id="client of a"),
    issued_here("cp-b", SECRET_B),
    ControlPlane(id="static", token="a-static-token-0123456789"),
)


@pytest.fixture(scope="module")
def us() -> Participant:
    """Whose key signs."""
    return participant()


@pytest.fixture
def api(tmp_path: Path, us: Participant) -> Iterator[Plane]:
    """A plane whose control planes have no identity provider."""
    with plane(tmp_path, control_planes=EVERY, participants=(us,)) as running:
        yield running


def ask(api: Plane, client_id: str | None, secret: str | None, **more: Any) -> httpx.Response:
    """Ask for a token, with the secret in the form."""
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret, **more}
    return api.client.post(
        "/oauth/token", data={key: value for key, value in form.items() if value is not None}
    )


def basic(api: Plane, client_id: str, secret: str, **form: str) -> httpx.Response:
    """Ask for a token by Basic. Source: RFC 6749, section 2.3.1."""
    pair = base64.b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode()
    return api.client.post(
        "/oauth/token",
        data={"grant_type": "client_credentials", **form},
        headers={"Authorization": f"Basic {pair}"},
    )


def token(api: Plane, client_id: str = "client of a", secret: str = SECRET_A) -> str:
    """A token that was issued."""
    answer = ask(api, client_id, secret)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


@pytest.mark.parametrize("way", [ask, basic])
def test_a_client_that_knows_its_secret_gets_a_token(api: Plane, way: Any) -> None:
    """It is checked by the published keys, has all that the specification wants, and is kept by nobody."""
    answer = way(api, "client of a", SECRET_A)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    content = answer.json()
    assert (content["token_type"], content["expires_in"]) == ("Bearer", 300)
    keys = api.client.get("/oauth/jwks.json").json()
    read = jwt.decode(content["access_token"], KeySet.import_key_set(keys), algorithms=["ES256"])
    assert (read.header["kid"], read.header["alg"]) == (KID, "ES256")
    claims = read.claims
    assert (claims["iss"], claims["sub"], claims["aud"], claims["client_id"]) == (
        DID, "cp-a", "plane-1", "client of a",
    )  # fmt: skip
    assert claims["exp"] - claims["iat"] == 300
    assert abs(claims["iat"] - time.time()) < 60
    assert claims["jti"]
    assert "d" not in keys["keys"][0]


def test_its_token_is_good_once_and_for_its_own_flows(api: Plane) -> None:
    """Each call has a token of its own; the other control plane sees nothing."""
    first = token(api)
    assert api.signal("start", message(datasetId="slow-1"), token=first).status_code == 202
    assert api.status("tp-1", token=first).status_code == 401
    assert api.status("tp-1", token=token(api)).status_code == 200
    assert api.status("tp-1", token=token(api, "cp-b", SECRET_B)).status_code == 404


def test_another_participants_signature_is_not_ours(tmp_path: Path, us: Participant) -> None:
    """A token of a plane with other keys is refused, though it says the same."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with plane(tmp_path / "a", control_planes=EVERY, participants=(participant(),)) as other:
        foreign = token(other)
    with plane(tmp_path / "b", control_planes=EVERY, participants=(us,)) as api:
        assert api.status("x", token=foreign).status_code == 401


@pytest.mark.parametrize(
    ("client_id", "secret"),
    [
        ("client of a", SECRET_B),
        ("client of a", ""),
        ("client of a", None),
        ("cp-a", SECRET_A),
        ("nobody", SECRET_A),
        ("", ""),
        (None, None),
        ("static", "a-static-token-0123456789"),
        ("client of a\x00", SECRET_A),
        ("\ud7ff", "ü" * 50),
    ],
)
def test_who_does_not_know_gets_none(api: Plane, client_id: str | None, secret: str | None) -> None:
    """A wrong secret and an unknown client are answered alike, in OAuth's words."""
    answer = ask(api, client_id, secret)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert answer.json() == ask(api, "client of a", "wrong").json()


def test_what_is_no_token_request(api: Plane) -> None:
    """Another grant, fields that are there twice, two ways at once, what is no form or no Basic."""
    good = f"client_id=cp-b&client_secret={SECRET_B}"
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    def said(body: str | bytes, **headers: str) -> tuple[int, str]:
        answer = api.client.post("/oauth/token", content=body, headers={**form, **headers})
        return answer.status_code, str(answer.json().get("error"))

    assert said(good) == (400, "invalid_request")
    assert said(f"grant_type=password&{good}") == (400, "unsupported_grant_type")
    assert said(f"grant_type=client_credentials&{good}&client_id=cp-b") == (400, "invalid_request")
    assert said(b"grant_type=\xff\xfe") == (400, "invalid_request")
    assert said("&".join(f"a{n}=1" for n in range(30))) == (400, "invalid_request")
    twice = "Basic " + base64.b64encode(f"cp-b:{SECRET_B}".encode()).decode()
    assert said(f"grant_type=client_credentials&{good}", Authorization=twice) == (400, "invalid_request")
    assert said("grant_type=client_credentials", Authorization=twice)[0] == 200
    assert said("grant_type=client_credentials", Authorization="Basic ???") == (401, "invalid_client")
    json_body = api.client.post("/oauth/token", json={"grant_type": "client_credentials"})
    assert json_body.status_code == 400
    assert api.client.get("/oauth/token").status_code == 405


def test_guesses_are_slowed_down(api: Plane) -> None:
    """After ten wrong ones even the right one has to wait; other clients do not."""
    for _ in range(10):
        assert ask(api, "cp-b", "wrong").status_code == 401
    answer = ask(api, "cp-b", SECRET_B)
    assert (answer.status_code, answer.json()["error"]) == (429, "temporarily_unavailable")
    assert 1 <= int(answer.headers["retry-after"]) <= 6
    assert token(api)
    for number in range(15):
        ask(api, f"nobody-{number}", "wrong")
    assert ask(api, "nobody", "wrong").status_code == 429
    assert token(api)


def test_a_right_secret_forgives_wrong_ones(api: Plane) -> None:
    """Nine mistakes, then right: the count begins anew."""
    for _ in range(3):
        for _ in range(9):
            assert ask(api, "cp-b", "wrong").status_code == 401
        assert ask(api, "cp-b", SECRET_B).status_code == 200


def test_without_clients_nobody_gets_a_token(tmp_path: Path) -> None:
    """Neither without a key nor without a control plane that has its tokens from us."""
    with plane(tmp_path, participants=(participant(),)) as api:
        assert ask(api, "cp-a", "token-of-control-plane-a").status_code == 401
    (tmp_path / "other").mkdir()
    with plane(tmp_path / "other", control_planes=EVERY) as api:
        assert ask(api, "cp-b", SECRET_B).status_code == 401
        assert api.client.get("/oauth/jwks.json").json() == {"keys": []}


def test_a_key_elsewhere_signs_them(tmp_path: Path) -> None:
    """While its signer does not answer, who asks is told to come back, and nothing of why."""
    with RemoteSigner() as signer:
        ours = participant(
            signing_key=None,
            signer_url=signer.url,
            signer_token=signer.token,
            public_key=signer.public_pem,
        )
        with plane(tmp_path, control_planes=EVERY, participants=(ours,)) as api:
            assert api.status("x", token=token(api)).status_code == 404
            signer.status = 500
            answer = ask(api, "cp-b", SECRET_B)
            assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
            assert answer.headers["retry-after"] == "1"
            assert "500" not in answer.text


def test_no_secret_is_shown_or_logged(api: Plane, caplog: pytest.LogCaptureFixture) -> None:
    """Not by the management API, not in an answer, not in the log."""
    ask(api, "cp-b", SECRET_B)
    ask(api, "cp-b", "a-guess-that-must-not-be-logged")
    shown = api.manage("GET", "/control-planes", key=KEY).text
    digest = hashlib.sha256(SECRET_B.encode()).hexdigest()
    logged = caplog.text
    assert "client_refused" in logged
    for secret in (SECRET_B, digest, "a-guess-that-must-not-be-logged"):
        assert secret not in shown
        assert secret not in logged
