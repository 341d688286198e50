"""One plane, two control planes that prove themselves by OAuth 2, and keys that rotate while data moves.

The first has an identity provider; the second has none, and gets its tokens from the plane. Both take each
callback only with a token that is signed, for them, and never seen before.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from tests.servers.identity_provider import IdentityProvider
from tests.unit.token_rig import DID, KID, participant

from dataferry.demo.control_plane import Reply, ScriptedControlPlane, message
from dataferry.demo.planes import PlaneProcess

PULL = "HttpData-PULL"
NAME = "plane-under-test"
FIRST, SECOND = "control-plane-1", "control-plane-2"
SECRET = "secret-of-the-second-control-plane"
OURS = "secret-of-the-plane-at-the-provider"
THEIRS = "secret-of-the-first-at-the-provider"


@dataclass
class Strict:
    """Takes a callback only by a fresh token for its control plane; looks keys up each time."""

    control_plane: str
    keys: Callable[[], Any]
    seen: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, authorization: str) -> bool:
        """Judge one message."""
        try:
            keys = KeySet.import_key_set(self.keys())
            read = jwt.decode(authorization.removeprefix("Bearer "), keys, algorithms=["ES256"])
        except (JoseError, ValueError, httpx.HTTPError) as exc:
            self.refused.append(type(exc).__name__)
            return False
        claims = read.claims
        with self.lock:
            is_good = (
                claims["sub"] == NAME
                and claims["aud"] == self.control_plane
                and claims["exp"] > time.time()
                and claims["jti"] not in self.seen
            )
            (self.seen if is_good else self.refused).append(claims["jti"])
        return is_good


@dataclass
class Stage:
    """The plane, who drives it, and the provider of the first."""

    plane: PlaneProcess
    provider: IdentityProvider
    planes: dict[str, ScriptedControlPlane]
    strict: dict[str, Strict]
    root: Path

    def token(self, name: str) -> str:
        """Get a token as that control plane does."""
        if name == FIRST:
            url, client, secret = self.provider.token_endpoint, "client-of-the-first", THEIRS
        else:
            url, client, secret = f"{self.plane.url}/oauth/token", SECOND, SECRET
        form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret}
        answer = httpx.post(url, data=form, trust_env=False)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def receive(self, name: str, process_id: str) -> str:
        """Have the plane receive the data by that control plane's word; the token of the last call."""
        driver = self.planes[name]
        prepared = driver.prepare(self.plane.address(self.token(name)), message(process_id, "data", PULL))
        assert prepared.status == 200, prepared.body
        last = self.token(name)
        started = driver.notify(self.plane.address(last), process_id, "started")
        assert started.status == 200, started.body
        return last

    def status(self, token: str, process_id: str) -> Reply:
        """Ask for a flow's state with a token."""
        return self.planes[FIRST].status(self.plane.address(token), process_id)

    def completed(self, name: str, process_id: str) -> None:
        """Wait for the callback, and look at the bytes."""
        self.planes[name].wait_for("completed", process_id)
        arrived = (self.root / "in" / process_id / "data").read_bytes()
        assert (
            hashlib.sha256(arrived).digest()
            == hashlib.sha256((self.root / "out" / "data").read_bytes()).digest()
        )


def settings(stage_root: Path, provider: IdentityProvider, ends: dict[str, str], pem: Path) -> dict[str, Any]:
    """What the plane is configured with."""
    first = {
        "id": FIRST,
        "endpoint": ends[FIRST],
        "register": True,
        "authorization": {
            "type": "oauth2_client_credentials",
            "issuer": provider.issuer,
            "jwks_uri": provider.jwks_uri,
            "token_endpoint": provider.token_endpoint,
            "client_id": "client-of-the-first",
            "client_secret": THEIRS,
        },
        "callback_authorization": {
            "type": "oauth2_client_credentials",
            "token_endpoint": provider.token_endpoint,
            "client_id": "client-of-the-plane",
            "client_secret": OURS,
            "audience": FIRST,
            "jwks_uri": provider.jwks_uri,
        },
    }
    second = {
        "id": SECOND,
        "endpoint": ends[SECOND],
        "register": True,
        "registration": "edc",
        "authorization": {
            "type": "oauth2_client_credentials",
            "issued_here": True,
            "client_secret": "env:SECOND_SECRET",
        },
        "callback_authorization": {"type": "self_issued"},
    }
    return {
        "server": {"dataplane_id": NAME},
        "participants": [{"id": "default", "did": DID, "kid": KID, "signing_key": f"file:{pem}"}],
        "control_planes": [first, second],
        "locations": {"files": {"type": "file", "root": str(stage_root)}},
        "landing_zones": [
            {"name": "in", "sink": "files:in/{processId}/", "source": "files:out/data"},
        ],
        "engine": {"sweep_interval_s": 0.5},
    }


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Everything runs."""
    root = tmp_path / "files"
    (root / "out").mkdir(parents=True)
    (root / "in").mkdir()
    (root / "out" / "data").write_bytes(uuid.uuid4().bytes * 4096)
    pem = tmp_path / "key.pem"
    pem.write_text(participant().signing_key or "")
    pem.chmod(0o600)
    with ExitStack() as open_:
        provider = open_.enter_context(IdentityProvider())
        provider.clients = {"client-of-the-first": THEIRS, "client-of-the-plane": OURS}
        provider.subjects = {"client-of-the-first": FIRST, "client-of-the-plane": NAME}
        provider.audience = NAME
        told: dict[str, str] = {FIRST: provider.jwks_uri}

        def keys_of(name: str) -> Callable[[], Any]:
            return lambda: httpx.get(told[name], trust_env=False).json()

        strict = {name: Strict(name, keys_of(name)) for name in (FIRST, SECOND)}
        planes = {name: ScriptedControlPlane(accepts=strict[name]) for name in (FIRST, SECOND)}
        for driver in planes.values():
            open_.enter_context(driver)
        ends = {name: driver.endpoint_url for name, driver in planes.items()}
        plane = PlaneProcess(
            NAME,
            tmp_path / "plane",
            settings(root, provider, ends, pem),
            environment={"SECOND_SECRET": SECRET},
        )
        told[SECOND] = f"{plane.url}/oauth/jwks.json"
        open_.callback(plane.stop)
        plane.start()
        yield Stage(plane, provider, planes, strict, root)
        log = plane.process.log.read_text(errors="replace")
        assert "Traceback" not in log, log[-8000:]
        for secret in (SECRET, OURS, THEIRS, "PRIVATE KEY", "eyJ"):
            assert secret not in log
        held = b"".join(path.read_bytes() for path in plane.directory.glob("dataferry.db*"))
        assert not any(secret.encode() in held for secret in (SECRET, OURS, THEIRS))


def test_two_control_planes_by_oauth_while_keys_rotate(stage: Stage) -> None:
    """Bytes arrive for both; neither sees the other's flows; no token is good twice, whatever is killed."""
    registered = {name: stage.planes[name].wait_for("registration").body for name in (FIRST, SECOND)}
    assert registered[FIRST]["authorization"] == {
        "type": "oauth2_client_credentials",
        "tokenEndpoint": stage.provider.token_endpoint,
        "clientId": "client-of-the-first",
        "clientSecret": THEIRS,
        "jwksUri": stage.provider.jwks_uri,
    }
    assert registered[SECOND]["authorization"] == {
        "type": "oauth2_client_credentials",
        "tokenEndpoint": f"{stage.plane.url}/oauth/token",
        "clientId": SECOND,
        "clientSecret": SECRET,
        "jwksUri": f"{stage.plane.url}/oauth/jwks.json",
    }

    used = {name: stage.receive(name, f"before-{name}") for name in (FIRST, SECOND)}
    for name in (FIRST, SECOND):
        stage.completed(name, f"before-{name}")
        assert stage.status(used[name], f"before-{name}").status == 401
    assert stage.status(stage.token(FIRST), f"before-{SECOND}").status == 404
    assert stage.status(stage.token(SECOND), f"before-{FIRST}").status == 404
    assert stage.status(stage.token(FIRST), f"before-{FIRST}").state == "COMPLETED"

    of_the_old_key = stage.token(FIRST)
    stage.provider.rotate()
    stage.receive(FIRST, "rotated")
    stage.completed(FIRST, "rotated")
    assert stage.status(of_the_old_key, "rotated").status == 401

    last = stage.receive(FIRST, "killed")
    stage.plane.kill()
    stage.plane.start()
    stage.completed(FIRST, "killed")
    assert stage.status(last, "killed").status == 401
    assert stage.status(stage.token(FIRST), "killed").state == "COMPLETED"
    for name in (FIRST, SECOND):
        assert stage.strict[name].refused == []
        accepted = [one for one in stage.planes[name].received if one.answered < 300]
        assert len(stage.strict[name].seen) == len(accepted)


def test_a_token_endpoint_that_is_down_delays_callbacks_and_loses_none(stage: Stage) -> None:
    """The data arrives; what is told of it waits until there is a token to tell it with."""
    stage.planes[FIRST].wait_for("registration")
    driver = stage.planes[FIRST]
    assert (
        driver.prepare(stage.plane.address(stage.token(FIRST)), message("waits", "data", PULL)).status == 200
    )
    token = stage.token(FIRST)
    stage.provider.status = 503
    asked = stage.provider.count("/token")
    assert driver.notify(stage.plane.address(token), "waits", "started").status == 200
    deadline = time.monotonic() + 30
    while stage.provider.count("/token") < asked + 2:
        assert time.monotonic() < deadline, "the token endpoint was not asked again"
        time.sleep(0.05)
    assert driver.accepted("waits") == []
    callbacks = httpx.get(
        f"{stage.plane.url}/management/callbacks?state=pending",
        headers={"X-Api-Key": stage.plane.api_key},
        trust_env=False,
    ).json()["items"]
    assert "token endpoint answered with 503" in json.dumps(callbacks)
    stage.provider.status = 200
    stage.completed(FIRST, "waits")
