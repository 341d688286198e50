"""A crowd of long requests comes at once: each is accepted, every entry is fetched once, memory stays."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers.edc import EdcConnector
from tests.servers.http_store import HttpStore, Kept
from tests.servers.orchestrator import CONNECTOR_KEY, KEY, OVER, entry

from dataferry.demo.planes import PlaneProcess

REQUESTS, ENTRIES = 20, 50
# A tenth of a second on a quiet machine; this one may be anything but.
MOST_ANSWERED_MS = 5_000.0
MOST_GROWN_MIB = 40.0
PATIENCE_S = 500.0
AT_ONCE = Path(__file__).parents[2] / "bench" / "at_once.py"


def _plane(directory: Path, edc: EdcConnector) -> PlaneProcess:
    orchestrator = {
        "api_key": KEY,
        "data_storage_path": str(directory / "stored"),
        "connectors": [{"address": edc.address, "api_key": CONNECTOR_KEY, "api_version": "v3"}],
    }
    settings = {"egress": {"allow_private_networks": True}, "orchestrator": orchestrator}
    return PlaneProcess("orchestrator", directory / "plane", settings)


def _request(edc: EdcConnector, data: HttpStore) -> bytes:
    """A request, with contracts of its own that lead to data of their own."""
    contracts = [f"c{number}" for number in range(ENTRIES)]
    for contract in contracts:
        data.objects[f"/{contract}"] = Kept(contract.encode() * 10, headers={"Content-Type": "text/plain"})
        edc.offer(contract, f"{data.url}/{contract}", token=lambda: "token-1")
    body = {"data": [entry(one) for one in contracts], "connectorAddress": edc.address}
    content = json.dumps(body).encode()
    head = (
        f"POST /orchestrate HTTP/1.1\r\nHost: crowd\r\nX-Api-Key: {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _at_once(plane: PlaneProcess, request: bytes) -> list[float]:
    """Send the request over many connections; return how long each was waited for, in milliseconds."""
    command = [sys.executable, str(AT_ONCE), "127.0.0.1", str(plane.port), str(REQUESTS)]
    done = subprocess.run(command, input=request, stdout=subprocess.PIPE, check=True)
    answered: list[float] = json.loads(done.stdout)["answered_ms"]
    return answered


def _statuses(plane: PlaneProcess) -> dict[str, Any]:
    with httpx.Client(trust_env=False, timeout=60, headers={"X-Api-Key": KEY}) as client:
        found: dict[str, Any] = client.get(f"{plane.url}/status").json()["response"]
        return dict(found["orchestration_processes"])


def _over(plane: PlaneProcess) -> dict[str, Any]:
    """Wait until all orchestrations are over."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = _statuses(plane)
        if all(one["process_status"] in OVER for one in found.values()):
            return found
        assert time.monotonic() < deadline, {id_: one["entries_saved"] for id_, one in found.items()}
        time.sleep(0.5)


def _rss_mib(plane: PlaneProcess) -> float:
    status = Path(f"/proc/{plane.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


@pytest.mark.timeout(600)
def test_a_crowd_is_accepted_at_once_and_fetched_to_the_end(tmp_path: Path) -> None:
    """1,000 entries of 20 requests: one process and one file each, and nothing is left running."""
    with EdcConnector(key=CONNECTOR_KEY) as edc, HttpStore(token="token-1") as data:
        request = _request(edc, data)
        with _plane(tmp_path, edc) as plane:
            answered = _at_once(plane, request)
            assert len(answered) == REQUESTS
            assert answered[-1] < MOST_ANSWERED_MS, answered
            while sum(one["entries_saved"] for one in _statuses(plane).values()) < ENTRIES:
                time.sleep(0.2)
            before_mib = _rss_mib(plane)
            found = _over(plane)
            grown_mib = _rss_mib(plane) - before_mib
        assert {"COMPLETED"} == {one["process_status"] for one in found.values()}
        assert [one["entries_saved"] for one in found.values()] == [ENTRIES] * REQUESTS
        assert len(edc.processes) == edc.count("start") == REQUESTS * ENTRIES
        assert {"TERMINATED"} == {process.state for process in edc.processes.values()}
        assert sum(request.method == "GET" for request in data.requests) == REQUESTS * ENTRIES
        assert grown_mib < MOST_GROWN_MIB
        stored = [path for path in (tmp_path / "stored").iterdir() if path.suffix != ".json"]
        assert len(stored) == REQUESTS * ENTRIES
        assert {one.read_bytes() for one in stored} == {
            f"c{number}".encode() * 10 for number in range(ENTRIES)
        }
        assert "Traceback" not in plane.process.log.read_text(errors="replace")


def test_what_was_answered_outlives_kill_nine(tmp_path: Path) -> None:
    """The service is killed as soon as the last answer is there: all requests go on with the next start."""
    with EdcConnector(key=CONNECTOR_KEY) as edc, HttpStore(token="token-1") as data:
        request = _request(edc, data)
        with _plane(tmp_path, edc) as plane:
            _at_once(plane, request)
            plane.kill()
            plane.start()
            found = _statuses(plane)
            assert [one["entries_total"] for one in found.values()] == [ENTRIES] * REQUESTS
