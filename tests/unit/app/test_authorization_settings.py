"""``authorization`` and ``callback_authorization`` in the configuration: what is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from tests.unit.app.test_configuration import read, refusal
from tests.unit.token_rig import participant

from dataferry.app.proving import tell_what_is_relaxed
from dataferry.app.values import configured
from dataferry.app.wiring import control_planes, participants
from dataferry.domain.authorization import AuthorizationType, Claim
from dataferry.domain.errors import ConfigError
from dataferry.mechanisms.registry import Registry
from dataferry.telemetry.logs import configure

PLANE = "[[control_planes]]\nid = 'a'\nendpoint = 'https://cp.example'\n"
KEY_SET = {"keys": [{"kty": "EC", "crv": "P-256", "x": "eA", "y": "eQ", "kid": "k"}]}
SECRET = "a-secret-of-more-than-16"
CREDENTIALS = "type = 'oauth2_client_credentials'"
BROKER = "jwks_uri = 'https://b.example'\nissuer = 'x'\nsubject = 'y'\nscope = 'z'"
EXCHANGE = "type = 'oauth2_token_exchange'"


def caller(text: str) -> str:
    """A control plane with an ``authorization``."""
    return f"{PLANE}[control_planes.authorization]\n{text}\n"


def callback(text: str) -> str:
    """A control plane with a ``callback_authorization``."""
    return f"{PLANE}token = 't'\n[control_planes.callback_authorization]\n{text}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CREDENTIALS, "give one of `jwks`, `jwks_uri`, `issued_here` and `accept_unsigned`"),
        (f"{CREDENTIALS}\njwks_uri = 'https://x.example'\naccept_unsigned = true", "give one of"),
        (f"{CREDENTIALS}\njwks_uri = 'ftp://x.example'", "http:// or https://"),
        ("type = 'basic'\naccept_unsigned = true", "authorization.type"),
        (
            "type = 'self_issued'\naccept_unsigned = true",
            "oauth2_client_credentials or oauth2_token_exchange",
        ),
        (f"{CREDENTIALS}\naccept_unsigned = true\nrelax = ['sub']", "let anybody be it"),
        (f"{CREDENTIALS}\naccept_unsigned = true\nrelax = ['exp']", "authorization.relax"),
        (f"{CREDENTIALS}\naccept_unsigned = true\nleeway_s = 301", "leeway_s"),
        (f"{CREDENTIALS}\naccept_unsigned = true\nleeway_s = -1", "leeway_s"),
        (f"{CREDENTIALS}\naccept_unsigned = true\nclient_id = 'x'", "need each other"),
        (f"{CREDENTIALS}\nissued_here = true", "either `client_secret` or `client_secret_sha256`"),
        (f"{CREDENTIALS}\nissued_here = true\nclient_secret = 'short'", "16 characters"),
        (f"{CREDENTIALS}\nissued_here = true\nclient_secret = '{SECRET}'\nissuer = 'x'", "by itself"),
        (f"{EXCHANGE}\nissued_here = true", "needs `issuer`"),
        (f"{EXCHANGE}\njwks_uri = 'https://b.example'\nissuer = 'x'\nsubject = 'y'", "`scope`"),
        (f"{EXCHANGE}\naccept_unsigned = true\nissuer = 'x'\nsubject = 'y'\nscope = 'z'", "always checked"),
        (f"{EXCHANGE}\n{BROKER}\nrelax = ['iss']", "can't be relaxed"),
    ],
)
def test_an_authorization_that_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """Each mistake is named, and no way leads to unchecked signatures but the one that says so."""
    assert said in refusal(tmp_path, caller(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CREDENTIALS, "takes `token_endpoint`"),
        (f"{CREDENTIALS}\ntoken_endpoint = 'https://x.example'\nclient_id = 'x'", "takes `token_endpoint`"),
        ("type = 'self_issued'\nscope = 'x'", "takes no endpoint"),
        (f"{EXCHANGE}\ntoken_endpoint = 'https://x.example'\nresource = 'urn:x'", "`subject_token`"),
        (
            f"{EXCHANGE}\ntoken_endpoint = 'https://x.example'\nresource = 'urn:x'\nsubject_token = 'ey..'",
            "`file:PATH` or `env:NAME`",
        ),
        ("type = 'self_issued'", "needs a key"),
    ],
)
def test_a_callback_authorization_that_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """Each way has its own keys, and only those."""
    assert said in refusal(tmp_path, callback(text))


def test_nothing_of_ours_is_for_a_place_that_a_message_names(tmp_path: Path) -> None:
    """``callback_authorization`` needs an endpoint of the operator's, and no second way beside it."""
    given = f"[control_planes.callback_authorization]\n{CREDENTIALS}\ntoken_endpoint = 'https://x.example'\n"
    given += f"client_id = 'x'\nclient_secret = '{SECRET}'\n"
    message = refusal(tmp_path, f"[[control_planes]]\nid = 'a'\ntoken = 't'\n{given}")
    assert "`callback_authorization` needs `endpoint`" in message
    assert "either" in refusal(tmp_path, f"{PLANE}token = 't'\ncallback_token = 'c'\n{given}")


def test_two_that_could_not_be_told_apart_are_refused(tmp_path: Path) -> None:
    """The same subject of the same keys; and any subject of them, twice."""
    rules = f"[control_planes.authorization]\n{CREDENTIALS}\njwks_uri = 'https://x.example/keys'\n"
    for more in ("subject = 's'\n", "relax = ['sub']\n"):
        text = "".join(f"[[control_planes]]\nid = '{name}'\n{rules}{more}" for name in "ab")
        assert "can't be told apart" in refusal(tmp_path, text)
    text = "".join(f"[[control_planes]]\nid = '{name}'\n{rules}" for name in "ab")
    assert len(control_planes(read(tmp_path, text))) == 2


def test_an_authorization_is_as_good_as_a_token_beyond_loopback(tmp_path: Path) -> None:
    """With several control planes and on an open address; one without either is still refused."""
    listens = f"[server]\nhost = '0.0.0.0'\n[auth]\napi_keys = [{{ name = 'ops', key = '{SECRET}' }}]\n"
    known = caller(f"{CREDENTIALS}\njwks_uri = 'https://x.example/keys'")
    assert read(tmp_path, listens + known).control_planes[0].authorization is not None
    message = refusal(tmp_path, f"{listens}[[control_planes]]\nid = 'b'\n{known}")
    assert "control plane 'b'" in message


def test_keys_stand_in_the_file_or_where_it_says(tmp_path: Path) -> None:
    """As a table, as JSON in a file; only what checks signatures is kept."""
    (tmp_path / "keys.json").write_text(json.dumps(KEY_SET))
    table = "[[control_planes.authorization.jwks.keys]]\nkty = 'EC'\ncrv = 'P-256'\n"
    table += "x = 'eA'\ny = 'eQ'\nkid = 'k'\n"
    for text in (f"{CREDENTIALS}\njwks = 'file:{tmp_path}/keys.json'", f"{CREDENTIALS}\n{table}"):
        rules = control_planes(read(tmp_path, caller(text)))[0].authorization
        assert rules is not None
        assert rules.jwks == KEY_SET
    for wrong in ("file:/nowhere.json", "{}", "[", '{"keys": [{"kty": "oct", "k": "eA"}]}'):
        with pytest.raises(ConfigError, match="jwks"):
            control_planes(read(tmp_path, caller(f"{CREDENTIALS}\njwks = '{wrong}'")))


def test_secrets_are_hashed_or_resolved_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the settings and the control plane say of themselves holds none."""
    key = participant().signing_key or ""
    (tmp_path / "key.pem").write_text(key)
    monkeypatch.setenv("CLIENT_SECRET", SECRET)
    text = (
        f"[[participants]]\nid = 'default'\ndid = 'did:web:acme.example'\nkid = '#1'\n"
        f"signing_key = 'file:{tmp_path}/key.pem'\n"
        + caller(f"{CREDENTIALS}\nissued_here = true\nclient_secret = 'env:CLIENT_SECRET'")
        + "[control_planes.callback_authorization]\ntype = 'self_issued'\n"
    )
    settings = read(tmp_path, text)
    plane = control_planes(settings)[0]
    assert plane.authorization is not None
    assert plane.callback_authorization is not None
    assert (plane.authorization.client_secret, len(plane.authorization.client_secret_sha256 or "")) == (
        SECRET,
        64,
    )
    assert plane.callback_authorization.type is AuthorizationType.SELF_ISSUED
    shown = repr(plane) + repr(plane.authorization) + repr(settings) + repr(participants(settings))
    assert SECRET not in shown
    assert "PRIVATE" not in shown
    monkeypatch.setenv("CLIENT_SECRET", "short")
    with pytest.raises(ConfigError, match="16 characters"):
        control_planes(settings)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ("signer_url = 'https://s.example'\nkid = '#1'", "`signer_url` and `public_key` need each other"),
        ("signer_url = 'https://s.example'\npublic_key = 'x'", "`kid`, need each other"),
        ("signer_url = 'https://s.example'\nsigning_key = 'x'\nkid = '#1'", "either"),
        ("signer_token = 'x'", "`signer_token` needs `signer_url`"),
        ("signer_url = 'gopher://s.example'\nkid = '#1'\npublic_key = 'x'", "http:// or https://"),
    ],
)
def test_a_signer_elsewhere_is_whole_or_not_there(tmp_path: Path, changes: str, said: str) -> None:
    """Where it is, which key it is, and by what its signatures are checked."""
    text = f"[[participants]]\nid = 'default'\ndid = 'did:web:acme.example'\n{changes}\n"
    assert said in refusal(tmp_path, text)


def test_a_public_key_that_is_none_is_told_at_the_start(tmp_path: Path) -> None:
    """Not with the first token that is needed."""
    text = "[[participants]]\nid = 'default'\ndid = 'did:web:acme.example'\nkid = '#1'\n"
    text += "signer_url = 'https://s.example'\npublic_key = 'no key'\n"
    with pytest.raises(ConfigError, match="public_key"):
        participants(read(tmp_path, text))


def test_what_is_relaxed_is_said_in_the_log(tmp_path: Path) -> None:
    """By name, and of whom; of others nothing."""
    text = caller(f"{CREDENTIALS}\naccept_unsigned = true\nrelax = ['jti', 'aud']").replace("'a'", "'edc'")
    text += caller(f"{CREDENTIALS}\njwks_uri = 'https://x.example/keys'").replace("'a'", "'strict'")
    given = configured(read(tmp_path, text), Registry())
    assert given.control_planes[0].authorization is not None
    assert given.control_planes[0].authorization.relaxed == (Claim.ID, Claim.AUDIENCE)
    stream = io.StringIO()
    configure("warning", json=False, redactor=lambda text: text, stream=stream)
    tell_what_is_relaxed(given.control_planes)
    configure("info", json=False, redactor=lambda text: text)
    said = stream.getvalue()
    assert "jti, aud" in said
    assert "accept_unsigned" in said
    assert "edc" in said
    assert "strict" not in said
