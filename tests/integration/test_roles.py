"""A gateway in a process of its own, beside the one that answers control planes, on one SQLite file."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers.plane import MIB, Rig, running

from dataferry.demo.control_plane import message
from dataferry.demo.processes import ChildProcess, free_port

LARGE = os.urandom(64 * MIB)


@dataclass(frozen=True)
class Pair:
    """Both processes, and where files lie."""

    rig: Rig
    gateway: ChildProcess
    port: int
    root: Path

    @property
    def url(self) -> str:
        """The gateway's."""
        return f"http://127.0.0.1:{self.port}"

    def pull(self, dataset: str) -> tuple[str, str, dict[str, str]]:
        """Start a pull; return its process id, where its data is, and the headers that show its token."""
        process_id = f"pull-{os.urandom(4).hex()}"
        started = self.rig.control_plane.start_flow(
            self.rig.address, message(process_id, dataset, "HttpData-PULL")
        )
        return process_id, *opened(started.body["dataAddress"])

    def push(self) -> tuple[str, str, dict[str, str]]:
        """Prepare a push."""
        process_id = f"push-{os.urandom(4).hex()}"
        told = message(process_id, "any", "HttpData-PUSH")
        prepared = self.rig.control_plane.prepare(self.rig.address, told)
        return process_id, *opened(prepared.body["dataAddress"])


def opened(address: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Read a data address."""
    properties = {entry["name"]: entry["value"] for entry in address["endpointProperties"]}
    return address["endpoint"], {"Authorization": f"Bearer {properties['authorization']}"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The main process first: it makes the database."""
    root, port = tmp_path_factory.mktemp("files"), free_port()
    (root / "out").mkdir()
    (root / "out" / "large.bin").write_bytes(LARGE)
    rig = Rig(
        tmp_path_factory.mktemp("plane"),
        locations={"files": {"type": "file", "root": str(root)}},
        datasets=[{"id": "large", "source": "files:out/large.bin"}],
        more={
            "server": {"allow_http_on_loopback": True, "gateway_url": f"http://127.0.0.1:{port}"},
            "landing_zones": [{"name": "in", "sink": "files:{processId}/"}],
        },
        arguments=["--role", "api,worker"],
    )
    command = [sys.executable, "-m", "dataferry.cli.main", "serve", "--config", str(rig.plane.config)]
    gateway = ChildProcess(
        "gateway",
        [*command, "--role", "gateway", "--port", str(port)],
        log=rig.plane.directory / "gateway.log",
        environment={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(rig.plane.directory)},
    )
    with ExitStack() as open_:
        open_.enter_context(running(rig))
        gateway.start()
        open_.callback(gateway.stop)
        gateway.wait_until_http(port, "/readyz", timeout_s=60, below=300)
        yield Pair(rig, gateway, port, root)
    assert "Traceback" not in gateway.log.read_text()


def test_each_process_serves_its_own_only(pair: Pair) -> None:
    """A gateway knows no verb and no operator, and describes nothing; the main process has no data."""
    theirs = ["/api/v1/dataflows/x/status", "/management/dataflows", "/docs", "/openapi.json"]
    with httpx.Client(trust_env=False, headers={"X-Api-Key": pair.rig.plane.api_key}) as client:
        assert {client.get(pair.url + path).status_code for path in theirs} == {404}
        assert client.get(f"{pair.url}/healthz").status_code == 200
        assert client.get(f"{pair.url}/data/x").status_code == 401
        assert client.get(f"{pair.rig.plane.url}/data/x").status_code == 404
        assert client.put(f"{pair.rig.plane.url}/ingest/x").status_code == 404
        assert client.get(f"{pair.rig.plane.url}/openapi.json").status_code == 200


def test_a_pull_is_cut_when_the_other_process_suspends_it(pair: Pair) -> None:
    """The address leads to the gateway; a verb at the main process ends its bytes in flight."""
    process_id, url, headers = pair.pull("large")
    assert url.startswith(f"{pair.url}/data/")
    received = 0
    with (
        httpx.Client(trust_env=False, headers=headers, timeout=20) as client,
        client.stream("GET", url) as answer,
    ):
        pieces = answer.iter_raw(64 * 1024)
        received += len(next(pieces))
        pair.rig.notify(process_id, "suspend")
        time.sleep(0.3)  # the gateway looks four times a second; nothing else is waited for
        with pytest.raises(httpx.TransportError):
            received += sum(len(piece) for piece in pieces)
    with httpx.Client(trust_env=False, headers=headers, timeout=20) as client:
        refused = client.get(url)
        pair.rig.notify(process_id, "resume")
        whole = client.get(url)

    assert received < len(LARGE)
    assert (refused.status_code, whole.content == LARGE) == (403, True)


def test_a_push_is_taken_by_the_gateway_and_ended_by_the_main_process(pair: Pair) -> None:
    """Objects come in at one process; progress, what is missing and the end are told by the other."""
    process_id, url, headers = pair.push()
    with httpx.Client(trust_env=False, headers=headers, timeout=20) as client:
        assert client.put(f"{url}a", content=LARGE).status_code == 201
        assert client.post(f"{url}b", params={"uploads": ""}, json={}).status_code == 201
        pair.rig.wait_for(
            lambda: pair.rig.plane.flow(process_id)["bytesTransferred"] == len(LARGE), what="counted"
        )
        pair.rig.notify(process_id, "completed")
        after = client.put(f"{url}c", content=b"late")

    flow = pair.rig.plane.flow(process_id)
    assert (flow["state"], flow["lastErrorKind"], after.status_code) == ("COMPLETED", "incomplete", 410)
    assert (pair.root / process_id / "a").read_bytes() == LARGE
    pair.rig.wait_for(
        lambda: [path.name for path in (pair.root / process_id).iterdir()] == ["a"], what="cleaned up"
    )


def test_a_window_that_is_shut_holds_for_the_gateway_at_once(pair: Pair) -> None:
    """An operator shuts a location at the main process: bytes in flight at the gateway end; none begin."""
    manage, root = pair.rig.plane.manage, str(pair.root)
    windows: list[dict[str, Any]] = [{"from": "00:00", "to": "24:00", "bandwidth_bytes_per_s": 0}]
    slow = {"type": "file", "root": root, "bandwidth_bytes_per_s": 8 * MIB}
    manage("PUT", "/locations/shut", body=slow)
    manage("PUT", "/datasets/shut", body={"source": "shut:out/large.bin"})
    manage("PUT", "/landing-zones/shut", body={"sink": "shut:{processId}/", "datasets": ["shut"]})
    _, url, headers = pair.pull("shut")
    told = message(f"push-{os.urandom(4).hex()}", "shut", "HttpData-PUSH")
    pushing, token = opened(pair.rig.control_plane.prepare(pair.rig.address, told).body["dataAddress"])
    received = 0
    with (
        httpx.Client(trust_env=False, headers=headers, timeout=20) as client,
        client.stream("GET", url) as answer,
    ):
        pieces = answer.iter_raw(64 * 1024)
        received += len(next(pieces))
        manage("PUT", "/locations/shut", body={**slow, "bandwidth_windows": windows})
        with pytest.raises(httpx.TransportError):
            received += sum(len(piece) for piece in pieces)
    with httpx.Client(trust_env=False, timeout=20) as client:
        answers = [client.get(url, headers=headers), client.put(f"{pushing}x", content=b"x", headers=token)]
        manage("PUT", "/locations/shut", body=slow)
        time.sleep(1.1)  # a gateway keeps what it has resolved for a second
        after = client.put(f"{pushing}x", content=b"x", headers=token)

    assert received < len(LARGE)
    assert [answer.status_code for answer in answers] == [503, 503]
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)
    assert after.status_code == 201


def test_both_processes_write_at_once(pair: Pair) -> None:
    """Many small objects at the gateway while verbs are answered: neither loses a row, nor waits for long."""
    process_id, url, headers = pair.push()
    slowest = 0.0

    def send(first: int) -> None:
        with httpx.Client(trust_env=False, headers=headers, timeout=30) as client:
            for number in range(first, first + 50):
                assert client.put(f"{url}{number}", content=b"x" * number).status_code == 201

    senders = [threading.Thread(target=send, args=(first,)) for first in (0, 50, 100)]
    for sender in senders:
        sender.start()
    while any(sender.is_alive() for sender in senders):
        began = time.monotonic()
        pair.push()
        slowest = max(slowest, time.monotonic() - began)
    for sender in senders:
        sender.join()
    pair.rig.notify(process_id, "completed")

    assert pair.rig.plane.flow(process_id)["objectsDone"] == 150
    assert len(list((pair.root / process_id).iterdir())) == 150
    assert slowest < 5


@pytest.mark.parametrize("role", ["api", "worker", "api,gateway", "gateway,worker", "everything", ""])
def test_senseless_roles_are_refused(pair: Pair, role: str) -> None:
    """With a sentence that says what goes together, before anything is bound."""
    done = run(pair, role)

    assert done.returncode != 0
    assert "--role" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_gateway_does_not_make_the_database(pair: Pair, tmp_path: Path) -> None:
    """It waits for nobody: without the tables it says what to do."""
    done = run(pair, "gateway", DATAFERRY_STORE__URL=f"sqlite:///{tmp_path}/new.db")

    assert done.returncode != 0
    assert "db upgrade" in done.stderr


def run(pair: Pair, role: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a ``serve`` that is to refuse."""
    config = str(pair.rig.plane.config)
    command = [sys.executable, "-m", "dataferry.cli.main", "serve", "--config", config, "--port", "0"]
    return subprocess.run(
        [*command, "--role", role],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )
