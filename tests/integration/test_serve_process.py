"""``dataferry serve`` and the commands that speak to it, as whole processes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers.authority import Authority

from dataferry.cli.main import main

KEY = "an-operators-key-0123456789"


@dataclass
class Service:
    """A running ``serve`` and what it has said on stderr.

    Attributes:
        url: Where it says it is.
    """

    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)
    url: str = ""

    def listen(self, timeout_s: float = 20.0) -> None:
        """Read stderr until it says that it is ready."""
        ready = threading.Event()

        def read() -> None:
            assert self.process.stderr is not None
            for line in self.process.stderr:
                self.said.append(line)
                found = re.search(r"is ready at (\S+)", line)
                if found:
                    self.url = found[1]
                    ready.set()
            ready.set()

        threading.Thread(target=read, daemon=True).start()
        assert ready.wait(timeout_s), "serve did not become ready in time"
        assert self.url, "".join(self.said)


@dataclass
class Host:
    """A directory to serve from; ends what it started."""

    path: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def configure(self, text: str) -> None:
        """Write the configuration."""
        (self.path / "dataferry.toml").write_text(text)

    def _start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "dataferry.cli.main", *arguments],
            cwd=self.path,
            env={"PATH": os.environ["PATH"], "HOME": str(self.path), "COLUMNS": "200", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def serve(self, **environment: str) -> Service:
        """Start the service on a free port and wait until it is ready."""
        service = Service(self._start("serve", "--port", "0", **environment))
        service.listen()
        return service

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Run a command to its end: exit code, stdout, stderr."""
        process = self._start(*arguments, **environment)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A machine to serve on."""
    made = Host(tmp_path)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def test_it_says_where_it_is_and_ends_with_sigterm(host: Host) -> None:
    """Port 0 is a free port, printed; SIGTERM ends it with 0, and the port is free again."""
    service = host.serve()
    assert httpx.get(f"{service.url}/readyz", trust_env=False).json() == {"status": "ready"}
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(timeout=20) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(service.url.rpartition(":")[2]))) != 0
    assert "Traceback" not in "".join(service.said)


def test_it_serves_with_tls(host: Host) -> None:
    """With a certificate it is https: who trusts its authority comes in, plain HTTP does not."""
    authority = Authority(host.path)
    certificate = authority.certificate("localhost")
    host.configure(f'[server]\nhost = "localhost"\ntls_cert = "{certificate}"\n')
    service = host.serve()
    assert service.url.startswith("https://localhost:")
    trusted = ssl.create_default_context(cafile=authority.ca_file)
    answer = httpx.get(f"{service.url}/readyz", verify=trusted, trust_env=False)
    assert answer.json() == {"status": "ready"}
    with pytest.raises(httpx.TransportError):
        httpx.get(service.url.replace("https", "http") + "/readyz", trust_env=False)


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "wrong"])
def test_a_certificate_that_can_not_be_used_is_told(host: Host, content: str | None) -> None:
    """Before anything is served, with the file and what is wanted."""
    path = host.path / "plane.pem"
    if content is not None:
        path.write_text(content)
    host.configure(f'[server]\ntls_cert = "{path}"\n')
    code, _, err = host.run("serve", "--port", "0")
    assert code != 0
    assert str(path) in err
    assert "PEM" in err
    assert "Traceback" not in err


def test_ctrl_c_ends_it_with_130(host: Host) -> None:
    """As any interrupted command, and without a traceback."""
    service = host.serve()
    service.process.send_signal(signal.SIGINT)
    assert service.process.wait(timeout=20) == 130
    assert "Traceback" not in "".join(service.said)


def test_an_open_event_stream_does_not_keep_it(host: Host) -> None:
    """Somebody who watches live is told that it ends."""
    service = host.serve()
    with httpx.stream("GET", f"{service.url}/management/events", trust_env=False, timeout=20) as stream:
        assert stream.status_code == 200
        began = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=20) == 0
        assert time.monotonic() - began < 15


def test_a_second_one_on_the_same_database_is_refused(host: Host) -> None:
    """Two would do everything twice; once the first is gone, even by ``kill -9``, another may come."""
    first = host.serve()
    code, _, err = host.run("serve", "--port", "0")
    assert code == 1
    assert "another `dataferry serve` works on dataferry.db" in err
    first.process.kill()
    first.process.wait()
    host.serve()


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])  # noqa: S104 - refused
def test_it_does_not_open_without_authorization(host: Host, address: str) -> None:
    """Beyond loopback it wants keys and tokens, and says so before anything is made."""
    code, _, err = host.run("serve", "--host", address, "--port", "0")
    assert code == 1
    assert "without authorization; add an API key" in err
    assert list(host.path.iterdir()) == []


def test_a_taken_port_is_said_to_be_one(host: Host) -> None:
    """With the way out, and nothing is made."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _, err = host.run("serve", "--port", str(taken.getsockname()[1]))
    assert code == 1
    assert "can't be listened on: Address already in use; another port is set with server.port" in err
    assert list(host.path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nprot = 1", "dataferry.toml: unknown key server.prot; did you mean 'port'?"),
        ("[locations.a]\ntype = 's3'\nendpoint = 'x'", "unknown key locations.a.endpoint; did you mean"),
        (
            "[locations.a]\ntype = 's3'\naccess_key_id = 'env:NOT_SET'",
            "locations.a.access_key_id: env:NOT_SET",
        ),
        ("[locations.a]\ntype = 'file'", "location a: root"),
        ("[locations.a]\ntype = 'nfs'", "there is no mechanism 'nfs'"),
        (
            (
                "[locations.a]\ntype = 'file'\nroot = '/'\n"
                "[[landing_zones]]\nname = 'z'\nsink = 'a:in/{processId}/'\n"
                "[[control_planes]]\nid = 'a'\ntoken = 'one'\nparticipant_context_id = 'a'\n"
                "[[control_planes]]\nid = 'b'\ntoken = 'two'\nparticipant_context_id = 'b'\n"
            ),
            "landing zone z is for several participants: put {participantContextId} or {controlPlaneId} into",
        ),
    ],
)
def test_a_wrong_configuration_stops_it(host: Host, text: str, said: str) -> None:
    """One line that says where and what, no traceback, exit 1."""
    host.configure(text)
    code, _, err = host.run("serve", "--port", "0")
    assert code == 1
    assert said in err
    assert "Traceback" not in err


def test_a_key_that_others_may_read_is_refused(host: Host) -> None:
    """The sealing key must be ours alone; it is made so."""
    service = host.serve()
    service.process.terminate()
    service.process.wait(timeout=20)
    key = host.path / "dataferry.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)
    code, _, err = host.run("serve", "--port", "0")
    assert code == 1
    assert "chmod 600" in err


def test_commands_show_what_the_service_is_set_up_with(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lists as JSON and as tables, with an API key; secrets are not shown."""
    (host.path / "lake").mkdir()
    host.configure(
        f"""
[auth]
api_keys = [{{ name = "ops", key = "{KEY}" }}]
[[control_planes]]
id = "connector-a"
token = "a-token-that-nobody-may-see"
[locations.lake]
type = "file"
root = "{host.path}/lake"
[locations.shop]
type = "s3"
access_key_id = "AKIA0123456789"
secret_access_key = "a-secret-that-nobody-may-see"
[[datasets]]
match = "plant-*"
source = "lake:{{datasetId}}/"
[[landing_zones]]
name = "incoming"
sink = "lake:in/"
"""
    )
    service = host.serve()
    monkeypatch.setenv("DATAFERRY_URL", service.url)
    monkeypatch.setenv("DATAFERRY_API_KEY", KEY)

    def listed(*arguments: str) -> Any:
        assert main(arguments) == 0
        shown = capsys.readouterr()
        assert main([*arguments, "--json"]) == 0
        printed = capsys.readouterr()
        assert "nobody-may-see" not in shown.out + shown.err + printed.out + printed.err
        return json.loads(printed.out)

    assert [entry["name"] for entry in listed("locations", "list")] == ["lake", "shop"]
    assert listed("locations", "show", "shop")["secret_access_key"] == "***"
    assert listed("locations", "test", "lake")["ok"] is True
    assert [entry["match"] for entry in listed("datasets", "list")] == ["plant-*"]
    assert listed("datasets", "show", "plant-*")["source"] == "lake:{datasetId}/"
    assert [entry["name"] for entry in listed("landing-zones", "list")] == ["incoming"]
    assert [entry["id"] for entry in listed("control-planes", "list")] == ["connector-a"]
    assert listed("flows", "list") == []
    assert main(["locations", "test", "lake", "--path", "nowhere/"]) == 1
    assert "nowhere" in capsys.readouterr().out
    assert main(["flows", "show", "nope"]) == 1
    assert "no data flow" in capsys.readouterr().err
    monkeypatch.delenv("DATAFERRY_API_KEY")
    assert main(["flows", "list"]) == 1
    assert "wants an API key" in capsys.readouterr().err
    assert "nobody-may-see" not in "".join(service.said)
    assert KEY not in "".join(service.said)


def test_an_api_key_may_be_configured_by_its_hash(host: Host) -> None:
    """The file then holds no key at all."""
    import hashlib

    digest = hashlib.sha256(KEY.encode()).hexdigest()
    host.configure(f'[auth]\napi_keys = [{{ name = "ops", sha256 = "{digest}" }}]')
    service = host.serve()
    assert main(["flows", "list", "--url", service.url, "--api-key", KEY]) == 0
    assert main(["flows", "list", "--url", service.url, "--api-key", KEY + "x"]) == 1
