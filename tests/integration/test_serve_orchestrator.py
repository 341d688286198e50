"""A real service by the description's own variables: ``.env`` first, the default key, where files go."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from tests.servers.edc import EdcConnector
from tests.servers.http_store import HttpStore, Kept
from tests.servers.orchestrator import OVER, entry

from dataferry.demo.planes import toml
from dataferry.demo.processes import free_port


def test_the_descriptions_variables_are_enough(tmp_path: Path) -> None:
    """Beside the connector, nothing needs to stand in a file of ours; ``./data`` is made and shown so."""
    port = free_port()
    with EdcConnector(key="connector-key") as edc, HttpStore(token="t") as data:
        data.objects["/c"] = Kept(b"{}", headers={"Content-Type": "application/json"})
        edc.offer("c", f"{data.url}/c", token=lambda: "t")
        connectors = [{"address": edc.address, "api_key": "env:CONNECTOR_KEY"}]
        settings = {
            "server": {"port": port},
            "orchestrator": {"connectors": connectors},
            "egress": {"allow_private_networks": True},
        }
        (tmp_path / "dataferry.toml").write_text(toml(settings))
        (tmp_path / ".env").write_text(
            "EDC_API_KEY='from-dot-env'\nDATA_ADDRESS_DELAY=0.1\nLOG_LEVEL=WARNING\n"
        )
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "CONNECTOR_KEY": "connector-key",
            "EDC_API_KEY": "from-the-environment",
        }
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dataferry.cli.main", "serve"],
                cwd=tmp_path,
                env=environment,
                stderr=log,
            )
        try:
            view = _fetched(f"http://127.0.0.1:{port}", edc.address, "from-dot-env")
        finally:
            process.terminate()
            process.wait(30)
    assert view["process_status"] == "COMPLETED"
    (path,) = view["storage_paths"]
    assert path["storage_path"].startswith("./data/file_")
    assert (tmp_path / path["storage_path"]).read_bytes() == b"{}"
    told = (tmp_path / "log").read_text()
    assert " [info" not in told
    assert "default_api_key" not in told


def _fetched(url: str, connector: str, key: str) -> dict[str, Any]:
    """Have one contract fetched, once the service is there."""
    with httpx.Client(base_url=url, trust_env=False, timeout=10, headers={"X-Api-Key": key}) as client:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if client.get("/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        refused = client.get("/status", headers={"X-Api-Key": "from-the-environment"})
        assert refused.status_code == 403
        body = {"data": [entry("c")], "connectorAddress": connector}
        id_ = client.post("/orchestrate", json=body).json()["orchestration_id"]
        while True:
            view = client.get(f"/status/{id_}").json()["response"]["orchestration_processes"][id_]
            if view["process_status"] in OVER:
                return dict(view)
            assert time.monotonic() < deadline, view
            time.sleep(0.05)
