"""``dataferry check`` and ``locations test``: what is wrong is found before it hurts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import S3_DOMAIN
from tests.servers.authority import Authority, TlsFront
from tests.servers.edc import EdcConnector
from tests.servers.http_proxy import HttpProxy
from tests.servers.identity_provider import IdentityProvider
from tests.servers.plane import s3_location
from tests.servers.s3_client import keys, open_uploads, s3_client
from tests.servers.webhook import Receiver
from tests.unit.token_rig import DID, KID, participant

from dataferry.demo.planes import toml
from dataferry.demo.servers import JuiceFs


def run(directory: Path, *arguments: str) -> tuple[int, str, str]:
    """Run a command in a directory: exit code, stdout, stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "dataferry.cli.main", *arguments],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def checked(directory: Path, *arguments: str) -> tuple[int, dict[str, tuple[bool, str]]]:
    """Run a check; return its exit code and findings by what was looked at."""
    code, out, err = run(directory, *arguments, "--json")
    assert err == ""
    findings: list[dict[str, Any]] = json.loads(out)
    return code, {finding["what"]: (finding["ok"], finding["detail"]) for finding in findings}


def test_nothing_configured_is_fine_and_makes_nothing(tmp_path: Path) -> None:
    """A look changes nothing: no key, no database."""
    code, findings = checked(tmp_path, "check")
    assert code == 0
    assert set(findings) == {"configuration", "key file", "store", "API keys"}
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_configuration_is_a_finding(tmp_path: Path) -> None:
    """Exit 1, and the mistake is named."""
    (tmp_path / "dataferry.toml").write_text("[server]\nprot = 1")
    code, findings = checked(tmp_path, "check")
    assert code == 1
    assert "did you mean 'port'?" in findings["configuration"][1]


def test_a_plane_that_is_open_needs_a_key(tmp_path: Path) -> None:
    """Those of the configuration and of the database count; one that was revoked does not."""
    text = (
        '[server]\nhost = "0.0.0.0"\n[[control_planes]]\nid = "cp"\ntoken = "a-token-of-the-control-plane"\n'
    )
    (tmp_path / "dataferry.toml").write_text(text)
    assert run(tmp_path, "api-keys", "create", "ops", "--scope", "read")[0] == 0
    assert checked(tmp_path, "check")[1]["API keys"] == (True, "0 in the configuration, 1 in the database")
    assert run(tmp_path, "api-keys", "revoke", "ops")[0] == 0
    ok, detail = checked(tmp_path, "check")[1]["API keys"]
    assert (ok, "dataferry api-keys create" in detail) == (False, True)


def test_proofs_are_tried(tmp_path: Path) -> None:
    """Keys are fetched, a token is had, something is signed; a wrong secret and missing keys are found."""
    with IdentityProvider() as provider:
        provider.clients["us"] = "our-secret-at-the-provider"
        (tmp_path / "key.pem").write_text(participant().signing_key or "")

        def plane(id: str, keys: str, secret: str) -> dict[str, Any]:
            return {
                "id": id,
                "endpoint": provider.issuer,
                "authorization": {"type": "oauth2_client_credentials", "jwks_uri": keys},
                "callback_authorization": {
                    "type": "oauth2_client_credentials",
                    "token_endpoint": provider.token_endpoint,
                    "client_id": "us",
                    "client_secret": secret,
                },
            }

        settings = {
            "participants": [{"id": "default", "did": DID, "kid": KID, "signing_key": "file:key.pem"}],
            "control_planes": [
                plane("good", provider.jwks_uri, "our-secret-at-the-provider"),
                plane("bad", "http://127.0.0.1:9/keys", "another-secret-0123456789"),
            ],
        }
        (tmp_path / "dataferry.toml").write_text(toml(settings))
        code, findings = checked(tmp_path, "check")
    assert code == 1
    assert findings["signature of participant default"] == (True, f"signs as {KID}")
    assert findings["keys of control plane good"] == (True, f"{provider.jwks_uri} has 1")
    assert findings["token for control plane good"] == (True, "was had")
    assert not findings["keys of control plane bad"][0]
    assert not findings["token for control plane bad"][0]
    assert "another-secret-0123456789" not in json.dumps(findings)


def test_locations_and_control_planes_are_tried(juicefs: JuiceFs, bucket: str, tmp_path: Path) -> None:
    """What works is said to work, a missing bucket, a wrong key and a silent control plane are found."""
    client = s3_client(juicefs)
    client.create_bucket(Bucket=bucket)
    settings = {
        "locations": {
            "good": s3_location(juicefs),
            "wrong": s3_location(juicefs) | {"secret_access_key": "not-the-secret-0123456789"},
        },
        "datasets": [
            {"id": "there", "source": f"good:{bucket}/in/"},
            {"id": "missing", "source": "good:no-such-bucket-here/"},
            {"id": "refused", "source": f"wrong:{bucket}/"},
        ],
        "landing_zones": [{"name": "zone", "sink": f"good:{bucket}/out/{{processId}}/"}],
        "control_planes": [{"id": "silent", "endpoint": "http://127.0.0.1:9"}],
    }
    (tmp_path / "dataferry.toml").write_text(toml(settings))
    code, findings = checked(tmp_path, "check", "--write")
    assert code == 1
    assert {what: ok for what, (ok, _) in findings.items() if not what.startswith("clock")} == {
        "configuration": True,
        "key file": True,
        "store": True,
        "API keys": True,
        f"read good:{bucket}/in/": True,
        "read good:no-such-bucket-here/": False,
        f"read wrong:{bucket}/": False,
        f"write good:{bucket}/out/": True,
        "control plane silent": False,
    }
    assert "does not answer" in findings["control plane silent"][1]
    assert open_uploads(client, bucket, "out/") == []
    assert keys(client, bucket) == []


def test_the_database_is_upgraded_by_hand(tmp_path: Path) -> None:
    """``db upgrade`` makes or upgrades it, and says so; the check then finds it."""
    code, _, err = run(tmp_path, "db", "upgrade")
    assert (code, err) == (0, "the database has the schema of this version\n")
    code, findings = checked(tmp_path, "check")
    assert code == 0
    assert findings["store"] == (True, "answers, and its schema is of this version")


def test_a_check_goes_the_ways_that_transfers_go(juicefs: JuiceFs, bucket: str, tmp_path: Path) -> None:
    """A name that only the proxy knows, and a certificate that only our own authority vouches for."""
    s3_client(juicefs).create_bucket(Bucket=bucket)
    authority = Authority(tmp_path)
    location = {
        **s3_location(juicefs),
        "endpoint_url": f"https://{S3_DOMAIN}",
        "ca_file": str(authority.ca_file),
    }
    with (
        TlsFront(juicefs.port, authority.certificate(S3_DOMAIN)) as front,
        HttpProxy({S3_DOMAIN: front.port}) as proxy,
    ):
        settings = {
            "network": {"proxy": proxy.url},
            "locations": {"near": location, "far": {**location, "ca_file": "/nothing.pem"}},
            "datasets": [{"id": name, "source": f"{name}:{bucket}/"} for name in ("near", "far")],
        }
        (tmp_path / "dataferry.toml").write_text(toml(settings))
        code, findings = checked(tmp_path, "check")
        assert code == 1
        assert findings["proxy"] == (True, f"proxy 127.0.0.1:{proxy.port} is there")
        assert findings[f"read near:{bucket}/"][0]
        assert findings[f"clock against {S3_DOMAIN}"][0]
        assert "/nothing.pem" in findings[f"read far:{bucket}/"][1]
        assert len(proxy.asked) >= 2


def test_the_webhook_is_dialled_and_told_nothing(tmp_path: Path) -> None:
    """A weak secret and nobody who listens are findings."""
    with EdcConnector() as edc, Receiver() as receiver:
        for url, secret, detail in (
            (receiver.url, f"whsec_{'A' * 40}", "nothing was sent"),
            (receiver.url, "weak", "openssl rand"),
            ("http://127.0.0.1:1/", f"whsec_{'A' * 40}", ""),
        ):
            orchestrator = {
                "connectors": [{"address": edc.address}],
                "webhook": {"url": url, "secret": secret},
            }
            (tmp_path / "dataferry.toml").write_text(toml({"orchestrator": orchestrator}))
            _, findings = checked(tmp_path, "check")
            ok, told = findings["orchestrator webhook"]
            assert (ok, detail in told) == (detail == "nothing was sent", True)
        assert receiver.notices == []


def test_connectors_are_asked_with_their_own_credentials(tmp_path: Path) -> None:
    """A connector that takes the key is fine, one that does not is a finding; the default key is told."""
    with EdcConnector(key="right") as good, EdcConnector(key="other", versions=("v4",)) as bad:
        orchestrator = {
            "connectors": [
                {"address": good.address, "api_key": "right"},
                {"address": bad.address, "api_key": "wrong"},
            ]
        }
        (tmp_path / "dataferry.toml").write_text(toml({"orchestrator": orchestrator}))
        code, findings = checked(tmp_path, "check")
        assert code == 1
        assert findings[f"connector {good.address}"] == (True, "answers by Management API v3")
        assert findings[f"connector {bad.address}"][0] is False
        assert "401" in findings[f"connector {bad.address}"][1]
        assert "from this machine only" in findings["orchestrator key"][1]
        assert findings["orchestrator storage"][0]
        assert {call.operation for call in good.calls + bad.calls} == {"query"}
    assert [path.name for path in tmp_path.iterdir()] == ["dataferry.toml"]
