"""``dataferry api-keys`` beside a running ``serve``: create, use, be refused, revoke."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.test_serve_process import Host, Service
from tests.integration.test_serve_process import host as host  # noqa: PLC0414 - a fixture

CONFIGURED = "a-key-of-the-configuration-0123456789"


def made(host: Host, name: str, *options: str) -> dict[str, Any]:
    """Make a key with the command; the answer has it."""
    code, out, err = host.run("api-keys", "create", name, "--json", *options)
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def listed(host: Host, *options: str) -> list[dict[str, Any]]:
    """List the keys with the command."""
    code, out, err = host.run("api-keys", "list", "--json", *options)
    assert code == 0, err
    found: list[dict[str, Any]] = json.loads(out)
    return found


def status(service: Service, key: str | None, path: str = "/dataflows", method: str = "GET") -> int:
    """Ask the service for something of the management API."""
    headers = {"X-Api-Key": key} if key else {}
    return httpx.request(
        method, f"{service.url}/management{path}", headers=headers, trust_env=False
    ).status_code


def test_a_key_from_its_making_to_its_end(host: Host) -> None:
    """It works at once in a service that runs, for its scopes; revoked it opens nothing at once."""
    service = host.serve()
    assert status(service, None) == 200
    key = made(host, "dashboard", "--scope", "read")["key"]
    assert status(service, None) == 401
    assert status(service, key) == 200
    refused = httpx.post(
        f"{service.url}/management/dataflows/x/pause", headers={"X-Api-Key": key}, trust_env=False
    )
    assert (refused.status_code, "'operate'" in refused.json()["detail"]) == (403, True)
    (told,) = listed(host)
    assert (told["name"], told["scopes"], told["inForce"]) == ("dashboard", ["read"], True)
    assert told["lastUsedAt"] >= told["createdAt"]
    code, _, err = host.run("flows", "pause", "x", "--url", service.url, DATAFERRY_API_KEY=key)
    assert (code, err) == (1, "dataferry: API key 'dashboard' lacks the scope 'operate'\n")
    code, _, err = host.run("api-keys", "revoke", "dashboard")
    assert (code, "is revoked" in err) == (0, True)
    assert status(service, key) == 401
    assert listed(host) == []
    assert [entry["name"] for entry in listed(host, "--all")] == ["dashboard"]
    # The last one is gone, and the doors stay locked all the same.
    assert status(service, None) == 401


def test_a_key_is_nowhere_but_in_the_answer(host: Host) -> None:
    """Not in a list, a log or a file: there is its hash."""
    service = host.serve()
    code, out, err = host.run("api-keys", "create", "ops", "--all-scopes")
    assert (code, out.count("\n")) == (0, 1)
    key = out.strip()
    assert key.startswith("dfk_")
    assert len(key) >= 40
    assert "not shown again" in err
    assert "from now on" in err
    assert status(service, key) == 200
    for shown in (host.run("api-keys", "list"), host.run("api-keys", "list", "--json")):
        assert key[4:] not in shown[1] + shown[2]
    service.process.terminate()
    service.process.wait(timeout=20)
    assert key[4:] not in "".join(service.said)
    kept = b"".join(path.read_bytes() for path in host.path.iterdir() if path.is_file())
    assert key.encode() not in kept
    assert hashlib.sha256(key.encode()).hexdigest().encode() in kept


def test_kill_loses_no_revocation(host: Host) -> None:
    """Whatever is killed after the command has said so: the service that comes next refuses the key."""
    service = host.serve()
    key = made(host, "ops", "--all-scopes")["key"]
    assert status(service, key) == 200
    assert host.run("api-keys", "revoke", "ops")[0] == 0
    service.process.kill()
    service.process.wait()
    assert status(host.serve(), key) == 401


def test_the_first_key_needs_no_service(host: Host) -> None:
    """It may be made before anything was ever served, also for a plane that is open to the network."""
    host.configure(
        '[server]\nhost = "0.0.0.0"\n[[control_planes]]\nid = "cp"\ntoken = "a-token-of-the-control-plane"\n'
    )
    code, _, err = host.run("serve", "--port", "0")
    assert (code, "dataferry api-keys create" in err) == (1, True)
    assert not (host.path / "dataferry.db").exists()
    key = made(host, "ops", "--all-scopes")["key"]
    assert (host.path / "dataferry.db").stat().st_mode & 0o777 == 0o600
    service = host.serve()
    service.url = service.url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - as it says
    assert (status(service, key), status(service, None)) == (200, 401)


def test_without_any_key_it_does_not_open(host: Host) -> None:
    """A database that is there but has no key is none, and says so."""
    host.serve().process.kill()
    host.configure(
        '[server]\nhost = "0.0.0.0"\n[[control_planes]]\nid = "cp"\ntoken = "a-token-of-the-control-plane"\n'
    )
    code, _, err = host.run("serve", "--port", "0")
    assert (code, "add an API key (`dataferry api-keys create`" in err) == (1, True)


def test_keys_of_the_configuration_stand_beside(host: Host) -> None:
    """They are listed as such, keep their names for themselves, and are not revoked here."""
    host.configure(f'[auth]\napi_keys = [{{ name = "ops", key = "{CONFIGURED}", scopes = ["read"] }}]')
    service = host.serve()
    code, _, err = host.run("api-keys", "create", "ops", "--scope", "read")
    assert (code, "in the configuration" in err) == (1, True)
    code, _, err = host.run("api-keys", "revoke", "ops")
    assert (code, "take it out there" in err) == (1, True)
    second = made(host, "second", "--scope", "configure")["key"]
    assert [(entry["name"], entry["configured"]) for entry in listed(host)] == [
        ("ops", True),
        ("second", False),
    ]
    assert (status(service, CONFIGURED), status(service, second)) == (200, 403)
    assert status(service, CONFIGURED, "/dataflows/x/retry", "POST") == 403


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ((), 2, "give --scope"),
        (("--scope", "read", "--all-scopes"), 2, "give --scope"),
        (("--scope", "root"), 2, "root"),
        (("--scope", "configure", "--participant", "p"), 1, "can't have the scope 'configure'"),
        (("--all-scopes", "--control-plane", "cp"), 1, "can't have the scope 'configure'"),
        (("--scope", "read", "--participant", "tpyo"), 1, "none of [[participants]]: one, two"),
        (("--scope", "read", "--days", "0"), 2, "--days"),
    ],
)
def test_a_wrong_request_makes_nothing(host: Host, options: tuple[str, ...], code: int, said: str) -> None:
    """It says what is wrong, and there is no key afterwards."""
    host.configure('[[participants]]\nid = "one"\n[[participants]]\nid = "two"\n')
    found, out, err = host.run("api-keys", "create", "x", *options)
    assert (found, out) == (code, "")
    assert said in " ".join(err.replace("│", "").split())
    assert "Traceback" not in err
    assert listed(host) == []


def test_a_name_is_one_keys(host: Host) -> None:
    """Until it is revoked; an unknown name is told to be one."""
    made(host, "ops", "--scope", "read")
    code, _, err = host.run("api-keys", "create", "ops", "--scope", "read")
    assert (code, "revoke it first" in err) == (1, True)
    assert host.run("api-keys", "revoke", "ops")[0] == 0
    made(host, "ops", "--scope", "read")
    code, _, err = host.run("api-keys", "revoke", "nobody")
    assert (code, "no API key 'nobody'" in err) == (1, True)


def test_an_expired_key_is_none(host: Host) -> None:
    """From its end on it is refused as if it were unknown."""
    service = host.serve()
    key = made(host, "guest", "--scope", "read", "--days", "1")["key"]
    assert status(service, key) == 200
    with sqlite3.connect(host.path / "dataferry.db") as database:
        database.execute("UPDATE api_keys SET expires_at = created_at")
    database.close()
    assert status(service, key) == 401
    assert listed(host) == []
    code, out, _ = host.run("api-keys", "list", "--all")
    assert (code, "expired" in out) == (0, True)


def test_live_events_end_with_the_key(host: Host) -> None:
    """Who follows is let go as soon as the key is revoked; the others stay."""
    service = host.serve()
    gone, stays = (made(host, name, "--scope", "read")["key"] for name in ("gone", "stays"))
    url = f"{service.url}/management/events"

    def stream(key: str) -> Any:
        return httpx.stream("GET", url, headers={"X-Api-Key": key}, trust_env=False, timeout=30)

    with stream(gone) as ending, stream(stays) as going:
        assert (ending.status_code, going.status_code) == (200, 200)
        ended = threading.Event()

        def read() -> None:
            for _ in ending.iter_raw():
                pass
            ended.set()

        reader = threading.Thread(target=read)
        reader.start()
        assert not ended.wait(1.0)
        assert host.run("api-keys", "revoke", "gone")[0] == 0
        assert ended.wait(10.0)
        reader.join()
        assert b"retry" in next(going.iter_raw())
    assert status(service, stays) == 200


def test_use_is_noted_once_a_minute(host: Host) -> None:
    """Not with a write for each request: the row stays as the first one left it."""
    service = host.serve()
    key = made(host, "ops", "--scope", "read")["key"]

    def version() -> int:
        with sqlite3.connect(host.path / "dataferry.db") as database:
            (found,) = database.execute("SELECT count(*) FROM api_keys WHERE last_used_at > ''").fetchone()
        database.close()
        return int(found)

    assert version() == 0
    assert status(service, key) == 200
    assert version() == 1
    first = listed(host)[0]["lastUsedAt"]
    for _ in range(20):
        assert status(service, key) == 200
    assert listed(host)[0]["lastUsedAt"] == first


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("dataferry api-", {"api-keys"}),
        ("dataferry api-keys ", {"create", "list", "revoke"}),
        (
            "dataferry api-keys create x --scope ",
            {"read", "operate", "configure", "data-address", "orchestrate"},
        ),
        ("dataferry api-keys revoke da", {"dashboard"}),
        ("dataferry api-keys revoke --config other.toml ", set()),
    ],
)
def test_the_shell_completes(host: Host, words: str, offered: set[str]) -> None:
    """Commands, scopes and the names of keys; nothing, and no noise, where there is no database to ask."""
    made(host, "dashboard", "--scope", "read")
    made(host, "ops", "--scope", "read")
    found = completed(host.path, words)
    assert set(found.stdout.split()) == offered
    assert found.stderr == ""


def completed(directory: Path, words: str) -> subprocess.CompletedProcess[str]:
    """What bash is offered for the last word."""
    environment: Mapping[str, str] = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "_DATAFERRY_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    return subprocess.run(
        [sys.executable, "-m", "dataferry.cli.main"],
        cwd=directory,
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
