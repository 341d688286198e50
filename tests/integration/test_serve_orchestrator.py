"""A real service by the description's own variables: ``.env`` first, the default key, where files go."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from tests.servers.edc import EdcConnector, Fault
from tests.servers.http_store import HttpStore, Kept
from tests.servers.orchestrator import OVER, entry

from dataferry.demo.planes import toml
from dataferry.demo.processes import free_port


def test_the_descriptions_variables_are_enough(tmp_path: Path) -> None:
    """Beside the connector, nothing needs to stand in a file of ours; ``./data`` is made and shown so."""
    (tmp_path / ".env").write_text("EDC_API_KEY='from-dot-env'\nDATA_ADDRESS_DELAY=0.1\nLOG_LEVEL=WARNING\n")
    with _provided() as edc, _serving(tmp_path, edc, EDC_API_KEY="from-the-environment") as client:
        assert client.get("/status", headers={"X-Api-Key": "from-the-environment"}).status_code == 403
        view = _fetched(client, edc.address, "from-dot-env")
    assert view["process_status"] == "COMPLETED"
    (path,) = view["storage_paths"]
    assert path["storage_path"].startswith("./data/file_")
    assert (tmp_path / path["storage_path"]).read_bytes() == b"{}"
    told = (tmp_path / "log").read_text()
    assert " [info" not in told
    assert "default_api_key" not in told


def test_each_of_the_descriptions_variables_counts(tmp_path: Path) -> None:
    """Files go to ``STORAGE_API_URL``, addresses are asked for so often; ``CACHE_TTL`` may be anything."""
    with HttpStore() as api, _provided() as edc:
        variables = {
            "STORAGE_API_URL": f"{api.url}/v1",
            "DATA_ADDRESS_MAX_RETRIES": "2",
            "DATA_ADDRESS_DELAY": "0",
            "CACHE_TTL": "whatever",
        }
        with _serving(tmp_path, edc, **variables) as client:
            edc.inject("edr", Fault.STATUS, status=404, times=1)
            (path,) = _fetched(client, edc.address, "password")["storage_paths"]
            assert path["storage_path"].startswith(f"{api.url}/v1/file_")
            assert bytes(api.objects[path["storage_path"].removeprefix(api.url)].body) == b"{}"
            edc.inject("edr", Fault.STATUS, status=404, times=2)
            (path,) = _fetched(client, edc.address, "password")["storage_paths"]
            assert (path["status"], path["error_kind"]) == ("FAILED", "late")
            assert path["error"].endswith("there was no data address in 2 tries")
        assert edc.count("edr") == 4
    assert not (tmp_path / "data").exists()


def test_the_default_key_is_warned_of(tmp_path: Path) -> None:
    """It opens on this machine, and the log says at the start that it is the one that everybody knows."""
    with _provided() as edc, _serving(tmp_path, edc) as client:
        assert client.get("/status", headers={"X-Api-Key": "password"}).status_code == 200
    (told,) = [line for line in (tmp_path / "log").read_text().splitlines() if "default_api_key" in line]
    assert "[warning" in told
    assert "orchestrator.api_key (EDC_API_KEY) is the default" in told


def test_a_key_that_no_client_could_send_is_refused(tmp_path: Path) -> None:
    """Headers hold ASCII: with any other key the service would run, and let nobody in."""
    with _provided() as edc:
        process = subprocess.run(
            _command(tmp_path, edc, port=free_port()),
            cwd=tmp_path,
            env=_environment(tmp_path, EDC_API_KEY="schl\u00fcssel"),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert process.returncode != 0
    assert "orchestrator.api_key (EDC_API_KEY): clients send it in a header" in process.stderr
    assert "schl" not in process.stderr


@contextmanager
def _provided() -> Iterator[EdcConnector]:
    """A connector, with data behind the contract ``c``."""
    with EdcConnector(key="connector-key") as edc, HttpStore(token="t") as data:
        data.objects["/c"] = Kept(b"{}", headers={"Content-Type": "application/json"})
        edc.offer("c", f"{data.url}/c", token=lambda: "t")
        yield edc


def _command(directory: Path, edc: EdcConnector, *, port: int) -> list[str]:
    """Write the little that has to stand in a file; return what starts the service."""
    settings = {
        "server": {"port": port},
        "orchestrator": {"connectors": [{"address": edc.address, "api_key": "env:CONNECTOR_KEY"}]},
        "egress": {"allow_private_networks": True},
    }
    (directory / "dataferry.toml").write_text(toml(settings))
    return [sys.executable, "-m", "dataferry.cli.main", "serve"]


def _environment(directory: Path, **variables: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {**kept, "HOME": str(directory), "CONNECTOR_KEY": "connector-key", **variables}


@contextmanager
def _serving(directory: Path, edc: EdcConnector, **variables: str) -> Iterator[httpx.Client]:
    """Run the service until it is ready, and end it afterwards."""
    port = free_port()
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            _command(directory, edc, port=port),
            cwd=directory,
            env=_environment(directory, **variables),
            stderr=log,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as client:
            deadline = time.monotonic() + 60
            while not _is_ready(client):
                assert time.monotonic() < deadline, (directory / "log").read_text()
                time.sleep(0.1)
            yield client
    finally:
        process.terminate()
        process.wait(30)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _fetched(client: httpx.Client, connector: str, key: str) -> dict[str, Any]:
    """Have the contract fetched."""
    headers = {"X-Api-Key": key}
    body = {"data": [entry("c")], "connectorAddress": connector}
    answer = client.post("/orchestrate", json=body, headers=headers)
    id_ = answer.json()["orchestration_id"]
    deadline = time.monotonic() + 60
    while True:
        answer = client.get(f"/status/{id_}", headers=headers)
        view = answer.json()["response"]["orchestration_processes"][id_]
        if view["process_status"] in OVER:
            return dict(view)
        assert time.monotonic() < deadline, view
        time.sleep(0.05)
